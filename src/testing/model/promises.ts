// The promises, as a function: what the model knows after a write was answered, or why the answer breaks one. Where a
// promise leaves a store free (which of two clocks, how long a worker that crashed is waited for), all of it is allowed.

import type { CancelWrite, SweepWrite, Write, Written } from "../../store/store.ts";
import { submit } from "./acceptance.ts";
import { claim, hasSurelyMissedStart } from "./claims.ts";
import { Broken, hold, type Knowledge, type Known, refusedAs, said, type Window } from "./known.ts";
import { end, fail, failLate, keep, lose } from "./outcomes.ts";

/** A write, and what it was answered with; null where it can't be known whether it was kept. */
export interface Issued {
  readonly write: Write;
  readonly written: Written | null;
  /** Which of the instances was asked. */
  readonly instance: number;
  /** Nothing else was asked meanwhile. A sweep may leave what others are changing to the next one. */
  readonly isAlone: boolean;
}

/** Brings what is known from before the write to after it. @throws Broken where the answer can't be right. */
export function apply(known: Knowledge, issued: Issued, when: Window): void {
  const { write, written, instance } = issued;
  switch (write.do) {
    case "submit":
      submit(known, write, written, when);
      break;
    case "claim":
      claim(known, write, written, instance, when);
      break;
    case "heartbeat":
    case "settle":
      keep(known, write, written, when);
      break;
    case "cancel":
      cancel(known, write, written, when);
      break;
    case "sweep":
      sweep(known, issued, write, when);
      break;
    case "pause":
      if (write.paused) known.paused.add(write.operation);
      else known.paused.delete(write.operation);
      break;
    default:
      hold(written === null || !("refused" in written), `A ${write.do} was refused.`);
  }
}

// C8: one outcome, and who asks is told it.
function cancel(known: Knowledge, write: CancelWrite, written: Written | null, when: Window): void {
  const job = known.at(write.address);
  if (job === null || job.gone !== null) refusedAs(written, "not-found", "D1: there is no such job");
  else if (job.status === "completed" || job.status === "failed")
    refusedAs(written, "already-settled", `row ${job.row} has settled`);
  else stop(known, job, written, when);
}

function stop(known: Knowledge, job: Known, written: Written | null, when: Window): void {
  if (job.status === "queued") end(known, job, "canceled", when, { cancelAt: when.now });
  else if (job.status === "processing" && job.cancelAt === null)
    known.change(job, "cancel-requested", { cancelAt: when.now });
  if (written === null) return;
  const status = known.jobs.get(job.row)?.status;
  const told = "did" in written && written.did === "cancel" ? written.job : null;
  hold(
    told?.row === job.row && told.status === status,
    () => `A cancel was answered ${said(written)}, not ${status}.`,
  );
}

// C5, C6, A1: only what has lapsed is rescued, only what is over expires, and with room for all of it, all of it.
function sweep(
  known: Knowledge,
  { written, instance, isAlone }: Issued,
  write: SweepWrite,
  when: Window,
): void {
  if (written === null || !("did" in written) || written.did !== "sweep")
    throw new Broken(`A sweep was answered ${written === null ? "nothing" : said(written)}.`);
  const { changed } = written;
  hold(changed <= write.limit, `A sweep of ${write.limit} changed ${changed}.`);
  // Which of those that it may have changed it did, their events tell by their order.
  const rows = [...known.unexplained.keys()].sort(
    (a, b) => (known.next(a)?.seq ?? 0) - (known.next(b)?.seq ?? 0),
  );
  const gone: string[] = [];
  let left = changed;
  for (const row of rows) {
    const job = known.jobs.get(row);
    if (job === undefined || left === 0 || !change(known, job, when)) continue;
    left--;
    if (known.jobs.get(row)?.gone != null) gone.push(job.write.address);
  }
  hold(
    [...written.gone].sort().join() === gone.sort().join(),
    "A sweep gives up other files than those that expired.",
  );
  if (write.limit < 100 || written.more || !isAlone) return;
  for (const job of known.activeJobs()) {
    hold(!hasSurelyMissedStart(job, when), `Row ${job.row} missed its start, and no sweep failed it.`);
    hold(!mustBeRescued(job, instance, when), `C5: the lapsed row ${job.row} was not rescued.`);
  }
}

// What a sweep does to one job, as its next event tells it.
function change(known: Knowledge, job: Known, when: Window): boolean {
  if (job.status === "queued") return failLate(known, job, when);
  if (job.status === "processing") return rescue(known, job, when);
  if (!known.has(job.row, "expired") || job.ended === null) return false;
  const { retentionMs } = job.write.submission.policy;
  hold(
    when.steady[1] - job.ended[0] >= retentionMs,
    `A1, G5: row ${job.row} expired before its retention ended.`,
  );
  known.change(job, "expired", { gone: when.steady });
  return true;
}

function rescue(known: Knowledge, job: Known, when: Window): boolean {
  const event = known.next(job.row);
  if (
    event === null ||
    !["retrying", "failed", "canceled"].includes(event.kind) ||
    event.attempt !== job.attempt
  )
    return false;
  const isOverrun = mayBeOverrun(job, when);
  const isGraceOver =
    job.cancelAt !== null && job.cancelAt[0] + job.write.submission.policy.graceMs <= when.now[1];
  const hasLapsed = (job.leaseUntil?.[0] ?? 0) <= when.now[1];
  hold(isOverrun || isGraceOver || hasLapsed, `C5: row ${job.row} was rescued while its worker holds it.`);
  const crashes = job.crashes + (isOverrun || isGraceOver ? 0 : 1);
  if (job.cancelAt !== null) end(known, job, "canceled", when, { crashes });
  else if (isOverrun) fail(known, job, when, false, 0);
  else lose(known, job, when);
  return true;
}

function mayBeOverrun(job: Known, { now, steady }: Window): boolean {
  const { timeoutMs, graceMs } = job.write.submission.policy;
  return Math.min(now[1], steady[1]) >= (job.startedAt?.[0] ?? 0) + timeoutMs + graceMs;
}

function mustBeRescued(job: Known, instance: number, { now }: Window): boolean {
  const { graceMs } = job.write.submission.policy;
  if (job.status !== "processing") return false;
  if (job.cancelAt !== null && job.cancelAt[1] + graceMs < now[0]) return true;
  // Who holds a lease may renew it at any time.
  return job.heldBy === null && instance >= 0 && (job.leaseUntil?.[1] ?? 0) < now[0];
}
