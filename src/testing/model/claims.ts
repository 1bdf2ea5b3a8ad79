// What a claim may be answered with.

import type { ClaimWrite, Written } from "../../store/store.ts";
import { Broken, hold, type Knowledge, type Known, ownerOf, plus, said, type Window } from "./known.ts";
import { failLate, MAX_CRASHES } from "./outcomes.ts";

/** C1, C4, C7: what waits and is due, for one worker, in the next attempt. */
export function claim(
  known: Knowledge,
  write: ClaimWrite,
  written: Written | null,
  instance: number,
  when: Window,
): void {
  for (const job of known.activeJobs()) failLate(known, job, when);
  if (written === null) throw new Broken("A claim needs an answer to be explained.");
  if (!("did" in written) || written.did !== "claim")
    throw new Broken(`A claim was answered ${said(written)}.`);
  hold(written.jobs.length <= write.limit, `A claim of ${write.limit} got ${written.jobs.length} jobs.`);
  const taken = new Map<string, number>();
  let suspects = write.suspects ?? 0;
  for (const { row, attempt, worker, operation } of written.jobs) {
    const job = known.jobs.get(row);
    if (job === undefined) throw new Broken(`A claim got row ${row}, which was never accepted.`);
    const { policy } = job.write.submission;
    taken.set(operation, (taken.get(operation) ?? 0) + 1);
    hold(job.status === "queued", `C1: a claim got row ${row}, which is ${job.status}.`);
    hold(attempt === job.attempt + 1, `C4: after attempt ${job.attempt} of row ${row} came ${attempt}.`);
    hold(worker === write.worker, `The claim of ${write.worker} got row ${row} for ${worker}.`);
    hold(mayBeDue(job, when), `A claim got row ${row} before it was due.`);
    hold(!hasSurelyMissedStart(job, when), `A claim began row ${row} after its start deadline.`);
    hold(!known.paused.has(operation), `A claim got row ${row} of a paused operation.`);
    hold(
      (taken.get(operation) ?? 0) <= (write.slots[operation] ?? 0),
      () => `More than the slots of ${operation}.`,
    );
    hold(hasRoom(known, job), `An owner runs more than he may: row ${row}.`);
    if (isSuspect(job)) {
      hold(suspects++ === 0, "C7: two jobs that lost a worker run beside each other.");
      const isAlone = write.running === 0 && written.jobs.length === 1 && written.drain;
      hold(job.crashes < MAX_CRASHES - 1 || isAlone, `C7: the last try of row ${row} is not alone.`);
    }
    known.change(job, "started", {
      status: "processing",
      attempt,
      startedAt: when.now,
      worker,
      leaseUntil: plus(when.now, policy.leaseMs),
      heldBy: write.held ? instance : null,
      progress: null,
      message: null,
    });
  }
}

/** A job that lost its worker without a process of its own. */
export function isSuspect(job: Known): boolean {
  return job.crashes > 0 && !job.write.submission.policy.isolated;
}

export function hasRoom(known: Knowledge, job: Known): boolean {
  const { owner, policy } = job.write.submission;
  if (policy.running === null) return true;
  return known.count((other) => other.status === "processing" && ownerOf(other) === owner) < policy.running;
}

function mayBeDue(job: Known, { now }: Window): boolean {
  return job.dueAt[0] <= Math.max(now[1], job.queuedAt[1]);
}

export function hasSurelyMissedStart({ startBy, attempt }: Known, { now }: Window): boolean {
  return startBy !== null && attempt === 0 && startBy[1] < now[0];
}
