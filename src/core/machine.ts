// The machine: `decide(before, command, moment)`, the only function that changes a job.
//
//                 submit
//                   │
//                   ▼        claim
//        ┌───── [queued] ───────────────► [processing] ─────┐
//        │         ▲  │                     │   │   │        │
//        │         │  │ startBy passed      │   │   │ settle completed
//        │ cancel  │  └───────► [failed] ◄──┘   │   └──────► [completed]
//        │         │            settle failed,  │
//        │         │            none left       │ settle canceled,
//        │         └────────────────────────────┤ or grace over
//        │           settle failed / released,  │
//        │           reclaim of a lapsed lease  ▼
//        └────────────────────────────────► [canceled]
//
//        completed, failed, canceled ── expire ──► gone (a tombstone: the same job, emptied)
//
// It is pure: no I/O, no clock, no dice. `moment` brings both, so a seed replays any run. Every write of attempt n
// is refused unless the job is processing attempt n: that is the fence.

import type { EventKind } from "./event.ts";
import type { StoredFile } from "./handler.ts";
import { isSettled, type Job, type Policy, type Result } from "./job.ts";
import { type ProblemDocument, problem } from "./problem.ts";
import { backoffMs } from "./retry.ts";

/** Time and dice, as arguments. */
export interface Moment {
  /** Wall clock, ms since 1970. */
  readonly now: number;
  /** 0 ≤ dice < 1. */
  readonly dice: number;
  /** Never ahead of the real time that has passed: what may be deleted is judged by it. Default `now`. */
  readonly steadyNow?: number;
}

/** What a caller asks for, as admission let it through. */
export interface Submission {
  readonly id: string;
  readonly owner: string;
  readonly operation: string;
  readonly policy: Policy;
  readonly input: string;
  readonly upload: StoredFile | null;
  readonly trace: string | null;
  /** Starts no earlier than this long after its acceptance. */
  readonly delayMs: number;
  /** Fails if no attempt has begun this long after its acceptance. */
  readonly startWithinMs: number | null;
}

/** How one attempt ended. */
export type AttemptOutcome =
  | { readonly kind: "completed"; readonly result: Result; readonly files: readonly StoredFile[] }
  /** `final`: never tried again. `retryAfterMs`: sooner than the backoff is not wanted. */
  | {
      readonly kind: "failed";
      readonly problem: ProblemDocument;
      readonly final: boolean;
      readonly retryAfterMs?: number;
    }
  /** The handler stopped because the job was asked to stop. */
  | { readonly kind: "canceled" }
  /** The process or thread that ran it is gone. */
  | { readonly kind: "crashed"; readonly detail: string }
  /** Given back unharmed, as at a shutdown; counts as nothing. */
  | { readonly kind: "released" };

export type Command =
  /** `row` and `turn` are the store's: its next row, and the owner's place in the line. */
  | { readonly do: "submit"; readonly submission: Submission; readonly row: number; readonly turn: number }
  | { readonly do: "claim"; readonly worker: string }
  | {
      readonly do: "heartbeat";
      readonly attempt: number;
      readonly progress?: number | null;
      readonly message?: string | null;
      /** JSON text. */
      readonly checkpoint?: string;
    }
  | { readonly do: "settle"; readonly attempt: number; readonly outcome: AttemptOutcome }
  | { readonly do: "cancel" }
  | { readonly do: "reclaim" }
  | { readonly do: "expire" };

/** Why nothing was changed. Expected, and a value. */
export type Refusal =
  | "not-found"
  | "not-due"
  | "lease-lost"
  | "already-settled"
  | "not-lapsed"
  | "not-expired";

export type Decision =
  /** `events` in order; empty where only the lease moved or nothing had to change (then `job` is `before`). */
  { readonly job: Job; readonly events: readonly EventKind[] } | { readonly refused: Refusal };

/** Losses of its worker after which a job is given up: it may be what kills them. */
export const MAX_CRASHES = 3;

const CRASH_BACKOFF = { kind: "exponential", baseMs: 500, maxMs: 10_000, jitter: 0.5 } as const;

