// The ledger: it decides and records. Both roles over one store, with the feed, the estimates and the sweep between.

import type { Blobs } from "../blob/blobs.ts";
import type { Attempts } from "../core/attempts.ts";
import type { Event } from "../core/event.ts";
import type { Jobs } from "../core/jobs.ts";
import type { Operations } from "../core/operations.ts";
import type { Counts, Store } from "../store/store.ts";
import { createAttempts } from "./attempts.ts";
import { createEstimates } from "./estimates.ts";
import { createFeed } from "./feed.ts";
import { createJobs } from "./jobs.ts";
import { createSweep } from "./sweep.ts";

/** Jobs that may wait in all: past it 503. At some hundred bytes of memory each it keeps a process small. */
const DEFAULT_BACKLOG = 5_000_000;

export interface LedgerOptions {
  readonly store: Store;
  readonly operations: Operations;
  /** Where files lie; those of expired jobs are removed. */
  readonly blobs?: Blobs;
  readonly backlog?: number;
  /** Called with what goes wrong in the background; nothing is lost by it. Default: nothing. */
  readonly onError?: (error: unknown) => void;
  /** Default `Date.now`. */
  readonly now?: () => number;
}

export interface Ledger {
  readonly jobs: Jobs;
  readonly attempts: Attempts;
  /** Every event, once it is durable. Returns a function that ends it. */
  listen(hear: (event: Event) => void): () => void;
  counts(): Promise<Counts>;
  /** Holds an operation's queued jobs back, or lets them go on; running attempts are not touched. */
  pause(operation: string, paused: boolean): Promise<void>;
  /** Rescues, expires and purges what is due, at once. It happens by itself twice a second. */
  sweep(): Promise<void>;
  /** Keeps what was learned and lets go; the store stays open. */
  close(): Promise<void>;
}

export async function createLedger(options: LedgerOptions): Promise<Ledger> {
  const { store, operations, now = Date.now, onError = () => {} } = options;
  const feed = createFeed(store, onError);
  const estimates = createEstimates(store, now, onError);
  await estimates.load();
  const sweep = createSweep(store, options.blobs ?? null, onError);
  const jobs = createJobs({
    store,
    operations,
    estimates,
    feed,
    now,
    backlog: options.backlog ?? DEFAULT_BACKLOG,
  });
  return {
    jobs,
    attempts: createAttempts(store, estimates, feed, now),
    listen: (hear) => feed.listen(hear),
    counts: () => store.read({ get: "counts" }),
    async pause(operation, paused) {
      await store.write({ do: "pause", operation, paused });
    },
    sweep: () => sweep.run(),
    async close() {
      await sweep.close();
      estimates.close();
      await estimates.share().catch(onError);
      feed.close();
    },
  };
}
