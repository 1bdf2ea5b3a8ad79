// The demo's server: the one of `npm start`, in a process of its own, on a free port and a store that nobody keeps.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export interface DemoServer {
  readonly url: string;
  /** Has it end in order. */
  stop(): Promise<void>;
}

const source = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** Starts the server with its store below `folder`; rejects with its last words where it does not come up. */
export async function startServer(folder: string): Promise<DemoServer> {
  const child = spawn(
    process.execPath,
    [
      ...["--import", source("scripts/typescript.js"), source("src/cli/main.ts")],
      ...["serve", "--config", source("examples/coatcheck.config.ts"), "--port", "0", "--host", "127.0.0.1"],
    ],
    {
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        ...process.env,
        COATCHECK_STORE: `sqlite:${join(folder, "coatcheck.db")}`,
        COATCHECK_IMPORTS: join(folder, "imports"),
        COATCHECK_LOG_LEVEL: "info",
        COATCHECK_LOG_PRETTY: "false",
      },
    },
  );
  const exited = once(child, "exit");
  let words = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    words = (words + text).slice(-2000);
  });
  const url = await new Promise<string>((resolve, reject) => {
    createInterface(child.stdout).on("line", (line) => {
      const ready = /"url":"([^"]+)".*"msg":"ready"/.exec(line)?.[1];
      if (ready !== undefined) resolve(ready);
    });
    child.once("error", reject);
    exited.then(() => reject(new Error(`The server did not start.\n${words.trim()}`)), reject);
  });
  return {
    url,
    async stop() {
      child.kill("SIGTERM");
      await exited;
    },
  };
}
