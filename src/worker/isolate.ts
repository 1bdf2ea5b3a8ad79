// The threads or processes of one operation: each runs one attempt at a time, and the next one where that ended well.

import { isAbsolute } from "node:path";
import { pathToFileURL } from "node:url";
import type { InterruptionCause } from "../core/handler.ts";
import type { Alarm, Alarms } from "./alarms.ts";
import type { Attempt, WorkerLog } from "./attempt.ts";
import { type Carrier, startCarrier } from "./carrier.ts";
import { type Call, errorOf, type FromInside, sendable, type ToInside } from "./messages.ts";
import { Crashed, JsonText, writeJson } from "./outcome.ts";
import type { Isolated } from "./registered.ts";

export interface IsolatesOptions {
  /** Most of them that wait for work. */
  readonly concurrency: number;
  readonly alarms: Alarms;
  readonly log: WorkerLog;
}

const MEMORY_MB = 1024;

// One that has waited this long for work gives back its memory.
const IDLE_MS = 60_000;

export class Isolates {
  readonly #module: string;
  readonly #isolated: Isolated;
  readonly #options: IsolatesOptions;
  readonly #all = new Set<Isolate>();
  readonly #idle: Isolate[] = [];
  #closed = false;

  /** Throws a `TypeError` where the module is neither a URL nor an absolute path. */
  constructor(isolated: Isolated, options: IsolatesOptions) {
    this.#module = urlOf(isolated.module);
    this.#isolated = isolated;
    this.#options = options;
  }

  /** Gives what the handler gave, throws what it threw, or `Crashed`. */
  run(input: unknown, attempt: Attempt): Promise<unknown> {
    const isolate = this.#idle.pop() ?? this.#start();
    return isolate.run(this.#module, input, attempt);
  }

  /** Kills all of them; resolves once they are gone. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#all].map((isolate) => isolate.kill()));
  }

  #start(): Isolate {
    const { isolate: isolation, memoryMb = MEMORY_MB } = this.#isolated;
    const isolate: Isolate = new Isolate(
      (onMessage) => startCarrier(isolation, { memoryMb, onMessage }),
      this.#options,
      {
        rests: () => {
          if (this.#closed || this.#idle.length >= this.#options.concurrency) void isolate.kill();
          else this.#idle.push(isolate);
        },
        gone: () => {
          this.#all.delete(isolate);
          const at = this.#idle.indexOf(isolate);
          if (at >= 0) this.#idle.splice(at, 1);
        },
      },
    );
    this.#all.add(isolate);
    return isolate;
  }
}

interface Running {
  readonly run: number;
  readonly attempt: Attempt;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

class Isolate implements Alarm {
  at = Number.POSITIVE_INFINITY;
  readonly #carrier: Carrier;
  readonly #alarms: Alarms;
  readonly #owner: { rests(): void; gone(): void };
  #running: Running | null = null;
  #runs = 0;
  #killed = false;

  constructor(
    start: (onMessage: (message: FromInside) => void) => Carrier,
    { alarms }: IsolatesOptions,
    owner: { rests(): void; gone(): void },
  ) {
    this.#alarms = alarms;
    this.#owner = owner;
    this.#carrier = start((message) => this.#hear(message));
    void this.#carrier.ended.then((detail) => {
      this.#killed = true;
      alarms.remove(this);
      owner.gone();
      this.#end()?.reject(new Crashed(detail));
    });
  }

  run(module: string, input: unknown, attempt: Attempt): Promise<unknown> {
    this.#alarms.remove(this);
    this.#carrier.hold(true);
    const run = ++this.#runs;
    attempt.onAbandon = () => {
      if (this.#running?.run === run) void this.kill();
    };
    attempt.onInterrupt = (cause) => this.#interrupt(run, cause);
    return new Promise((resolve, reject) => {
      this.#running = { run, attempt, resolve, reject };
      try {
        this.#carrier.post({ do: "run", run, module, input, facts: factsOf(attempt) });
      } catch (error) {
        this.#rest();
        reject(
          new Error("The input, as its schema made it, can't be handed to a thread or process.", {
            cause: error,
          }),
        );
        return;
      }
      // It may have been interrupted while its input was made ready.
      if (attempt.cause !== null) this.#interrupt(run, attempt.cause);
    });
  }

  async kill(): Promise<void> {
    if (!this.#killed) {
      this.#killed = true;
      this.#owner.gone();
      // Whoever waits for its end must live to see it.
      this.#carrier.hold(true);
      this.#carrier.kill();
    }
    await this.#carrier.ended;
  }

  /** Nothing came for long. */
  ring(): void {
    void this.kill();
  }

  #interrupt(run: number, cause: InterruptionCause): void {
    if (this.#running?.run === run) this.#carrier.post({ do: "interrupt", run, cause });
  }

  #end(): Running | null {
    const running = this.#running;
    this.#running = null;
    if (running !== null) {
      running.attempt.onAbandon = null;
      running.attempt.onInterrupt = null;
    }
    return running;
  }

