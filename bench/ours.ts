// Our side of the bench: all that touches Coatcheck is here. The server runs from dist/ by plain node, as users run it;
// what runs in process (drainOurs, claimOurs, fillStore) is called by child.ts, also on dist/.
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort, startTied } from "../test/process.ts";
import { type RunningServer, runInChild } from "./contestant.ts";

export interface OurServer extends RunningServer {
  /** How many jobs have been settled as completed so far. */
  completed(): Promise<number>;
}

export interface OurOptions {
  /** Whether the server works on `empty` jobs too (a hundred at once); otherwise they stay queued. */
  readonly work: boolean;
  /** A data directory of `storeOf`, which is the server's from here on and removed with it. */
  readonly dataDir: string;
}

export function oursIsBuilt(): boolean {
  return existsSync(main);
}

/** Starts our server on a free port, ready to answer. */
export async function startOurs({ work, dataDir }: OurOptions): Promise<OurServer> {
  const port = await freePort();
  const config = join(dataDir, "bench.config.mjs");
  await writeFile(config, configuration(work));
  const server = startTied([process.execPath, main, "serve", "--config", config], {
    directory: dataDir,
    // Its log, a line per transition of a job, is written all the same.
    quiet: true,
    environment: {
      NODE_ENV: "production",
      HOST: "127.0.0.1",
      PORT: `${port}`,
      COATCHECK_STORE: `sqlite:${join(dataDir, "coatcheck.db")}`,
    },
  });
  const url = `http://127.0.0.1:${port}`;
  let end: string | undefined;
  void server.ended.then(({ output }) => {
    end = output.trim();
  });
  // A store of a million jobs takes seconds to open.
  const deadline = Date.now() + 60_000;
  while (!(await isReady(url))) {
    if (end !== undefined) throw new Error(`Our server ended at its start: ${end}`);
    if (Date.now() > deadline) {
      await server.stop();
      throw new Error("Our server was not ready within 60 s.");
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return { url, pid: server.pid, completed: () => countCompleted(url, dataDir), stop: () => server.stop() };
}

/**
 * A new data directory below `directory` whose store holds `jobs` queued jobs of `empty`. The first of a size is filled
 * (in a process of its own), the others are copies.
 */
export async function storeOf(jobs: number, directory: string): Promise<string> {
  const template = join(directory, `template-${jobs}`);
  if (!existsSync(template)) {
    await mkdir(template);
    if (jobs > 0) await runInChild("./ours.ts", "fillStore", template, jobs);
  }
  const copy = await mkdtemp(join(directory, "data-"));
  await cp(template, copy, { recursive: true });
  return copy;
}

/** Fills the store in `dataDir` with `jobs` queued jobs of `empty`, each with a random key. */
export async function fillStore(dataDir: string, jobs: number): Promise<void> {
  throw new Error(`Nothing fills ${dataDir} with ${jobs} jobs yet.`);
}

/**
 * In process, on the store in `dataDir`, which holds `jobs` queued jobs: settles all of them, a hundred at once, by a
 * handler that does nothing. Gives jobs per second, from the first claim to the last durable settle.
 */
export async function drainOurs(dataDir: string, jobs: number): Promise<number> {
  throw new Error(`Nothing drains the ${jobs} jobs of ${dataDir} yet.`);
}

/** In process, on the store in `dataDir`: claims and settles for five seconds. Gives claims per second. */
export async function claimOurs(dataDir: string): Promise<number> {
  throw new Error(`Nothing claims the jobs of ${dataDir} yet.`);
}

/** How many jobs the server has completed: asked of the server, or read from its database without locking it. */
async function countCompleted(url: string, dataDir: string): Promise<number> {
  throw new Error(`Nothing counts the completed jobs of ${url} (${dataDir}) yet.`);
}

/** The server's configuration: one operation, limits on but never reached. */
function configuration(work: boolean): string {
  return `
import { defineOperation } from ${JSON.stringify(library)};

const empty = defineOperation({
  name: "empty",
  path: "/operations/empty",
  input: {
    type: "object",
    properties: { text: { type: "string" } },
    required: ["text"],
    additionalProperties: false,
  },
});

export default {
  operations: [${work ? "{ operation: empty, handler: async () => ({}), concurrency: 100 }" : "{ operation: empty }"}],
  limits: { quota: 1_000_000_000, backlog: 1_000_000_000, rate: { requests: 1_000_000_000, windowSeconds: 1 } },
};
`;
}

async function isReady(url: string): Promise<boolean> {
  return await fetch(`${url}/health/ready`).then(
    (response) => response.ok,
    () => false,
  );
}

const main = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
// By its address, not its name: the loader that runs the bench would take the name for src/.
const library = new URL("../dist/index.js", import.meta.url).href;
