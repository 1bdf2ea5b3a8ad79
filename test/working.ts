// A worker at work over the real ledger in memory, for tests: everything but HTTP.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Blobs } from "../src/blob/blobs.ts";
import { openFileBlobs } from "../src/blob/file.ts";
import type { Attempts } from "../src/core/attempts.ts";
import type { Event } from "../src/core/event.ts";
import type { StoredFile } from "../src/core/handler.ts";
import type { Job, Status } from "../src/core/job.ts";
import type { Caller } from "../src/core/jobs.ts";
import type { Operation } from "../src/core/operation.ts";
import { readyOperations } from "../src/core/operations.ts";
import { createLedger, type Ledger } from "../src/ledger/ledger.ts";
import { type Clock, createClock } from "../src/store/clock.ts";
import { openMemory } from "../src/store/memory.ts";
import { asRegistered, type Registered } from "../src/worker/registered.ts";
import { createWorker, type Worker, type WorkerOptions } from "../src/worker/worker.ts";

export const CALLER: Caller = {
  owner: "ada",
  tier: { name: "default", priority: 0, weight: 1, active: null, running: null, rate: null },
};

export interface WorkingOptions {
  readonly handlers: readonly (readonly [Operation, Registered])[];
  /** Further settings of the worker. */
  readonly worker?: Partial<WorkerOptions>;
  /** Stands between the worker and the ledger. */
  readonly between?: (attempts: Attempts) => Attempts;
  /** Default: the worker is started. */
  readonly start?: boolean;
}

export interface Working {
  readonly ledger: Ledger;
  readonly blobs: Blobs;
  readonly worker: Worker;
  readonly clock: Clock;
  /** The folder of scratch directories. */
  readonly scratch: string;
  readonly events: readonly Event[];
  readonly logs: readonly {
    readonly level: string;
    readonly message: string;
    readonly [field: string]: unknown;
  }[];
  /** Submits a job; gives its id. */
  submit(
    operation: Operation,
    input?: unknown,
    more?: { upload?: StoredFile; id?: string; delayMs?: number },
  ): Promise<string>;
  get(id: string): Promise<Job>;
  /** The job once it has this status. */
  until(id: string, status: Status): Promise<Job>;
  /** The job once this holds of it. */
  when(id: string, holds: (job: Job) => boolean): Promise<Job>;
  /** The job once it has settled. */
  end(id: string): Promise<Job>;
  cancel(id: string): Promise<void>;
  close(): Promise<void>;
}

/** Opens all of it; `close` leaves nothing behind. */
export async function startWorking(options: WorkingOptions): Promise<Working> {
  const folder = await mkdtemp(join(tmpdir(), "coatcheck-test-"));
  const scratch = join(folder, "scratch");
  const clock = createClock();
  const now = () => clock.moment().now;
  const store = openMemory({ clock });
  const operations = readyOperations(
    options.handlers.map(([operation, how]) => asRegistered(operation, how)),
  );
  const blobs = await openFileBlobs(join(folder, "files"));
  const events: Event[] = [];
  const logs: { level: string; message: string }[] = [];
  const log = (level: string) => (fields: object, message: string) =>
    void logs.push({ ...fields, level, message });
  const ledger = await createLedger({
    store,
    operations,
    blobs,
    now,
    onError: (error) => log("error")({ err: error }, "background"),
  });
  const { jobs } = ledger;
  ledger.listen((event) => events.push(event));
  const close = async () => {
    await ledger.close();
    await store.close();
    await blobs.close();
    await rm(folder, { recursive: true, force: true });
  };
  let worker: Worker;
  try {
    worker = createWorker({
      attempts: options.between?.(ledger.attempts) ?? ledger.attempts,
      operations,
      blobs,
      handlers: new Map(options.handlers.map(([operation, how]) => [operation.name, how])),
      name: "tester",
      address: jobs.address,
      log: { info: log("info"), warn: log("warn"), error: log("error") },
      scratchFolder: scratch,
      ...options.worker,
    });
  } catch (error) {
    await close();
    throw error;
  }
  if (options.start ?? true) worker.start();

  const get = async (id: string): Promise<Job> => {
    const view = await jobs.get(CALLER, id);
    if (view === null) throw new Error(`There is no job ${id}.`);
    return view.job;
  };
  const when = (id: string, holds: (job: Job) => boolean): Promise<Job> =>
    new Promise((resolve, reject) => {
      const look = () => {
        get(id).then((job) => {
          if (!holds(job)) return;
          unlisten();
          resolve(job);
        }, reject);
      };
      const unlisten = ledger.listen((event) => {
        if (event.id === id) look();
      });
      look();
    });
  return {
    ledger,
    blobs,
    worker,
    clock,
    scratch,
    events,
    logs,
    get,
    when,
    until: (id, status) => when(id, (job) => job.status === status),
    end: (id) => when(id, (job) => job.finishedAt !== null),
    async submit(operation, input = null, { upload = null, id = null, delayMs = 0 } = {}) {
      const accepted = await jobs.submit(CALLER, {
        operation: operation.name,
        input: JSON.stringify(input),
        upload,
        id,
        idFromCaller: false,
        key: null,
        fingerprint: "0".repeat(32),
        delayMs,
        startWithinMs: null,
        priority: 0,
        trace: null,
      });
      if ("refused" in accepted) throw new Error(`The submission was refused: ${accepted.refused.type}.`);
      return accepted.view.job.id;
    },
    async cancel(id) {
      const canceled = await jobs.cancel(CALLER, id);
      if (canceled === null || "refused" in canceled) throw new Error("The job could not be canceled.");
    },
    async close() {
      await worker.stop({ graceMs: 0 });
      await close();
    },
  };
}

/** A promise, and what settles it. */
export function signal<T = void>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
