// What is known of each operation's durations and drain, and what it says of a job.

import {
  type Drain,
  type Durations,
  drainPerSecond,
  emptyDrain,
  emptyDurations,
  estimate,
  learnAll,
  learnDrain,
  mergeDurations,
} from "../core/estimate.ts";
import { isSettled, type Job } from "../core/job.ts";
import type { View } from "../core/jobs.ts";
import type { Sight, Store } from "../store/store.ts";

/** Learned runs are handed to the store, and what other servers learned is read, this often; each server has a beat of its own. */
const SHARE_EVERY_MS = 10_000;
const BEAT = 0.25;

/** Runs held until then: more are not needed to know a distribution. */
const MOST_RUNS = 512;

/** Whole seconds that nobody is sent away for longer than, where it is not a job that he waits for. */
const MOST_ROOM_SECONDS = 60;

interface Known {
  durations: Durations;
  drain: Drain;
  /** Settles not yet in `drain`: they are counted in at most once a second. */
  settled: number;
  settledAt: number;
  runs: number[];
  /** The most that ever ran at once, or could have here. */
  slots: number;
  /** In this process; null where it does not work the operation. */
  freeSlots: number | null;
  /** Rows that run, wherever it is. */
  readonly running: Set<number>;
}

export interface Estimates {
  view(sight: Sight): View;
  /** When a job at this place would start and be done, in ms from now. */
  outlook(
    operation: string,
    position: number,
    delayMs: number,
  ): { readonly waitMs: number; readonly remainingMs: number };
  /** Seconds until there will be room, after a refusal for want of it. */
  roomSeconds(operation: string): number;
  learnRun(operation: string, runMs: number): void;
  learnSettled(operation: string): void;
  learnSlots(operation: string, free: number, running: number): void;
  /** An attempt began or ended, here or elsewhere: other processes' slots are known only by what runs in them. */
  learnRunning(operation: string, row: number, runs: boolean): void;
  load(): Promise<void>;
  /** Keeps what is not kept yet. */
  share(): Promise<void>;
  close(): void;
}

export function createEstimates(
  store: Store,
  now: () => number,
  onError: (error: unknown) => void,
): Estimates {
  const known = new Map<string, Known>();
  const of = (operation: string): Known => {
    let entry = known.get(operation);
    if (entry === undefined) {
      entry = {
        durations: emptyDurations(),
        drain: emptyDrain(),
        settled: 0,
        settledAt: 0,
        runs: [],
        slots: 0,
        freeSlots: null,
        running: new Set(),
      };
      known.set(operation, entry);
    }
    return entry;
  };
  const fold = (entry: Known, at: number) => {
    if (entry.settled === 0 || at - entry.settledAt < 1000) return;
    entry.drain = learnDrain(entry.drain, entry.settled, at);
    entry.settled = 0;
    entry.settledAt = at;
  };

  const load = async () => {
    for (const [operation, durations] of Object.entries(await store.read({ get: "durations" }))) {
      const entry = of(operation);
      entry.durations = durations;
      if (entry.runs.length > 0) entry.durations = learnAll(entry.durations, entry.runs, now());
    }
  };
  const share = async () => {
    for (const [operation, entry] of known) {
      if (entry.runs.length === 0) continue;
      const { runs } = entry;
      entry.runs = [];
      try {
        const durations = learnAll(emptyDurations(), runs, now());
        await store.write({ do: "learn", operation, durations });
      } catch (error) {
        entry.runs = [...runs, ...entry.runs].slice(-MOST_RUNS);
        throw error;
      }
    }
  };
  const everyMs = SHARE_EVERY_MS * (1 - BEAT * Math.random());
  const sharing = setInterval(() => share().then(load).catch(onError), everyMs);
  sharing.unref();

  return {
    view({ job, position, waitingFor }) {
      if (isSettled(job.status))
        return { job, position, waitingFor, completionAt: null, retryAfterSeconds: null };
      const at = now();
      const entry = of(job.operation);
      fold(entry, at);
      const { remainingMs, retryAfterSeconds } = estimate(waiting(job, position, entry, at), Math.random());
      const completionAt = Math.round(at + remainingMs);
      if (job.cancelRequestedAt !== null) {
        // What was asked to stop mostly does so at once, and has to within its grace, however much work is left.
        const stopsBy = Math.max(at, job.cancelRequestedAt + job.policy.graceMs);
        return {
          job,
          position,
          waitingFor,
          completionAt: Math.min(completionAt, stopsBy),
          retryAfterSeconds: 1,
        };
      }
      return { job, position, waitingFor, completionAt, retryAfterSeconds };
    },
    outlook(operation, position, delayMs) {
      const at = now();
      const entry = of(operation);
      fold(entry, at);
      const { durations, drain, slots } = entry;
      return estimate(
        {
          status: "queued",
          position,
          elapsedMs: 0,
          sinceDueMs: -delayMs,
          progress: null,
          durations,
          drainPerSecond: drainPerSecond(drain, at),
          slots,
          freeSlots: freeSlotsOf(entry),
        },
        0,
      );
    },
    roomSeconds(operation) {
      const entry = of(operation);
      fold(entry, now());
      const perSecond = drainPerSecond(entry.drain, now());
      return perSecond === 0 ? 5 : Math.min(MOST_ROOM_SECONDS, Math.max(1, Math.ceil(1 / perSecond)));
    },
    learnRun(operation, runMs) {
      const entry = of(operation);
      if (entry.runs.length < MOST_RUNS) entry.runs.push(runMs);
      // The first runs of an operation tell the most: they count at once.
      if (entry.durations.buckets.length === 0 || entry.runs.length < 8) {
        entry.durations = mergeDurations(entry.durations, learnAll(emptyDurations(), [runMs], now()));
      }
    },
    learnSettled(operation) {
      const entry = of(operation);
      const at = now();
      entry.settled++;
      if (entry.settledAt === 0) entry.settledAt = at - 1000;
      // Now, and not at the next look: what an idle hour settled would then pass for one second's.
      fold(entry, at);
    },
    learnSlots(operation, free, running) {
      const entry = of(operation);
      entry.freeSlots = free;
      entry.slots = Math.max(entry.slots, free + running);
    },
    learnRunning(operation, row, runs) {
      const entry = of(operation);
      if (!runs) entry.running.delete(row);
      else entry.slots = Math.max(entry.slots, entry.running.add(row).size);
    },
    load,
    share,
    close: () => clearInterval(sharing),
  };
}

function waiting(job: Job, position: number | null, entry: Known, at: number) {
  const isRunning = job.status === "processing" && job.startedAt !== null;
  return {
    status: isRunning ? "processing" : "queued",
    position,
    elapsedMs: isRunning ? at - (job.startedAt as number) : 0,
    sinceDueMs: at - job.dueAt,
    progress: job.progress,
    progressElapsedMs: isRunning ? job.updatedAt - (job.startedAt as number) : null,
    durations: entry.durations,
    drainPerSecond: drainPerSecond(entry.drain, at),
    slots: entry.slots,
    freeSlots: freeSlotsOf(entry),
  } as const;
}

// A server that only serves sees what runs elsewhere, and the most that ever did.
function freeSlotsOf({ freeSlots, slots, running }: Known): number | null {
  return freeSlots ?? (slots === 0 ? null : Math.max(0, slots - running.size));
}
