// A thread or a process that runs a handler's attempts, one after another: started, spoken to, killed.

import { type ChildProcess, fork } from "node:child_process";
import { isAbsolute, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import type { FromInside, ToInside } from "./messages.ts";
import type { Isolation } from "./registered.ts";

export interface Carrier {
  /** Throws where a message can't be cloned. */
  post(message: ToInside): void;
  /** Ends it at once, whatever it does, and all that it started. */
  kill(): void;
  /** Whether it keeps the worker's process from ending. */
  hold(held: boolean): void;
  /** Resolves once it is gone, with what was seen of its end, for people. */
  readonly ended: Promise<string>;
}

export interface CarrierOptions {
  readonly memoryMb: number;
  readonly onMessage: (message: FromInside) => void;
}

/** Starts a thread or a process that waits for its first `run`. */
export function startCarrier(isolation: Isolation, options: CarrierOptions): Carrier {
  return isolation === "thread" ? startThread(options) : startProcess(options);
}

// The same file before and after it was compiled.
const INSIDE = new URL(import.meta.url.endsWith(".ts") ? "./isolated.ts" : "./isolated.js", import.meta.url);

function startThread({ memoryMb, onMessage }: CarrierOptions): Carrier {
  const worker = new Worker(INSIDE, {
    execArgv: loading(process.execArgv),
    resourceLimits: { maxOldGenerationSizeMb: memoryMb },
    // What a handler prints must not get between the lines of the server's log.
    stdout: true,
    stderr: true,
  });
  worker.stdout.on("data", print);
  worker.stderr.on("data", print);
  worker.on("message", onMessage);
  let why: string | null = null;
  worker.on("messageerror", () => void worker.terminate());
  worker.on("error", (error: NodeJS.ErrnoException) => {
    why =
      error.code === "ERR_WORKER_OUT_OF_MEMORY"
        ? `The thread needed more than ${memoryMb} MiB of memory.`
        : `The thread ended with an error that nothing caught: ${error.message}`;
  });
  const ended = new Promise<string>((end) => {
    worker.once("exit", (code) => end(why ?? `The thread ended by itself with code ${code}.`));
  });
  return {
    ended,
    post: (message) => worker.postMessage(message),
    kill: () => void worker.terminate(),
    hold: (held) => (held ? worker.ref() : worker.unref()),
  };
}

function startProcess({ memoryMb, onMessage }: CarrierOptions): Carrier {
  const child = fork(fileURLToPath(INSIDE), [], {
    execArgv: [...loading(process.execArgv), `--max-old-space-size=${memoryMb}`],
    // Inputs may hold what JSON can't: dates, for example, that a schema made.
    serialization: "advanced",
    // Both to standard error: standard output is the server's log.
    stdio: ["ignore", 2, 2, "ipc"],
    // A group of its own, so that programs which the handler started can be ended with it.
    detached: process.platform !== "win32",
  });
  child.on("message", (message) => onMessage(message as FromInside));
  const ended = new Promise<string>((end) => {
    child.once("exit", (code, signal) => {
      killGroup(child);
      end(endOf(code, signal));
    });
    child.on("error", (error) => {
      // Only a process that never was has no exit to wait for.
      if (child.pid === undefined) end(`The process could not be started: ${error.message}`);
    });
  });
  return {
    ended,
    // A message to one that is gone is lost: its end is told by `ended`.
    post: (message) => void child.send(message, () => {}),
    kill: () => killGroup(child),
    hold(held) {
      if (held) child.ref();
      else child.unref();
      const channel = child.channel as { ref(): void; unref(): void } | null | undefined;
      if (held) channel?.ref();
      else channel?.unref();
    },
  };
}

function endOf(code: number | null, signal: NodeJS.Signals | null): string {
  // V8 aborts where its heap is full.
  if (signal === "SIGABRT") return "The process was aborted, as when it needs more memory than it may have.";
  if (signal !== null) return `The process was ended by ${signal}.`;
  return `The process ended by itself with code ${code}.`;
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    if (process.platform === "win32") child.kill("SIGKILL");
    else process.kill(-child.pid, "SIGKILL");
  } catch {
    // It was gone already.
  }
}

function print(chunk: Buffer): void {
  process.stderr.write(chunk);
}

const WITH_VALUE = new Set([
  "--import",
  "--require",
  "-r",
  "--loader",
  "--experimental-loader",
  "--conditions",
  "-C",
]);
const PLAIN =
  /^--(?:no-warnings|enable-source-maps|(?:no-)?experimental-(?:strip|transform)-types|preserve-symlinks)$/;

/** Of this process's own options those by which modules load, with paths that hold in any working directory. */
export function loading(execArgv: readonly string[]): string[] {
  const kept: string[] = [];
  for (let at = 0; at < execArgv.length; at++) {
    const [name = "", ...rest] = (execArgv[at] as string).split("=");
    if (PLAIN.test(execArgv[at] as string)) kept.push(execArgv[at] as string);
    else if (WITH_VALUE.has(name)) {
      const value = rest.length > 0 ? rest.join("=") : execArgv[++at];
      if (value !== undefined) kept.push(name, whole(value));
    }
  }
  return kept;
}

function whole(value: string): string {
  return /^\.{1,2}[/\\]/.test(value) && !isAbsolute(value) ? resolve(STARTED_IN, value) : value;
}

// Where the process was started, as near as can be told: a program may go elsewhere later.
const STARTED_IN = process.cwd();
