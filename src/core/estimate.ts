// When a job will be done, and when its caller should look again.
//
// Every fixed interval wastes polls on long jobs or time on short ones. So the wait before a run follows from the place in
// the queue and the rate at which the queue drains, and the run from what is known of such runs (durations.ts) or from
// the progress that the handler reports, whichever is surer. The median is what people are told; Retry-After is the
// next look of the plan that costs polls and lateness the least.

import { type Durations, meanMs, overdueMs, remaining, untilNextLookMs } from "./durations.ts";

export {
  type Durations,
  emptyDurations,
  learn,
  learnAll,
  mergeDurations,
  quantile,
  remaining,
} from "./durations.ts";

/** What is known of a job that is not settled. */
export interface Waiting {
  readonly status: "queued" | "processing";
  /** From 1 among those who wait; null when it is not known or the job is processing. */
  readonly position: number | null;
  /** How long the present attempt has run; 0 when queued. */
  readonly elapsedMs: number;
  /**
   * How long ago the job became due, also when it is processing by now; negative when it becomes due in so many ms (a
   * delay, a retry).
   */
  readonly sinceDueMs: number;
  /** As the handler reported it, 0 to 100; null without a report. */
  readonly progress: number | null;
  /** How long the attempt had run when it reported; without it the report is taken for new. */
  readonly progressElapsedMs?: number | null;
  readonly durations: Durations;
  /** Of the operation; 0 when nothing is known. */
  readonly drainPerSecond: number;
  /** How many runs of the operation its live workers can have going at once; 0 when none is known. */
  readonly slots: number;
  /** How many of these are free now; without it a job that has just come is hoped to find one. */
  readonly freeSlots?: number | null;
}

export interface Estimate {
  /** Until the attempt begins; 0 when it has. */
  readonly waitMs: number;
  /** Until the job is done, at the median, the wait included: `estimatedCompletion` is now and this. */
  readonly remainingMs: number;
  /** For Retry-After: whole seconds, at least 1. */
  readonly retryAfterSeconds: number;
}

/**
 * The longest Retry-After that is given by default, in seconds. A run of known length would not need a bound; it is there for the
 * unexpected end (a failure, a cancel by someone else), which no caller should miss for longer than ten minutes. A
 * lower one would make a job of ten minutes be polled for nothing, and one poll in ten minutes costs nobody anything.
 */
export const MOST_RETRY_AFTER_SECONDS = 600;

/**
 * Estimates a job's remaining time.
 *
 * @param dice 0 to 1; spreads callers who came together, by up to 2 % and never towards earlier
 * @param mostSeconds the bound of Retry-After
 */
export function estimate(job: Waiting, dice: number, mostSeconds = MOST_RETRY_AFTER_SECONDS): Estimate {
  return job.status === "queued" ? ofQueued(job, dice, mostSeconds) : ofProcessing(job, dice, mostSeconds);
}

/** How much longer an attempt runs if it keeps its pace; null when there is nothing to go by. */
export function fromProgress(progress: number, elapsedMs: number): number | null {
  if (!(progress > 0) || elapsedMs <= 0) return null;
  return (elapsedMs * (100 - Math.min(100, progress))) / progress;
}

/** How fast an operation's jobs were settled lately. Plain JSON, immutable. */
export interface Drain {
  /** When it was learned, in ms since 1970. */
  readonly at: number;
  /** When the first settle was learned. */
  readonly since: number;
  /** The settles, faded: half of a settle is gone after five minutes. */
  readonly settled: number;
}

export function emptyDrain(): Drain {
  return NO_DRAIN;
}

/** Adds settles that happened by `now`. */
export function learnDrain(drain: Drain, settles: number, now: number): Drain {
  if (drain.settled === 0) return { at: now, since: now, settled: settles };
  // A clock that stepped back must not leave `since` in the future.
  return { at: now, since: Math.min(drain.since, now), settled: faded(drain, now) + settles };
}

/** Settles per second over about the last seven minutes. */
export function drainPerSecond(drain: Drain, now: number): number {
  if (drain.settled === 0) return 0;
  // A full memory would hold rate × half-life ÷ ln 2 settles; a young one holds the share that its age could fill.
  // Several that settle together at the start are no rate yet, hence the least age.
  const ageMs = Math.max(10_000, now - drain.since);
  const full = (DRAIN_HALF_LIFE_MS / 1000 / Math.LN2) * (1 - 2 ** (-ageMs / DRAIN_HALF_LIFE_MS));
  return faded(drain, now) / full;
}

const DRAIN_HALF_LIFE_MS = 300_000;
const NO_DRAIN: Drain = Object.freeze({ at: 0, since: 0, settled: 0 });

function faded(drain: Drain, now: number): number {
  return drain.settled * 2 ** (-Math.max(0, now - drain.at) / DRAIN_HALF_LIFE_MS);
}

const JITTER = 0.02;

/** Nothing is told beyond a year: it would only be a wrong date. */
const LONGEST_MS = 31_536_000_000;

