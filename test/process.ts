// Starts a program that never outlives the one that started it, however that one ends.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";

export interface TiedProcess {
  readonly pid: number;
  /** Resolves with what follows `prefix` on the first line of standard output that begins so. */
  line(prefix: string, timeoutMs?: number): Promise<string>;
  /** Resolves when the program, and what was to be cleaned up after it, is gone. */
  readonly ended: Promise<{ readonly code: number | null; readonly output: string }>;
  /** Kills it (SIGKILL) with all that it started, cleans up, and resolves when that is done. */
  stop(): Promise<void>;
}

export interface TiedOptions {
  readonly environment?: Readonly<Record<string, string>>;
  readonly workingDirectory?: string;
  /** A directory that is removed with the program. */
  readonly directory?: string;
  /** Standard output is thrown away, so that a talkative program costs us nothing; `line` cannot be used. */
  readonly quiet?: boolean;
  /** A Docker container that is removed with the program. */
  readonly container?: string;
}

// The program's shell leaves a watchdog behind that reads a pipe from us. However we end, SIGKILL included, the pipe
// closes, and the watchdog kills the program, cleans up, and ends the group: its own, as `detached` began a new one
// (which also keeps a terminal's Ctrl-C from reaching the watchdog first). It keeps stderr open until it is done,
// so that "close" means that all is done.
const watchdog = `
directory=$1 container=$2 program=$$
shift 2
exec 3<&0
(
  cat <&3
  kill -s KILL $program 2>/dev/null
  if [ -n "$container" ]; then docker rm --force "$container"; fi
  if [ -n "$directory" ]; then rm -rf -- "$directory"; fi
  kill -s KILL -- -$program
) >/dev/null &
exec "$@" </dev/null 3<&-
`;

/** Starts `command` (its first element is the program) in a process group of its own. */
export function startTied(command: readonly string[], options: TiedOptions = {}): TiedProcess {
  const child = spawn(
    "/bin/sh",
    ["-c", watchdog, "sh", options.directory ?? "", options.container ?? "", ...command],
    {
      cwd: options.workingDirectory,
      env: { ...process.env, ...options.environment },
      detached: true,
      stdio: ["pipe", options.quiet === true ? "ignore" : "pipe", "pipe"],
    },
  );
  // Writing to a pipe whose reader died is not our failure: the program's end is reported by "close".
  child.stdin!.on("error", () => {});
  child.once("exit", () => child.stdin!.end());
  const output = gatherOutput(child);
  const ended = once(child, "close").then(([code]) => ({
    code: code as number | null,
    output: output.text(),
  }));
  return {
    pid: child.pid!,
    ended,
    line: (prefix, timeoutMs = 30_000) => waitForLine(child, output, prefix, timeoutMs),
    async stop() {
      child.stdin!.end();
      await ended;
    },
  };
}

/** A TCP port of the loopback interface that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("a TCP server has no port");
  return address.port;
}

interface Output {
  /** The end of standard output, then that of standard error: at most 64 Ki characters of each. */
  text(): string;
  standard(): string;
}

function gatherOutput(child: ChildProcess): Output {
  const limitChars = 65_536;
  const texts = { out: "", err: "" };
  child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
    texts.out = (texts.out + chunk).slice(-limitChars);
  });
  child.stderr!.setEncoding("utf8").on("data", (chunk: string) => {
    texts.err = (texts.err + chunk).slice(-limitChars);
  });
  return { text: () => texts.out + texts.err, standard: () => texts.out };
}

function waitForLine(
  child: ChildProcess,
  output: Output,
  prefix: string,
  timeoutMs: number,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const look = () => {
      const line = output
        .standard()
        .split("\n")
        .slice(0, -1)
        .find((one) => one.startsWith(prefix));
      if (line !== undefined) finish(() => resolve(line.slice(prefix.length).trim()));
    };
    const fail = (why: string) =>
      finish(() => reject(new Error(`${why} before it said "${prefix}": ${output.text().trim()}`)));
    const ended = () => fail("The program ended");
    const timer = setTimeout(() => fail(`${timeoutMs} ms passed`), timeoutMs);
    const finish = (settle: () => void) => {
      clearTimeout(timer);
      child.stdout?.off("data", look);
      child.off("close", ended);
      settle();
    };
    child.stdout?.on("data", look);
    child.once("close", ended);
    look();
  });
}
