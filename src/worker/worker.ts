// The worker: has a number of slots for each operation, and keeps them filled with attempts.
//
// While a slot is free it has one claim out, for all free slots at once, which waits at the ledger until there is work: so a
// job can be accepted and begun by one commit. A claim that waits for less than could be taken by now is withdrawn and
// made anew. Outcomes are sent without waiting for one another; a store takes them together.

import { availableParallelism, tmpdir } from "node:os";
import type { Blobs } from "../blob/blobs.ts";
import { removeLeftovers } from "../blob/leftover.ts";
import type { AttemptRef, Attempts, Claimed } from "../core/attempts.ts";
import type { Job, Status } from "../core/job.ts";
import type { Operations, ReadyOperation } from "../core/operations.ts";
import { Alarms } from "./alarms.ts";
import { Attempt, type AttemptHost, type Run, type WorkerLog } from "./attempt.ts";
import { Given } from "./given.ts";
import { Isolates } from "./isolate.ts";
import { isIsolated, type Registered } from "./registered.ts";
import { Restraint } from "./restraint.ts";
import type { WorkerStats } from "./stats.ts";

export interface WorkerOptions {
  readonly attempts: Attempts;
  readonly operations: Operations;
  readonly blobs: Blobs;
  /** By operation: only these are claimed. */
  readonly handlers: ReadonlyMap<string, Registered>;
  /** Who claims: unique among the living, for people to read. */
  readonly name: string;
  /** The job's address in the blob store, as the ledger makes it; also what the idempotency key of an attempt is. */
  readonly address: (owner: string, id: string) => string;
  readonly log: WorkerLog;
  /** Most attempts at once, over all operations. Default: as many as the operations allow together. */
  readonly concurrency?: number;
  /** True (the default) where the worker lives in the ledger's process, which renews its leases. */
  readonly held?: boolean;
  /** Where scratch directories are made; on the blob store's file system files are moved, not copied. Default: the system's. */
  readonly scratchFolder?: string;
  /** Most bytes of one file that a handler saves. Default 16 GiB. */
  readonly maxFileBytes?: number;
}

export interface Worker {
  start(): void;
  /**
   * Claims no more, fires every signal with "shutting-down", and waits for the handlers. What has not ended after
   * `graceMs` is given back, counted as nothing, and tried again elsewhere. Resolves when nothing is left.
   */
  stop(options: { readonly graceMs: number }): Promise<void>;
  stats(): WorkerStats;
}

/** Makes a worker; `start` sets it to work. Throws a `TypeError` in one sentence where a handler has no operation. */
export function createWorker(options: WorkerOptions): Worker {
  return new SlotWorker(options);
}

const IN_PROCESS_SLOTS = 10;
const MAX_FILE_BYTES = 16 * 1024 ** 3;

// How long a claim waits before it is made anew. It also tells the ledger that this worker lives.
const CLAIM_WAIT_MS = 10_000;

// A ledger that answers with nothing before its time is not asked more often than this.
const LEAST_WAIT_MS = 20;

const FIRST_RETRY_MS = 50;
const MAX_RETRY_MS = 5000;

// How long outcomes may take to be recorded once the last handler has ended.
const LAST_WORDS_MS = 5000;

// A claim that asks for more would make one transaction too long for everybody else.
const MAX_CLAIM = 1000;

interface Desk {
  readonly name: string;
  readonly ready: ReadyOperation;
  readonly run: Run;
  readonly isolates: Isolates | null;
  readonly concurrency: number;
  running: number;
  /** How many slots the claim under way asks for. */
  asked: number;
}

class SlotWorker implements Worker {
  readonly #options: WorkerOptions;
  readonly #host: AttemptHost;
  readonly #alarms = new Alarms();
  readonly #desks: Desk[] = [];
  readonly #byName = new Map<string, Desk>();
  /** Attempts that are not settled, by row. */
  readonly #attempts = new Map<number, Attempt>();
  readonly #cleanups = new Set<Promise<unknown>>();
  readonly #concurrency: number;
  #state: "new" | "working" | "stopping" = "new";
  #stopped: Promise<void> | null = null;
  #unlisten: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #onIdle: (() => void) | null = null;

  #running = 0;
  #settling = 0;
  #abandoned = 0;
  #claimed = 0;
  #settled = 0;
  #lost = 0;

  #claiming = false;
  #withdrawn = false;
  /** Suspects that ran when the claim went out: with one, it asks for no other. */
  #askedSuspects = 0;
  #scheduled = false;
  readonly #restraint = new Restraint(() => this.#next());
  #retryMs = FIRST_RETRY_MS;
  /** The operation that is asked for first, so that with few slots in all each has its turn. */
  #first = 0;

