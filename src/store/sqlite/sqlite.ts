// The embedded store: one SQLite file, a thread that writes it, a thread beside it for checkpoints and listings.
//
//   main thread                    writer thread                    reader thread
//   write(), read() ─ gathered ──► one transaction, one fsync
//                  ◄── one reply ─ one message                       checkpoints off the commits' path
//   list ───────────────────────────────────────────────────────────► which rows
//
// One batch is under way at a time; what is asked for meanwhile is the next. So the batch grows with the load.

import { isAbsolute, resolve } from "node:path";
import { Worker } from "node:worker_threads";
import type { Policy } from "../../core/job.ts";
import { decide } from "../../core/machine.ts";
import { type Clock, createClock } from "../clock.ts";
import type {
  Answer,
  Listener,
  ListFilter,
  Query,
  Sight,
  Store,
  SubmitWrite,
  WaitingFor,
  Write,
  Written,
  WrittenOf,
} from "../store.ts";
import { StoreUnavailable, StoreUnusable } from "../store.ts";
import type { Policies } from "./codec.ts";
import { unflattenEvents } from "./entries.ts";
import {
  type FreshSubmit,
  flattenWrite,
  keptOf,
  PolicySender,
  type Reply,
  type Request,
  unflattenJob,
  type Waits,
} from "./wire.ts";
import type { WriterData } from "./writer.ts";

export interface SqliteOptions {
  /** The database file; its folder is made where it is missing. */
  readonly file: string;
  /** Most bytes that the database may have; past it submits are answered 503. Default: the disk's. */
  readonly maxBytes?: number;
  readonly clock?: Clock;
  /** Called once when the store can't go on: damage, or a broken invariant. The process should end. */
  readonly onBroken?: (error: Error) => void;
}

/** What a batch may hold at most: it bounds a transaction, and what lies in memory while the disk is slow. */
const MAX_BATCH = 4096;

/** Past this many writes waiting, more are refused at once. */
const MAX_WAITING = 65_536;

interface Asked<Asking> {
  readonly asking: Asking;
  readonly resolve: (answer: never) => void;
  readonly reject: (error: Error) => void;
}

/** Opens (and makes, or migrates) the store. Rejects with `StoreUnusable` in one sentence where it must not be used. */
export async function openSqlite(options: SqliteOptions): Promise<Store> {
  const file = isAbsolute(options.file) ? options.file : resolve(options.file);
  const clock = options.clock ?? createClock();
  const wishes = new SharedArrayBuffer(4);
  const data: WriterData = { file, options: { maxBytes: options.maxBytes }, clock: clock.shared, wishes };
  const writer = await startThread("./writer", data);
  const reader = await startThread("./reader", { file, wishes }).catch(async (error: Error) => {
    await stopThread(writer);
    throw error;
  });
  return new Sqlite(options, writer, reader);
}

class Sqlite implements Store {
  readonly durability = "power";
  readonly name: string;
  readonly #writer: Worker;
  readonly #reader: Worker;
  readonly #listeners = new Set<Listener>();
  readonly #sender = new PolicySender();
  readonly #policies = new Map<number, Policy>();
  readonly #incoming: Policies;
  /** Claims that wait for work, by the writer's number. */
  readonly #waiting = new Map<number, Asked<Write>>();
  readonly #lists = new Map<number, Asked<ListFilter>>();
  readonly #onBroken: (error: Error) => void;
  #writes: Asked<Write>[] = [];
  #reads: Asked<Query>[] = [];
  #sentWrites: Asked<Write>[] = [];
  #sentReads: Asked<Query>[] = [];
  #isUnderWay = false;
  #isScheduled = false;
  #nextList = 1;
  #broken: Error | null = null;
  #closed: Promise<void> | null = null;
  #idle: (() => void) | null = null;

