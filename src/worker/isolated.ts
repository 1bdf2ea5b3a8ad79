// What runs inside of a thread or process: waits for an attempt, runs the module's handler with it, says how it ended.

import { randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import {
  type AttemptLog,
  type Handler,
  type HandlerAttempt,
  Interruption,
  type StoredFile,
  type Upload,
} from "../core/handler.ts";
import { Alarms } from "./alarms.ts";
import { forHandler, type SaveFrom } from "./files.ts";
import {
  type Call,
  errorOf,
  type Facts,
  type FromInside,
  type SentError,
  sendable,
  type ToInside,
} from "./messages.ts";
import { messageOf, UnfitResult, writeJson } from "./outcome.ts";
import { Reports } from "./reports.ts";

// A handler that logs without end must not fill the memory of the worker that listens.
const MAX_LOGS = 500;
const LOGS_EVERY_MS = 1000;

const alarms = new Alarms();
let inside: Inside | null = null;

// A handler may take what it finds on `process`; what is said to the worker goes by what was there at the start.
const send = process.send?.bind(process);

function post(message: FromInside): void {
  if (parentPort !== null) parentPort.postMessage(message);
  else send?.(message, undefined, undefined, () => {});
}

function hear(message: ToInside): void {
  if (message.do === "run") {
    inside = new Inside(message.run, message.facts);
    void inside.work(message.module, message.input);
  } else if (inside !== null && message.run === inside.run) inside.hear(message);
}

if (parentPort !== null) parentPort.on("message", hear);
else if (isMainThread && send !== undefined) {
  process.on("message", hear);
  dieWithParent();
}

// Without the worker nobody would ever end this process: neither while it waits, nor while it works.
function dieWithParent(): void {
  const end = `process.kill(${process.platform === "win32" ? process.pid : -process.pid}, "SIGKILL")`;
  process.on("disconnect", () =>
    process.kill(process.platform === "win32" ? process.pid : -process.pid, "SIGKILL"),
  );
  // A handler that never lets go of its thread does not see the channel close: another thread looks for the parent.
  const watch = `setInterval(() => { if (process.ppid !== ${process.ppid}) ${end}; }, 1000);`;
  new Worker(watch, {
    eval: true,
    execArgv: [],
    env: {},
    resourceLimits: { maxOldGenerationSizeMb: 16 },
  }).unref();
}

class Inside {
  readonly run: number;
  readonly #facts: Facts;
  readonly #controller = new AbortController();
  readonly #calls = new Map<number, { resolve(value: never): void; reject(error: Error): void }>();
  readonly #saved: StoredFile[] = [];
  readonly #reports: Reports;
  #lastCall = 0;
  #over = false;
  #logs = 0;
  #logsSince = 0;

  constructor(run: number, facts: Facts) {
    this.run = run;
    this.#facts = facts;
    this.#reports = new Reports(alarms, ({ progress, message }) => {
      this.#progress(progress, message);
      return undefined;
    });
  }

  async work(module: string, input: unknown): Promise<void> {
    try {
      const { default: handler } = (await import(module)) as { default?: Handler };
      if (typeof handler !== "function")
        throw new TypeError("The handler's module has no function as its default export.");
      this.#returned(await handler(input, this.#given()));
    } catch (error) {
      this.#threw(sendable(error));
    }
  }

  hear(message: Exclude<ToInside, { do: "run" }>): void {
    if (message.do === "interrupt") {
      this.#controller.abort(new Interruption(message.cause));
      return;
    }
    const call = this.#calls.get(message.call);
    this.#calls.delete(message.call);
    if (message.do === "answer") call?.resolve(message.value as never);
    else call?.reject(errorOf(message.error));
  }

  #returned(value: unknown): void {
    const saved = this.#saved.find(
      (file) => file.blob === (value as Partial<StoredFile> | null | undefined)?.blob,
    );
    let json: string | undefined;
    if (saved === undefined && value !== undefined) {
      try {
        json = writeJson(value, "The handler's result");
      } catch (error) {
        this.#threw(sendable(new UnfitResult(messageOf(error))));
        return;
      }
    }
    this.#close();
    const { run } = this;
    post({
      did: "return",
      run,
      ...(saved === undefined ? {} : { blob: saved.blob }),
      ...(json === undefined ? {} : { json }),
    });
  }

  #threw(error: SentError): void {
    this.#close();
    post({ did: "throw", run: this.run, error });
  }

  #close(): void {
    const last = this.#reports.take();
    if (last !== null) this.#progress(last.progress, last.message);
    this.#over = true;
  }

  #progress(percent: number | null, message: string | undefined): void {
    if (this.#over) return;
    post({ did: "progress", run: this.run, percent, ...(message === undefined ? {} : { message }) });
  }

  #call<T>(args: Call): Promise<T> {
    // The worker would not answer any more.
    if (this.#over) return Promise.reject(new Error("The attempt has ended."));
    const call = ++this.#lastCall;
    return new Promise((resolve, reject) => {
      this.#calls.set(call, { resolve, reject });
      post({ did: "call", run: this.run, call, args });
    });
  }

  #given(): HandlerAttempt {
    const { id, owner, operation, number, idempotencyKey, checkpoint, upload } = this.#facts;
    return {
      id,
      owner,
      operation,
      number,
      idempotencyKey,
      signal: this.#controller.signal,
      resume: checkpoint === null ? undefined : (JSON.parse(checkpoint) as unknown),
      upload: upload === null ? undefined : this.#upload(upload),
      log: this.#log(),
      progress: (percent, message) => {
        if (!this.#over) this.#reports.report(percent, message);
      },
      checkpoint: async (state) =>
        this.#call<void>({ what: "checkpoint", json: writeJson(state, "The checkpoint") }),
      scratch: () => this.#call<string>({ what: "scratch" }),
      save: (name, from, type) => this.#save(name, from, type),
    };
  }

  #upload(file: StoredFile): Upload {
    const path = () => this.#call<string>({ what: "path" });
    return { ...file, path, stream: async () => createReadStream(await path()) };
  }

  // Bytes go by way of the scratch directory, not through the messages.
  async #save(name: string, from: SaveFrom, type: string): Promise<StoredFile> {
    let path: string;
    if ("path" in from) path = from.path;
    else {
      path = join(await this.#call<string>({ what: "scratch" }), randomUUID());
      const source = "bytes" in from ? Readable.from([from.bytes], { objectMode: false }) : from.stream;
      await pipeline(source, createWriteStream(path, { flags: "wx" }));
    }
    const file = forHandler(await this.#call<StoredFile>({ what: "save", name, path, type }));
    this.#saved.push(file);
    return file;
  }

  #log(): AttemptLog {
    const write =
      (level: keyof AttemptLog) => (message: string, fields?: Readonly<Record<string, unknown>>) => {
        if (this.#over || !this.#mayLog()) return;
        post({ did: "log", run: this.run, level, message: String(message), fields: textOf(fields) });
      };
    return { info: write("info"), warn: write("warn"), error: write("error") };
  }

  #mayLog(): boolean {
    const now = performance.now();
    if (now - this.#logsSince > LOGS_EVERY_MS) {
      const dropped = this.#logs - MAX_LOGS;
      this.#logsSince = now;
      this.#logs = 0;
      if (dropped > 0) {
        const message = `${dropped} lines of the log were left out: more than ${MAX_LOGS} in a second.`;
        post({ did: "log", run: this.run, level: "warn", message, fields: null });
      }
    }
    return ++this.#logs <= MAX_LOGS;
  }
}

function textOf(fields: unknown): string | null {
  if (fields === undefined) return null;
  try {
    return writeJson(fields, "fields");
  } catch {
    return null;
  }
}