  #rest(): Running | null {
    const running = this.#end();
    this.#carrier.hold(false);
    this.at = performance.now() + IDLE_MS;
    this.#alarms.add(this);
    this.#owner.rests();
    return running;
  }

  #hear(message: FromInside): void {
    try {
      this.#understand(message);
    } catch {
      // A handler can speak for itself on the same channel. What makes no sense must not harm who listens.
      void this.kill();
    }
  }

  #understand(message: FromInside): void {
    const running = this.#running;
    if (running === null || message.run !== running.run) return;
    const { attempt } = running;
    switch (message.did) {
      case "progress":
        attempt.progress(message.percent, message.message);
        break;
      case "log":
        attempt.log[message.level](
          message.message,
          message.fields === null ? undefined : (JSON.parse(message.fields) as Record<string, unknown>),
        );
        break;
      case "call":
        void this.#answer(running, message.call, message.args);
        break;
      case "return": {
        const result = resultOf(message, attempt);
        this.#rest()?.resolve(result);
        break;
      }
      case "throw": {
        const error = errorOf(message.error);
        this.#rest()?.reject(error);
        break;
      }
      default:
        throw new TypeError("There is no such message.");
    }
  }

  async #answer({ run, attempt }: Running, call: number, args: Call): Promise<void> {
    let message: ToInside;
    try {
      message = { do: "answer", run, call, value: await answerOf(args, attempt) };
    } catch (error) {
      message = { do: "refuse", run, call, error: sendable(error) };
    }
    if (this.#running?.run === run) this.#carrier.post(message);
  }
}

async function answerOf(args: Call, attempt: Attempt): Promise<unknown> {
  switch (args.what) {
    case "checkpoint":
      return attempt.checkpoint(checked(args.json));
    case "scratch":
      return attempt.files.scratch();
    case "save":
      return attempt.save(args.name, { path: args.path }, args.type);
    case "path": {
      const { upload } = attempt.job;
      return upload === null ? null : attempt.files.upload(upload).path();
    }
  }
}

function factsOf(attempt: Attempt) {
  const { id, owner, operation, attempt: number, checkpoint, upload } = attempt.job;
  return { id, owner, operation, number, idempotencyKey: attempt.idempotencyKey, checkpoint, upload };
}

function resultOf({ json, blob }: { json?: string; blob?: string }, attempt: Attempt): unknown {
  if (blob !== undefined) return [...attempt.files.saved.values()].find((file) => file.blob === blob);
  return json === undefined ? undefined : new JsonText(checked(json));
}

// It comes from where untrusted code runs, and is kept for others to read. Throws where it is not JSON text.
function checked(json: string): string {
  const text = writeJson(new JsonText(String(json)), "What was sent");
  JSON.parse(text);
  return text;
}

function urlOf(module: URL | string): string {
  if (module instanceof URL) return module.href;
  if (isAbsolute(module)) return pathToFileURL(module).href;
  if (/^(?:file|data):/.test(module)) return module;
  throw new TypeError(
    `A handler's module is a URL or an absolute path, such as new URL("./handler.js", import.meta.url); "${module}" is neither.`,
  );
}
