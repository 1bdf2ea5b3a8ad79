// What a submit may be answered with: the job that it repeats, what it exceeds, or a new job.

import type { SubmitWrite, Written } from "../../store/store.ts";
import {
  Broken,
  hold,
  type Knowledge,
  type Known,
  mayBeForgotten,
  operationOf,
  ownerOf,
  plus,
  refusedAs,
  said,
  type Window,
} from "./known.ts";

const KEY_MS = 24 * 3600 * 1000;

/** How far a clock that was set may be off: what must not be forgotten early may be kept longer by so much. */
const CLOCK_MS = 2 * KEY_MS;

/** A4, B1 to B5, D4: the job that it repeats, or the first limit that it exceeds, or one new job with its first event. */
export function submit(known: Knowledge, write: SubmitWrite, written: Written | null, when: Window): void {
  const isRepeat =
    written !== null && ("did" in written ? isReplayed(written) : written.refused === "key-reused");
  const same = sameOf(known, write, when, isRepeat);
  if (same !== null) repeat(same, write, written);
  else fresh(known, write, written, when);
}

function repeat(same: Known, { sameness, idFingerprint }: SubmitWrite, written: Written | null): void {
  const { row, status } = same;
  const isEqual =
    sameness !== null && same.write.sameness?.key === sameness.key
      ? same.write.sameness.fingerprint === sameness.fingerprint
      : same.write.idFingerprint === idFingerprint;
  if (!isEqual) refusedAs(written, "key-reused", "B3: the same key, another payload");
  else if (written !== null) {
    const job = "did" in written && written.did === "submit" && written.replayed ? written.job : null;
    hold(job?.row === row, () => `B1: the repeat of row ${row} was answered ${said(written)}.`);
    hold(job?.status === status, () => `B2: the repeat of row ${row} shows it ${job?.status}.`);
  }
}

function fresh(known: Knowledge, write: SubmitWrite, written: Written | null, when: Window): void {
  const { owner, operation } = write.submission;
  const { active, operationBacklog, backlog } = write.limits;
  const queued = (isMeant: (job: Known) => boolean) =>
    known.count((job) => job.status === "queued" && isMeant(job));
  if (active !== null && known.count((job) => ownerOf(job) === owner) >= active)
    refusedAs(written, "over-quota", "D4: as many active jobs as the owner may have");
  else if (queued((job) => operationOf(job) === operation) >= operationBacklog)
    refusedAs(written, "operation-backlog-full", "the operation's backlog is full");
  else if (queued(() => true) >= backlog) refusedAs(written, "backlog-full", "the backlog is full");
  else if (write.onlyRepeat === true) refusedAs(written, "not-found", "it repeats nothing");
  else add(known, write, written, when);
}

function add(known: Knowledge, write: SubmitWrite, written: Written | null, { now, steady }: Window): void {
  const { submission } = write;
  const row = written === null ? rowTold(known, submission.id) : rowAnswered(written);
  hold(!known.jobs.has(row), `A new job got row ${row}, which is another's.`);
  known.add({
    row,
    write,
    status: "queued",
    revision: 1,
    attempt: 0,
    failures: 0,
    crashes: 0,
    dueAt: plus(now, submission.delayMs),
    queuedAt: now,
    startBy: submission.startWithinMs === null ? null : plus(now, submission.startWithinMs),
    startedAt: null,
    worker: null,
    leaseUntil: null,
    heldBy: null,
    cancelAt: null,
    progress: null,
    message: null,
    checkpoint: null,
    outcome: null,
    accepted: steady,
    ended: null,
    gone: null,
    seen: null,
  });
  if (written === null || !("did" in written) || written.did !== "submit") return;
  const { position, job } = written;
  hold(job.id === submission.id && job.revision === 1, "A new job is not the one that was submitted.");
  const isPlaced = submission.delayMs === 0;
  hold(
    (position !== null) === isPlaced,
    () => `A new job, delayed ${submission.delayMs} ms, has place ${position}.`,
  );
}

function rowAnswered(written: Written): number {
  if ("did" in written && written.did === "submit" && !written.replayed) return written.job.row;
  throw new Broken(`A new submission was answered ${said(written)}.`);
}

function rowTold(known: Knowledge, id: string): number {
  for (const [row, [event]] of known.unexplained) if (event?.kind === "queued" && event.id === id) return row;
  throw new Broken("A submission without an answer left no event.");
}

function isReplayed(written: Written): boolean {
  return "did" in written && written.did === "submit" && written.replayed;
}

// The job that a submission repeats. A key that is over by the real time may be remembered for as long as a clock can be off.
function sameOf(known: Knowledge, write: SubmitWrite, when: Window, isRepeat: boolean): Known | null {
  const { sameness, address, idFingerprint } = write;
  if (sameness !== null) {
    // Where another job has taken the key meanwhile, those before it are no more in question.
    const job = [...known.found(sameness.key)].findLast(
      ({ write: { sameness: other } }) => other?.key === sameness.key && other.reach === sameness.reach,
    );
    const isSame =
      job !== undefined && (sameness.reach === "live" ? job.ended === null : isKeyAlive(job, when, isRepeat));
    if (isSame) return job;
  }
  if (idFingerprint === null) return null;
  const job = known.at(address);
  return job !== null && (isRepeat || !mayBeForgotten(job, when)) ? job : null;
}

// B1: as long as the job and its retention, and for 24 hours at least.
function isKeyAlive(job: Known, { steady }: Window, isRepeat: boolean): boolean {
  if (job.gone === null || steady[0] < job.accepted[1] + KEY_MS) return true;
  return isRepeat && steady[0] < (job.ended ?? job.accepted)[1] + KEY_MS + CLOCK_MS;
}
