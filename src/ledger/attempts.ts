// The worker's side of the ledger: `Attempts` over a store.

import type { AttemptRef, Attempts } from "../core/attempts.ts";
import type { Event } from "../core/event.ts";
import type { Store } from "../store/store.ts";
import type { Estimates } from "./estimates.ts";
import { endsJob, type Feed } from "./feed.ts";

/** Requests to stop that were heard of before their attempt was handed out: as many are remembered. */
const MOST_EARLY = 1000;

interface Open {
  readonly attempt: number;
  readonly operation: string;
  readonly startedAt: number;
}

export function createAttempts(store: Store, estimates: Estimates, feed: Feed, now: () => number): Attempts {
  /** Attempts that were handed out here and did not settle yet, by row. */
  const open = new Map<number, Open>();
  const running = new Map<string, number>();
  /** Rows that were asked to stop while the claim that took them was being answered, by their attempt. */
  const early = new Map<number, number>();
  const stops = new Set<(ref: AttemptRef, why: "canceled" | "lease-lost") => void>();

  const close = (row: number) => {
    const attempt = open.get(row);
    if (attempt === undefined) return undefined;
    open.delete(row);
    running.set(attempt.operation, (running.get(attempt.operation) ?? 1) - 1);
    return attempt;
  };
  const keep = (row: number, attempt: Open) => {
    open.set(row, attempt);
    running.set(attempt.operation, (running.get(attempt.operation) ?? 0) + 1);
  };

  // Who claims must have taken the attempt up before it is told to stop it.
  const stopSoon = ({ row, attempt }: AttemptRef) => {
    early.delete(row);
    setImmediate(() => {
      if (open.get(row)?.attempt !== attempt) return;
      for (const stop of stops) stop({ row, attempt }, "canceled");
    });
  };

  feed.listen((event) => {
    if (endsJob(event.kind)) estimates.learnSettled(event.operation);
    if (event.kind !== "progress") estimates.learnRunning(event.operation, event.row, runs(event));
    const attempt = open.get(event.row);
    if (attempt === undefined && event.kind === "cancel-requested") {
      early.set(event.row, event.attempt);
      if (early.size > MOST_EARLY) forgetFirst(early);
    }
    if (attempt === undefined || event.attempt < attempt.attempt) return;
    const ref = { row: event.row, attempt: attempt.attempt };
    if (event.kind === "cancel-requested") {
      for (const stop of stops) stop(ref, "canceled");
    } else if (endsJob(event.kind) || event.kind === "retrying" || event.attempt > attempt.attempt) {
      // Someone else ended it: a sweep, for the lease or the grace was over.
      close(event.row);
      for (const stop of stops) stop(ref, "lease-lost");
    }
  });

  return {
    async withdraw(worker) {
      await store.write({ do: "withdraw", worker });
    },

    async claim(request) {
      const written = await store.write({ do: "claim", ...request });
      if (!("did" in written)) throw new Error(`A claim was refused as ${written.refused}.`);
      for (const job of written.jobs) {
        keep(job.row, { attempt: job.attempt, operation: job.operation, startedAt: job.startedAt ?? now() });
        if (early.get(job.row) === job.attempt) stopSoon(job);
      }
      for (const [operation, free] of Object.entries(request.slots)) {
        const taken = written.jobs.reduce((count, job) => count + (job.operation === operation ? 1 : 0), 0);
        estimates.learnSlots(operation, free - taken, running.get(operation) ?? 0);
      }
      return { jobs: written.jobs, drain: written.drain, nextAt: written.nextAt };
    },

    async heartbeat(ref, beat) {
      const written = await store.write({ do: "heartbeat", ...ref, ...beat });
      if (!("did" in written)) return { refused: "lease-lost" };
      return { leaseUntil: written.leaseUntil ?? now(), cancel: written.cancel };
    },

    async settle(ref, outcome) {
      // Closed before the answer: the feed tells of it first, and must not take it for someone else's doing.
      const attempt = open.get(ref.row)?.attempt === ref.attempt ? close(ref.row) : undefined;
      try {
        const written = await store.write({ do: "settle", ...ref, outcome });
        if (!("did" in written)) return { refused: "lease-lost" };
        if (attempt !== undefined && outcome.kind !== "released") {
          estimates.learnRun(attempt.operation, now() - attempt.startedAt);
        }
        return { status: written.status };
      } catch (error) {
        if (attempt !== undefined) keep(ref.row, attempt);
        throw error;
      }
    },

    onStop(listener) {
      stops.add(listener);
      return () => stops.delete(listener);
    },
  };
}

function runs({ status }: Event): boolean {
  return status === "processing";
}

function forgetFirst(map: Map<number, number>): void {
  for (const first of map.keys()) {
    map.delete(first);
    return;
  }
}