/** The job after the command, or why it stays as it is. `before` is null where there is none. */
export function decide(before: Job | null, command: Command, moment: Moment): Decision {
  if (command.do === "submit") return submit(command, moment);
  if (before === null || before.goneAt !== null) return { refused: "not-found" };
  switch (command.do) {
    case "claim":
      return claim(before, command.worker, moment);
    case "heartbeat":
      return isFenced(before, command.attempt)
        ? { refused: "lease-lost" }
        : heartbeat(before, command, moment);
    case "settle":
      return isFenced(before, command.attempt)
        ? { refused: "lease-lost" }
        : settle(before, command.outcome, moment);
    case "cancel":
      return cancel(before, moment);
    case "reclaim":
      return reclaim(before, moment);
    case "expire":
      return expire(before, moment);
  }
}

function isFenced(job: Job, attempt: number): boolean {
  return job.status !== "processing" || job.attempt !== attempt;
}

function submit({ submission, row, turn }: Extract<Command, { do: "submit" }>, { now }: Moment): Decision {
  const { delayMs, startWithinMs, ...given } = submission;
  const job: Job = {
    row,
    ...given,
    status: "queued",
    revision: 1,
    attempt: 0,
    failures: 0,
    crashes: 0,
    turn,
    createdAt: now,
    dueAt: now + delayMs,
    startBy: startWithinMs === null ? null : now + startWithinMs,
    startedAt: null,
    updatedAt: now,
    finishedAt: null,
    expiresAt: null,
    goneAt: null,
    cancelRequestedAt: null,
    worker: null,
    leaseUntil: null,
    progress: null,
    message: null,
    checkpoint: null,
    result: null,
    files: NO_FILES,
    problem: null,
  };
  return { job, events: ["queued"] };
}

const NO_FILES: readonly StoredFile[] = [];

function claim(job: Job, worker: string, { now }: Moment): Decision {
  if (isSettled(job.status)) return { refused: "already-settled" };
  if (job.status !== "queued" || !isDue(job, now) || missedStart(job, now)) return { refused: "not-due" };
  return change(job, now, ["started"], {
    status: "processing",
    attempt: job.attempt + 1,
    startedAt: now,
    worker,
    leaseUntil: now + job.policy.leaseMs,
    progress: null,
    message: null,
  });
}

function heartbeat(job: Job, beat: Extract<Command, { do: "heartbeat" }>, { now }: Moment): Decision {
  const progress = beat.progress === undefined ? job.progress : beat.progress;
  const message = beat.message === undefined ? job.message : beat.message;
  const leaseUntil = now + job.policy.leaseMs;
  const checkpoint = beat.checkpoint ?? job.checkpoint;
  // Whoever looks sees no change in a renewal: neither the revision nor the time of the last change tells of it.
  if (progress === job.progress && message === job.message)
    return { job: { ...job, leaseUntil, checkpoint }, events: [] };
  return change(job, now, ["progress"], { leaseUntil, progress, message, checkpoint });
}

function settle(job: Job, outcome: AttemptOutcome, moment: Moment): Decision {
  const { now } = moment;
  switch (outcome.kind) {
    case "completed":
      return end(job, moment, "completed", {
        result: outcome.result,
        files: outcome.files,
        progress: 100,
        problem: null,
      });
    case "canceled":
      // A handler that stops without having been asked to has simply failed to do its work.
      if (job.cancelRequestedAt !== null) return end(job, moment, "canceled", {});
      return fail(
        job,
        problem("attempt-failed", "The handler stopped before its work was done."),
        null,
        moment,
      );
    case "failed":
      // Once asked to stop, whatever the handler throws on its way out is not a failure of the work.
      if (job.cancelRequestedAt !== null) return end(job, moment, "canceled", {});
      if (outcome.final)
        return end(job, moment, "failed", { problem: outcome.problem, failures: job.failures + 1 });
      return fail(job, outcome.problem, outcome.retryAfterMs ?? null, moment);
    case "crashed":
      return lose(job, outcome.detail, moment);
    case "released":
      if (job.cancelRequestedAt !== null) return end(job, moment, "canceled", {});
      return requeue(job, now, now, {});
  }
}

function fail(job: Job, why: ProblemDocument, leastMs: number | null, moment: Moment): Decision {
  const { now, dice } = moment;
  const failures = job.failures + 1;
  if (failures >= job.policy.maxAttempts) return end(job, moment, "failed", { failures, problem: why });
  const waitMs = Math.max(
    Math.ceil(leastMs ?? 0),
    backoffMs(job.policy.backoff, failures, diceOf(job, dice)),
  );
  return requeue(job, now, now + waitMs, { failures, problem: why });
}

