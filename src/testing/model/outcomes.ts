// What may become of an attempt: its heartbeats, how it ends its job, or what follows it.

import type { Policy } from "../../core/job.ts";
import type { AttemptOutcome } from "../../core/machine.ts";
import type { HeartbeatWrite, SettleWrite, Written } from "../../store/store.ts";
import { Broken, hold, type Knowledge, type Known, plus, refusedAs, said, type Window } from "./known.ts";

export const MAX_CRASHES = 3;
const MAX_CRASH_WAIT_MS = 10_000;

/** C2: only the attempt that is being processed has effect, and it always has. */
export function keep(
  known: Knowledge,
  write: HeartbeatWrite | SettleWrite,
  written: Written | null,
  when: Window,
): void {
  const job = known.jobs.get(write.row);
  // The machine knows no job where one is gone; a worker takes both for the same.
  if (job?.gone != null && written !== null && "refused" in written && written.refused === "not-found")
    return;
  if (job === undefined || job.status !== "processing" || job.attempt !== write.attempt) {
    refusedAs(written, "lease-lost", `C2: attempt ${write.attempt} of row ${write.row} is over`);
    return;
  }
  if (write.do === "heartbeat") beat(known, job, write, when);
  else settle(known, job, write.outcome, when);
  if (written === null) return;
  const after = known.jobs.get(write.row);
  if (!("did" in written) || written.did !== "keep")
    throw new Broken(
      `The ${write.do} of the attempt that runs (row ${write.row}) was answered ${said(written)}.`,
    );
  hold(written.status === after?.status, () => `A ${write.do} gave ${written.status}, not ${after?.status}.`);
  hold(
    written.cancel === (after?.cancelAt !== null),
    "A worker is told wrongly whether its job was canceled.",
  );
}

function beat(known: Knowledge, job: Known, write: HeartbeatWrite, { now }: Window): void {
  const progress = write.progress === undefined ? job.progress : write.progress;
  const message = write.message === undefined ? job.message : write.message;
  const fields = {
    progress,
    message,
    checkpoint: write.checkpoint ?? job.checkpoint,
    leaseUntil: plus(now, job.write.submission.policy.leaseMs),
  };
  if (progress === job.progress && message === job.message) known.set({ ...job, ...fields });
  else known.change(job, "progress", fields);
}

// C1, C4, C7, C8: how an attempt ends its job, or what follows it.
function settle(known: Knowledge, job: Known, outcome: AttemptOutcome, when: Window): void {
  const crashes = job.crashes + (outcome.kind === "crashed" ? 1 : 0);
  if (outcome.kind === "completed") end(known, job, "completed", when, { outcome, progress: 100 });
  else if (job.cancelAt !== null) end(known, job, "canceled", when, { crashes });
  else if (outcome.kind === "released") requeue(known, job, when, 0, 0, {});
  else if (outcome.kind === "crashed") lose(known, job, when);
  else if (outcome.kind === "canceled") fail(known, job, when, false, 0);
  else fail(known, job, when, outcome.final, outcome.retryAfterMs ?? 0);
}

export function fail(known: Knowledge, job: Known, when: Window, isFinal: boolean, leastMs: number): void {
  const { policy } = job.write.submission;
  const failures = job.failures + 1;
  const [least, most] = waitOf(policy, failures);
  if (isFinal || failures >= policy.maxAttempts) end(known, job, "failed", when, { failures });
  else requeue(known, job, when, Math.max(least, leastMs), Math.max(most, leastMs), { failures });
}

export function lose(known: Knowledge, job: Known, when: Window): void {
  const crashes = job.crashes + 1;
  if (crashes >= MAX_CRASHES) end(known, job, "failed", when, { crashes });
  else requeue(known, job, when, 0, MAX_CRASH_WAIT_MS, { crashes });
}

function waitOf({ backoff }: Policy, failures: number): readonly [number, number] {
  const growth = { exponential: 2 ** (failures - 1), linear: failures, fixed: 1 }[backoff.kind];
  const most = Math.min(backoff.maxMs, backoff.baseMs * growth);
  return [Math.floor(most * (1 - backoff.jitter)), most];
}

function requeue(
  known: Knowledge,
  job: Known,
  { now }: Window,
  leastMs: number,
  mostMs: number,
  fields: Partial<Known>,
): void {
  known.change(job, "retrying", {
    status: "queued",
    queuedAt: now,
    dueAt: plus(now, leastMs, mostMs - leastMs),
    worker: null,
    leaseUntil: null,
    heldBy: null,
    progress: null,
    message: null,
    ...fields,
  });
}

export function end(
  known: Knowledge,
  job: Known,
  status: "completed" | "failed" | "canceled",
  { steady }: Window,
  fields: Partial<Known>,
): void {
  known.change(job, status, {
    status,
    ended: steady,
    worker: null,
    leaseUntil: null,
    heldBy: null,
    checkpoint: null,
    ...fields,
  });
}

/** Whoever meets a job whose start deadline has passed may fail it. Whether it was, its next event tells. */
export function failLate(known: Knowledge, job: Known, when: Window): boolean {
  const { row, startBy, attempt, status } = job;
  if (startBy === null || attempt > 0 || status !== "queued" || !known.has(row, "failed")) return false;
  hold(startBy[0] <= when.now[1], `Row ${row} failed before its start deadline.`);
  end(known, job, "failed", when, {});
  return true;
}