function ofQueued(job: Waiting, dice: number, mostSeconds: number): Estimate {
  const delayMs = Math.max(0, -job.sinceDueMs);
  const turnMs = untilTurnMs(job);
  const run = remaining(job.durations, 0, 0.5);
  const firstLookMs = untilNextLookMs(job.durations, 0);
  // A delay is exact, a turn is not: the next look comes before its end, when much less of it is uncertain.
  const lookMs =
    firstLookMs === null
      ? delayMs + Math.max(blindLookMs(job.sinceDueMs, dice), TURN_LOOK * turnMs)
      : delayMs + TURN_LOOK * turnMs + firstLookMs;
  return {
    waitMs: Math.min(LONGEST_MS, delayMs + turnMs),
    remainingMs: Math.min(LONGEST_MS, delayMs + turnMs + (run ?? BLIND_RUN_MS)),
    retryAfterSeconds: retryAfter(lookMs, dice, mostSeconds),
  };
}

const TURN_LOOK = 0.9;
const BLIND_RUN_MS = 2000;

/** Without any knowledge: 1 to 2 s first, then always a quarter of the time that has passed. */
function blindLookMs(passedMs: number, dice: number): number {
  return Math.max(1000 * (1 + dice), passedMs / 4);
}

function untilTurnMs(job: Waiting): number {
  const position = job.position ?? 1;
  if (position <= hopefulPlaces(job)) return 0;
  const perSecond = turnsPerSecond(job);
  // Who waits with nobody working is told what has been true so far.
  if (perSecond <= 0) return Math.max(0, job.sinceDueMs);
  // The runs before it are on average half done.
  return ((position - (job.freeSlots ?? 0) - 0.5) * 1000) / perSecond;
}

/**
 * The drain of an operation that was mostly idle says what came, not what it can do: its slots say that. They may be shared
 * with other operations, though, so once this job has waited for longer than the drain remembers, the drain is right.
 */
function turnsPerSecond(job: Waiting): number {
  const mean = meanMs(job.durations);
  const capacity = mean === null ? 0 : (job.slots * 1000) / mean;
  const backlogged = job.sinceDueMs > 2 * DRAIN_HALF_LIFE_MS && job.drainPerSecond > 0;
  return capacity === 0 || backlogged ? job.drainPerSecond : capacity;
}

/** Up to which position a job is taken to begin at once. */
function hopefulPlaces(job: Waiting): number {
  if (job.freeSlots !== undefined && job.freeSlots !== null) return job.freeSlots;
  return job.sinceDueMs < JUST_COME_MS ? Math.max(1, job.slots) : 0;
}

const JUST_COME_MS = 1000;

function ofProcessing(job: Waiting, dice: number, mostSeconds: number): Estimate {
  const elapsedMs = Math.max(0, job.elapsedMs);
  const median = remaining(job.durations, elapsedMs, 0.5);
  const progress = byProgress(job, elapsedMs);
  if (progress !== null && (median === null || isSurer(progress, job.durations, elapsedMs))) {
    return {
      waitMs: 0,
      remainingMs: Math.min(LONGEST_MS, progress.remainingMs),
      retryAfterSeconds: retryAfter(progress.lookMs, dice, mostSeconds),
    };
  }
  const lookMs = untilNextLookMs(job.durations, elapsedMs) ?? blindLookMs(elapsedMs, dice);
  return {
    waitMs: 0,
    // A run of which nothing is known is as likely as not to be in its first half.
    remainingMs: Math.min(LONGEST_MS, median ?? Math.max(BLIND_RUN_MS, elapsedMs)),
    retryAfterSeconds: retryAfter(lookMs + patienceMs(job, elapsedMs), dice, mostSeconds),
  };
}

/** Who has waited long for the turn is not served better by being told of the end to the second. */
function patienceMs(job: Waiting, elapsedMs: number): number {
  return PATIENCE * Math.max(0, job.sinceDueMs - elapsedMs);
}

const PATIENCE = 0.03;

interface ByProgress {
  readonly remainingMs: number;
  /** How far off the end may be to either side. */
  readonly errorMs: number;
  readonly lookMs: number;
}

function byProgress(job: Waiting, elapsedMs: number): ByProgress | null {
  const reportedMs = Math.min(elapsedMs, job.progressElapsedMs ?? elapsedMs);
  const progress = job.progress ?? 0;
  // Below 1 % a report is mostly rounding.
  const left = progress < 1 ? null : fromProgress(progress, reportedMs);
  if (left === null) return null;
  const wholeMs = reportedMs + left;
  const done = Math.min(1, progress / 100);
  // Half a percent of rounding weighs more the earlier it is, and so does the pace that may yet change.
  const errorMs = wholeMs * (0.005 / done + 0.15 * (1 - done));
  const remainingMs = Math.max(wholeMs - elapsedMs, Math.min(wholeMs, overdueMs(elapsedMs, wholeMs)) / 2);
  // A rough end is looked at before it comes, when it will be less rough; a clear one just after.
  const lookMs = errorMs > 0.1 * wholeMs ? 0.7 * remainingMs : remainingMs + 0.1 * errorMs;
  return { remainingMs, errorMs, lookMs };
}

/** Whether the end by progress is surer than the middle two thirds of the known runs that took this long. */
function isSurer(progress: ByProgress, durations: Durations, elapsedMs: number): boolean {
  const early = remaining(durations, elapsedMs, 0.16);
  const late = remaining(durations, elapsedMs, 0.84);
  // Past all known runs both are the same guess, and a report is better than a guess.
  return early === null || late === null || early === late || 2 * progress.errorMs < late - early;
}

function retryAfter(lookMs: number, dice: number, mostSeconds: number): number {
  const seconds = Math.ceil((lookMs * (1 + JITTER * dice)) / 1000);
  return seconds >= 1 ? Math.min(mostSeconds, seconds) : 1;
}