function lose(job: Job, detail: string, moment: Moment): Decision {
  const { now, dice } = moment;
  const crashes = job.crashes + 1;
  const why = problem("worker-lost", detail);
  if (job.cancelRequestedAt !== null) return end(job, moment, "canceled", { crashes });
  if (crashes >= MAX_CRASHES) return end(job, moment, "failed", { crashes, problem: why });
  return requeue(job, now, now + backoffMs(CRASH_BACKOFF, crashes, diceOf(job, dice)), {
    crashes,
    problem: why,
  });
}

function cancel(job: Job, moment: Moment): Decision {
  const { now } = moment;
  switch (job.status) {
    case "queued":
      return end(job, moment, "canceled", { cancelRequestedAt: now });
    case "processing":
      if (job.cancelRequestedAt !== null) return { job, events: [] };
      return change(job, now, ["cancel-requested"], { cancelRequestedAt: now });
    case "canceled":
      return { job, events: [] };
    default:
      return { refused: "already-settled" };
  }
}

function reclaim(job: Job, moment: Moment): Decision {
  const { now } = moment;
  if (job.status === "queued" && missedStart(job, now)) {
    return end(job, moment, "failed", { problem: problem("deadline-exceeded") });
  }
  if (job.status !== "processing") return { refused: "not-lapsed" };
  if (job.cancelRequestedAt !== null && job.cancelRequestedAt + job.policy.graceMs <= now) {
    return end(job, moment, "canceled", {});
  }
  if (isOverrun(job, moment)) {
    if (job.cancelRequestedAt !== null) return end(job, moment, "canceled", {});
    return fail(job, problem("timed-out"), null, moment);
  }
  if ((job.leaseUntil ?? 0) > now) return { refused: "not-lapsed" };
  return lose(job, "The worker fell silent.", moment);
}

function expire(job: Job, moment: Moment): Decision {
  if (job.expiresAt === null || job.expiresAt > earlierNow(moment)) return { refused: "not-expired" };
  return change(job, moment.now, ["expired"], {
    goneAt: laterNow(moment),
    input: "null",
    upload: null,
    trace: null,
    message: null,
    checkpoint: null,
    result: null,
    files: NO_FILES,
    problem: null,
  });
}

/** Whether the next attempt may begin. What was due when it was queued stays so when the clock is set back. */
export function isDue(job: Job, now: number): boolean {
  return job.dueAt <= Math.max(now, job.updatedAt);
}

/** Whether an attempt has had its time and its grace: its worker should long have ended it. */
export function isOverrun(job: Job, moment: Moment): boolean {
  const now = earlierNow(moment);
  return now >= (job.startedAt ?? now) + job.policy.timeoutMs + job.policy.graceMs;
}

/** What must not happen early is judged by the clock that is behind, and dated by the one that is ahead. */
export function earlierNow({ now, steadyNow = now }: Moment): number {
  return Math.min(now, steadyNow);
}

function laterNow({ now, steadyNow = now }: Moment): number {
  return Math.max(now, steadyNow);
}

/** Whether the start deadline passed before any attempt began. */
export function missedStart(job: Job, now: number): boolean {
  return job.startBy !== null && job.attempt === 0 && job.startBy <= now;
}

function requeue(job: Job, now: number, dueAt: number, fields: Partial<Job>): Decision {
  return change(job, now, ["retrying"], {
    status: "queued",
    dueAt,
    worker: null,
    leaseUntil: null,
    progress: null,
    message: null,
    ...fields,
  });
}

function end(
  job: Job,
  moment: Moment,
  status: "completed" | "failed" | "canceled",
  fields: Partial<Job>,
): Decision {
  const { now } = moment;
  return change(job, now, [status], {
    status,
    finishedAt: now,
    expiresAt: laterNow(moment) + job.policy.retentionMs,
    worker: null,
    leaseUntil: null,
    // Only a later attempt could have used it.
    checkpoint: null,
    ...fields,
  });
}

function change(job: Job, now: number, events: readonly EventKind[], fields: Partial<Job>): Decision {
  return { job: { ...job, ...fields, revision: job.revision + 1, updatedAt: now }, events };
}

// One throw of dice serves a whole batch; the row spreads it, so that neighbours do not all come back at once.
function diceOf(job: Job, dice: number): number {
  return (dice + job.row * 0.618_033_988_749_895) % 1;
}
