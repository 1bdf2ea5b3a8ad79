// A ledger over a real store, without a worker, for tests: what callers and workers say in one line each.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Blobs } from "../src/blob/blobs.ts";
import type { Claimed } from "../src/core/attempts.ts";
import type { Job } from "../src/core/job.ts";
import type { Accepted, Caller, Refused, SubmitRequest, Tier } from "../src/core/jobs.ts";
import type { AttemptOutcome } from "../src/core/machine.ts";
import type { Operation } from "../src/core/operation.ts";
import { readyOperations } from "../src/core/operations.ts";
import { createLedger, type Ledger } from "../src/ledger/ledger.ts";
import { type Clock, createClock } from "../src/store/clock.ts";
import { openMemory } from "../src/store/memory.ts";
import { openSqlite } from "../src/store/sqlite/sqlite.ts";
import type { Store } from "../src/store/store.ts";

/** A clock on which time passes only when it is told to, so that instants can be compared. */
export function createStoppedClock(at = Date.UTC(2026, 0, 1)): Clock {
  let now = at;
  return {
    shared: new SharedArrayBuffer(24),
    moment: () => ({ now, steadyNow: now, dice: 0.5 }),
    step: () => {},
    pass(ms) {
      now += ms;
    },
  };
}

/** Someone who asks, of a tier without limits but for these. */
export function callerOf(owner: string, tier: Partial<Tier> = {}): Caller {
  return {
    owner,
    tier: { name: "default", priority: 0, weight: 1, active: null, running: null, rate: null, ...tier },
  };
}

export const COMPLETED: AttemptOutcome = { kind: "completed", result: { json: "1" }, files: [] };

export type StoreKind = "memory" | "sqlite";

export interface OpenOptions {
  readonly operations: readonly Operation[];
  /** Default `memory`, by a stopped clock; `sqlite` goes by the system's. */
  readonly kind?: StoreKind;
  readonly blobs?: Blobs;
  readonly backlog?: number;
  /** Stands between the ledger and the store. */
  readonly between?: (store: Store) => Store;
}

export interface Opened extends Ledger {
  readonly store: Store;
  readonly clock: Clock;
  /** What was told to `onError`. */
  readonly errors: readonly unknown[];
  now(): number;
  submit(caller: Caller, operation: Operation, more?: Partial<SubmitRequest>): Promise<Accepted | Refused>;
  /** Submits what must be accepted. */
  accept(caller: Caller, operation: Operation, more?: Partial<SubmitRequest>): Promise<Job>;
  claim(operation: Operation, slots?: number): Promise<Claimed>;
  /** Claims one job of the operation and settles it. */
  work(operation: Operation, outcome?: AttemptOutcome): Promise<Job>;
  /** Ends all of it, and leaves nothing behind. */
  end(): Promise<void>;
}

/** A request as it comes from the door. */
export function requestOf(operation: Operation, more: Partial<SubmitRequest> = {}): SubmitRequest {
  return {
    operation: operation.name,
    input: "null",
    upload: null,
    id: null,
    idFromCaller: false,
    key: null,
    fingerprint: "0".repeat(32),
    delayMs: 0,
    startWithinMs: null,
    priority: 0,
    trace: null,
    ...more,
  };
}

export async function openLedger(options: OpenOptions): Promise<Opened> {
  const isMemory = (options.kind ?? "memory") === "memory";
  const folder = isMemory ? null : await mkdtemp(join(tmpdir(), "coatcheck-ledger-"));
  const clock = isMemory ? createStoppedClock() : createClock();
  const opened =
    folder === null ? openMemory({ clock }) : await openSqlite({ file: join(folder, "store.db"), clock });
  const store = options.between?.(opened) ?? opened;
  const now = () => clock.moment().now;
  const errors: unknown[] = [];
  const ledger = await createLedger({
    store,
    operations: readyOperations(options.operations),
    now,
    onError: (error) => errors.push(error),
    ...(options.blobs === undefined ? {} : { blobs: options.blobs }),
    ...(options.backlog === undefined ? {} : { backlog: options.backlog }),
  });
  const submit: Opened["submit"] = (caller, operation, more) =>
    ledger.jobs.submit(caller, requestOf(operation, more));
  const claim: Opened["claim"] = (operation, slots = 1) =>
    ledger.attempts.claim({
      worker: "tester",
      slots: { [operation.name]: slots },
      limit: slots,
      running: 0,
      held: false,
    });
  return {
    ...ledger,
    store,
    clock,
    errors,
    now,
    submit,
    claim,
    async accept(caller, operation, more) {
      const accepted = await submit(caller, operation, more);
      if ("refused" in accepted) throw new Error(`It was refused: ${accepted.refused.type}.`);
      return accepted.view.job;
    },
    async work(operation, outcome = COMPLETED) {
      const [job] = (await claim(operation)).jobs;
      if (job === undefined) throw new Error("There was nothing to claim.");
      await ledger.attempts.settle(job, outcome);
      return job;
    },
    async end() {
      await ledger.close();
      await opened.close();
      if (folder !== null) await rm(folder, { recursive: true, force: true });
    },
  };
}