  constructor(options: WorkerOptions) {
    this.#options = options;
    for (const [name, registered] of options.handlers) {
      const desk = this.#desk(name, registered);
      this.#desks.push(desk);
      this.#byName.set(name, desk);
    }
    this.#concurrency = options.concurrency ?? this.#desks.reduce((sum, desk) => sum + desk.concurrency, 0);
    this.#host = {
      attempts: options.attempts,
      blobs: options.blobs,
      log: options.log,
      alarms: this.#alarms,
      held: options.held ?? true,
      scratchFolder: options.scratchFolder ?? tmpdir(),
      maxFileBytes: options.maxFileBytes ?? MAX_FILE_BYTES,
      address: options.address,
      ended: (attempt) => this.#ended(attempt),
      settled: (attempt, status) => this.#over(attempt, status),
      returned: () => {
        this.#abandoned--;
      },
      await: (work) => {
        this.#cleanups.add(work);
        void work.finally(() => this.#cleanups.delete(work));
      },
    };
  }

  #desk(name: string, registered: Registered): Desk {
    const ready = this.#options.operations.get(name);
    if (ready === undefined) throw new TypeError(`There is a handler for "${name}", but no such operation.`);
    const isolated = isIsolated(registered);
    const concurrency = registered.concurrency ?? (isolated ? availableParallelism() : IN_PROCESS_SLOTS);
    if (!Number.isInteger(concurrency) || concurrency < 1) {
      throw new TypeError(`The concurrency of "${name}" must be a whole number of at least 1.`);
    }
    const { log } = this.#options;
    const isolates = isolated ? new Isolates(registered, { concurrency, alarms: this.#alarms, log }) : null;
    const run: Run = isIsolated(registered)
      ? (input, attempt) => (isolates as Isolates).run(input, attempt)
      : (input, attempt) => registered.handler(input, new Given(attempt));
    return { name, ready, run, isolates, concurrency, running: 0, asked: 0 };
  }

  start(): void {
    if (this.#state !== "new") return;
    this.#state = "working";
    const { attempts } = this.#options;
    this.#host.await(removeLeftovers(this.#host.scratchFolder));
    this.#unlisten = [
      // Not here and now: who tells may be in the middle of a commit.
      attempts.onStop((ref, why) => queueMicrotask(() => this.#find(ref)?.interrupt(why))),
    ];
    this.#claim();
  }

  stats(): WorkerStats {
    return {
      running: this.#running,
      settling: this.#settling,
      abandoned: this.#abandoned,
      claimed: this.#claimed,
      settled: this.#settled,
      lost: this.#lost,
      operations: Object.fromEntries(
        this.#desks.map(({ name, running, concurrency }) => [name, { running, concurrency }]),
      ),
    };
  }

  stop({ graceMs }: { readonly graceMs: number }): Promise<void> {
    this.#stopped ??= this.#stop(graceMs);
    return this.#stopped;
  }

  async #stop(graceMs: number): Promise<void> {
    this.#state = "stopping";
    clearTimeout(this.#timer);
    this.#restraint.end();
    this.#withdraw();
    for (const attempt of this.#attempts.values()) attempt.interrupt("shutting-down");
    await this.#idleWithin(graceMs);
    for (const attempt of [...this.#attempts.values()]) attempt.abandon();
    await this.#idleWithin(LAST_WORDS_MS);
    for (const attempt of [...this.#attempts.values()]) attempt.forget();
    for (const end of this.#unlisten) end();
    await Promise.all(this.#desks.map((desk) => desk.isolates?.close()));
    await Promise.allSettled(this.#cleanups);
    this.#alarms.close();
  }

  #idleWithin(ms: number): Promise<void> {
    if (this.#isIdle()) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#onIdle = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #isIdle(): boolean {
    return this.#running === 0 && this.#settling === 0 && !this.#claiming;
  }

  #find({ row, attempt }: AttemptRef): Attempt | null {
    const found = this.#attempts.get(row);
    return found?.job.attempt === attempt ? found : null;
  }

  // Slots that become free in one turn of the event loop are asked for together.
  #claimSoon(soon: (claim: () => void) => void): void {
    if (this.#scheduled || this.#claiming || this.#state !== "working") return;
    this.#scheduled = true;
    soon(this.#claim);
  }

  readonly #claim = (): void => {
    this.#scheduled = false;
    if (this.#state !== "working" || this.#claiming || this.#restraint.isHoldingBack) return;
    const slots = this.#freeSlots();
    const free = Math.min(
      this.#concurrency - this.#running,
      // Outcomes that the store does not take yet are held in memory, so there may not be any number of them.
      2 * this.#concurrency - this.#running - this.#settling,
      MAX_CLAIM,
    );
    if (slots === null || free <= 0) return;
    this.#claiming = true;
    this.#withdrawn = false;
    const sentAt = performance.now();
    const { attempts, name } = this.#options;
    const { running, suspects } = this.#exposed();
    this.#askedSuspects = suspects;
    attempts
      .claim({
        worker: name,
        slots,
        limit: free,
        running: this.#restraint.isOver() ? 0 : running,
        suspects,
        waitMs: CLAIM_WAIT_MS,
        held: this.#host.held,
      })
      .then(
        (claimed) => this.#take(claimed, sentAt),
        (error) => this.#refused(error),
      );
  };

  #freeSlots(): Record<string, number> | null {
    const slots: Record<string, number> = {};
    let any = false;
    const count = this.#desks.length;
    for (let at = 0; at < count; at++) {
      const desk = this.#desks[(this.#first + at) % count] as Desk;
      desk.asked = desk.concurrency - desk.running;
      if (desk.asked === 0) continue;
      slots[desk.name] = desk.asked;
      any = true;
    }
    this.#first = count === 0 ? 0 : (this.#first + 1) % count;
    return any ? slots : null;
  }

  #take({ jobs, drain, nextAt }: Claimed, sentAt: number): void {
    const now = performance.now();
    this.#retryMs = FIRST_RETRY_MS;
    this.#claimed += jobs.length;
    for (const job of jobs) this.#begin(job, sentAt, now);
    this.#claiming = false;
    // With nothing to wait for, drained is what it is.
    if (drain && this.#exposed().running > 0) this.#restraint.begin();
    const tooSoon = jobs.length === 0 && !this.#withdrawn && nextAt === null && now - sentAt < LEAST_WAIT_MS;
    if (tooSoon) this.#claimIn(LEAST_WAIT_MS);
    else this.#next();
  }

  #refused(error: unknown): void {
    this.#claiming = false;
    this.#options.log.warn(
      { err: error, worker: this.#options.name },
      "No work can be claimed now; it is tried again.",
    );
    this.#claimIn(this.#retryMs);
    this.#retryMs = Math.min(MAX_RETRY_MS, this.#retryMs * 2);
  }

  #begin(job: Job, claimedAt: number, now: number): void {
    const desk = this.#byName.get(job.operation);
    if (desk === undefined || this.#state !== "working") {
      this.#giveBack(job);
      return;
    }
    desk.running++;
    this.#running++;
    // It was claimed again, so the earlier attempt has lost its lease.
    this.#attempts.get(job.row)?.interrupt("lease-lost");
    const attempt = new Attempt(job, desk.ready, this.#host, claimedAt, now);
    this.#attempts.set(job.row, attempt);
    attempt.begin(desk.run);
  }

  #giveBack({ row, attempt }: Job): void {
    this.#settling++;
    const over = () => this.#recorded();
    this.#options.attempts.settle({ row, attempt }, { kind: "released" }).then(over, over);
  }

  #ended(attempt: Attempt): void {
    const desk = this.#byName.get(attempt.job.operation) as Desk;
    desk.running--;
    this.#running--;
    this.#settling++;
    if (attempt.abandoned) this.#abandoned++;
    this.#next();
  }

  #over(attempt: Attempt, status: Status | null): void {
    if (status === null) this.#lost++;
    else this.#settled++;
    if (this.#attempts.get(attempt.job.row) === attempt) this.#attempts.delete(attempt.job.row);
    this.#recorded();
  }

  #recorded(): void {
    this.#settling--;
    if (this.#restraint.isHoldingBack && this.#exposed().running === 0) this.#restraint.end();
    this.#next();
  }

  #next(): void {
    if (this.#claiming) {
      // The claim that is out asked for less than could be taken now.
      const hasFreed = this.#desks.some((desk) => desk.asked === 0 && desk.running < desk.concurrency);
      if (hasFreed || (this.#askedSuspects > 0 && this.#exposed().suspects === 0)) this.#withdraw();
      return;
    }
    // With nothing left running there is nothing to wait for, and the claim goes out with the outcomes.
    if (this.#running === 0) this.#claim();
    else this.#claimSoon(setImmediate);
    this.#tellIdle();
  }

  // Attempts that would be lost together if this process were lost.
  #exposed(): { readonly running: number; readonly suspects: number } {
    let running = 0;
    let suspects = 0;
    for (const { job } of this.#attempts.values()) {
      if (job.policy.isolated) continue;
      running++;
      if (job.crashes > 0) suspects++;
    }
    return { running, suspects };
  }

  #withdraw(): void {
    if (!this.#claiming || this.#withdrawn) return;
    this.#withdrawn = true;
    // Where that fails, the claim is answered in its own time.
    this.#options.attempts.withdraw(this.#options.name).catch(() => {});
  }

  #tellIdle(): void {
    if (this.#onIdle === null || !this.#isIdle()) return;
    this.#onIdle();
    this.#onIdle = null;
  }

  #claimIn(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#state === "working") this.#timer = setTimeout(this.#claim, ms);
    this.#tellIdle();
  }
}
