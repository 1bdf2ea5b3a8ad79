// Keeps the leases of attempts that run in this process, in a thread of its own with a connection of its own: a handler
// that blocks the main thread keeps its lease, until its time or its grace after a cancel is over.

import { Worker } from "node:worker_threads";
import type { Job } from "../../core/job.ts";
import type { KeeperData, KeeperMessage } from "./keeper-thread.ts";

export class Keeper {
  readonly #data: KeeperData;
  /** What the thread holds, for another one to hold if it ends. */
  readonly #held = new Map<number, readonly number[]>();
  #released: number[] = [];
  #thread: Worker | null = null;
  #isClosed = false;

  constructor(module: string, options: unknown, clock: SharedArrayBuffer) {
    this.#data = { module, options, clock };
  }

  /** Renews the leases of these attempts from now on. */
  hold(jobs: readonly Job[]): void {
    if (jobs.length === 0 || this.#isClosed) return;
    const numbers: number[] = [];
    for (const { row, attempt, policy, startedAt } of jobs) {
      const endsAt = (startedAt ?? 0) + policy.timeoutMs + policy.graceMs;
      const one = [row, attempt, startedAt ?? 0, policy.leaseMs, policy.graceMs, endsAt];
      this.#held.set(row, one);
      numbers.push(...one);
    }
    if (this.#thread === null) this.#start();
    else this.#send({ hold: Float64Array.from(numbers) });
  }

  release(row: number, attempt: number): void {
    const held = this.#held.get(row);
    if (held === undefined || held[1] !== attempt) return;
    this.#held.delete(row);
    // Nothing hurries: renewing what has settled has no effect.
    if (this.#released.length === 0) setImmediate(() => this.#sendReleased());
    this.#released.push(row, attempt);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const thread = this.#thread;
    if (thread === null) return;
    const ended = new Promise((resolve) => thread.once("exit", resolve));
    this.#send("close");
    await ended;
  }

  #sendReleased(): void {
    this.#send({ release: Float64Array.from(this.#released) });
    this.#released = [];
  }

  #send(message: KeeperMessage): void {
    this.#thread?.postMessage(message);
  }

  #start(): void {
    // The file beside this one, whether this is the source or what was compiled of it.
    const ending = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
    const thread = new Worker(new URL(`./keeper-thread${ending}`, import.meta.url), {
      workerData: this.#data,
      name: "coatcheck keeper",
    });
    this.#thread = thread;
    // Nobody waits for it: leases end with their process.
    thread.unref();
    thread.on("error", () => {});
    thread.once("exit", () => {
      if (this.#thread === thread) this.#thread = null;
      if (!this.#isClosed && this.#held.size > 0) this.#start();
    });
    this.#send({ hold: Float64Array.from([...this.#held.values()].flat()) });
  }
}