  constructor(options: SqliteOptions, writer: Worker, reader: Worker) {
    this.name = `sqlite:${options.file}`;
    this.#onBroken = options.onBroken ?? (() => {});
    this.#writer = writer;
    this.#reader = reader;
    this.#incoming = {
      number: () => 0,
      policy: (number) => this.#policies.get(number) as Policy,
    };
    writer.on("message", (reply: Reply | "closed") => this.#receive(reply));
    writer.on("error", (error) => this.#break(error));
    writer.on("exit", () => this.#break(new StoreUnusable("The store's thread ended.")));
    reader.on("message", (message) => this.#receiveList(message));
    reader.on("error", (error) => this.#break(error));
    reader.on("exit", () => this.#break(new StoreUnusable("The store's thread ended.")));
  }

  write<W extends Write>(write: W): Promise<WrittenOf<W>> {
    return this.#ask(this.#writes, write) as Promise<WrittenOf<W>>;
  }

  read<Q extends Query>(query: Q): Promise<Answer<Q>> {
    if (query.get === "list") return this.#list(query.filter) as Promise<Answer<Q>>;
    return this.#ask(this.#reads, query) as Promise<Answer<Q>>;
  }

  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    // What was given before is still written.
    while (this.#isUnderWay || this.#isScheduled) await new Promise<void>((done) => (this.#idle = done));
    for (const { reject } of this.#waiting.values()) reject(new StoreUnavailable("The store is closed."));
    this.#waiting.clear();
    await Promise.all([stopThread(this.#writer), stopThread(this.#reader)]);
    for (const { reject } of this.#lists.values()) reject(new StoreUnavailable("The store is closed."));
    this.#lists.clear();
  }

  #ask<A extends Write | Query>(waiting: Asked<A>[], asking: A): Promise<unknown> {
    if (this.#broken !== null || this.#closed !== null) {
      return Promise.reject(new StoreUnavailable(this.#broken?.message ?? "The store is closed."));
    }
    if (waiting.length >= MAX_WAITING)
      return Promise.reject(new StoreUnavailable("The store can't keep up."));
    const answer = new Promise((resolve, reject) => {
      waiting.push({ asking, resolve: resolve as (answer: never) => void, reject });
    });
    this.#schedule();
    return answer;
  }

  #schedule(): void {
    if (this.#isUnderWay || this.#isScheduled) return;
    this.#isScheduled = true;
    // After the I/O of this turn: all requests that came with it go together.
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    this.#isScheduled = false;
    // What was asked for was rejected when it broke.
    if (this.#broken !== null) {
      this.#idle?.();
      return;
    }
    this.#isUnderWay = true;
    this.#sentWrites = this.#writes.length > MAX_BATCH ? this.#writes.splice(0, MAX_BATCH) : this.#writes;
    if (this.#sentWrites === this.#writes) this.#writes = [];
    this.#sentReads = this.#reads;
    this.#reads = [];
    const request: Request = {
      writes: this.#sentWrites.map(({ asking }) => flattenWrite(asking, this.#sender)),
      reads: this.#sentReads.map(({ asking }) => asking),
      policies: this.#sender.take(),
    };
    this.#writer.postMessage(request);
  }

  #receive(reply: Reply | "closed"): void {
    if (reply === "closed") return;
    for (const [number, policy] of reply.policies) this.#policies.set(number, policy);
    if (reply.isAnswer) {
      const [writes, reads] = [this.#sentWrites, this.#sentReads];
      this.#sentWrites = [];
      this.#sentReads = [];
      this.#isUnderWay = false;
      // What gathered meanwhile goes first, so that the writer works while this thread answers.
      if (reply.broken === undefined && this.#writes.length + this.#reads.length > 0) this.#flush();
      this.#answerWrites(reply, writes);
      this.#answerReads(reply, reads);
    }
    this.#answerLate(reply);
    if (reply.events !== null) {
      const events = unflattenEvents(reply.events);
      for (const listener of this.#listeners) listener(events);
    }
    if (reply.broken !== undefined) this.#break(new StoreUnusable(reply.broken));
    if (this.#writes.length > 0 || this.#reads.length > 0) this.#schedule();
    else this.#idle?.();
  }

  #answerWrites(reply: Reply, asked: readonly Asked<Write>[]): void {
    const failure = reply.unavailable ?? reply.broken;
    let index = 0;
    for (const one of asked) {
      const written = reply.written[index++];
      if (failure !== undefined) one.reject(new StoreUnavailable(failure));
      else if (isWaits(written)) this.#waiting.set(written[1], one);
      else one.resolve(this.#written(one.asking, written) as never);
    }
  }

  #answerLate(reply: Reply): void {
    for (const [number, written] of reply.late) {
      const asked = this.#waiting.get(number);
      this.#waiting.delete(number);
      asked?.resolve(this.#written(asked.asking, written) as never);
    }
  }

  #answerReads(reply: Reply, asked: readonly Asked<Query>[]): void {
    for (const [index, { asking, resolve, reject }] of asked.entries()) {
      if (reply.unread !== undefined) reject(new StoreUnavailable(reply.unread));
      else resolve(this.#answer(asking, reply.answers[index]) as never);
    }
  }

  #written(write: Write, flat: unknown): Written {
    if (typeof flat === "number") return keptOf(flat);
    if (Array.isArray(flat)) return freshSubmit(write as SubmitWrite, flat as unknown as FreshSubmit);
    const written = flat as Written;
    if ("job" in written && written.job !== undefined) return { ...written, job: this.#job(written.job) };
    if ("did" in written && written.did === "claim") {
      return { ...written, jobs: written.jobs.map((job) => this.#job(job)) };
    }
    return written;
  }

  #answer(query: Query, flat: unknown): unknown {
    const sight = (one: Sight) => ({ ...one, job: this.#job(one.job) });
    if (query.get === "job" && flat !== null) return sight(flat as Sight);
    if (query.get === "rows") return (flat as Sight[]).map(sight);
    return flat;
  }

  #job(columns: unknown) {
    return unflattenJob(columns as unknown[], this.#incoming);
  }

  async #list(filter: ListFilter): Promise<unknown> {
    if (this.#broken !== null || this.#closed !== null) throw new StoreUnavailable("The store is closed.");
    const id = this.#nextList++;
    const rows = await new Promise<readonly number[]>((resolve, reject) => {
      this.#lists.set(id, { asking: filter, resolve: resolve as (answer: never) => void, reject });
      this.#reader.postMessage({ id, filter: { ...filter, limit: filter.limit + 1 } });
    });
    const page = rows.slice(0, filter.limit);
    const found = await this.read({ get: "rows", rows: page });
    // One may have expired meanwhile.
    const sights = found.filter(({ job }) => job.goneAt === null);
    return { sights, nextRow: rows.length > page.length ? (page.at(-1) ?? null) : null };
  }

  #receiveList(message: { id: number; rows?: number[]; failed?: string }): void {
    const asked = this.#lists.get(message.id);
    if (asked === undefined) return;
    this.#lists.delete(message.id);
    if (message.rows === undefined) asked.reject(new StoreUnavailable(message.failed));
    else asked.resolve(message.rows as never);
  }

  #break(error: Error): void {
    if (this.#broken !== null) return;
    this.#broken = error;
    this.#isUnderWay = false;
    const asked = [this.#sentWrites, this.#sentReads, this.#writes, this.#reads, [...this.#lists.values()]];
    const pending = asked.flat();
    for (const { reject } of this.#waiting.values()) reject(new StoreUnavailable(error.message));
    this.#waiting.clear();
    for (const { reject } of pending) reject(new StoreUnavailable(error.message));
    this.#sentWrites = [];
    this.#sentReads = [];
    this.#writes = [];
    this.#reads = [];
    this.#lists.clear();
    this.#idle?.();
    // That the threads end when they were asked to is no breakage.
    if (this.#closed === null || pending.length > 0) this.#onBroken(error);
  }
}

function isWaits(written: unknown): written is Waits {
  return Array.isArray(written) && written[0] === "waits";
}

// The writer decided; the same command at the same moment gives the same job here, without sending it across.
function freshSubmit(write: SubmitWrite, [row, turn, now, position, waitingFor]: FreshSubmit): Written {
  const decision = decide(null, { do: "submit", submission: write.submission, row, turn }, { now, dice: 0 });
  if ("refused" in decision) throw new Error("A submission can't be refused by the machine.");
  return {
    did: "submit",
    job: decision.job,
    position,
    waitingFor: waitingFor as WaitingFor | null,
    replayed: false,
  };
}

// The file beside this one, whether this is the source or what was compiled of it.
function startThread(name: string, workerData: unknown): Promise<Worker> {
  const ending = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
  const worker = new Worker(new URL(name + ending, import.meta.url), {
    workerData,
    name: `coatcheck ${name.slice(2)}`,
  });
  return new Promise((resolve, reject) => {
    worker.once("error", reject);
    worker.once("message", (message: "ready" | { failed: string; message: string }) => {
      worker.off("error", reject);
      if (message === "ready") resolve(worker);
      else
        reject(
          new (message.failed === "StoreUnavailable" ? StoreUnavailable : StoreUnusable)(message.message),
        );
    });
  });
}

async function stopThread(worker: Worker): Promise<void> {
  // It ended by itself.
  if (worker.threadId === -1) return;
  const ended = new Promise((resolve) => worker.once("exit", resolve));
  worker.postMessage("close");
  await ended;
}
