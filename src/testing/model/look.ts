// What a look at the store must show, after each step: every job as it is known, every place in the line, the whole feed.

import type { Event } from "../../core/event.ts";
import type { Job } from "../../core/job.ts";
import type { ClaimWrite, Sight, Written } from "../../store/store.ts";
import { hasRoom, hasSurelyMissedStart, isSuspect } from "./claims.ts";
import {
  hold,
  type Knowledge,
  type Known,
  mayBeForgotten,
  operationOf,
  ownerOf,
  type Span,
  type Window,
} from "./known.ts";

/** What was read of the rows that are known. */
export type Seen = ReadonlyMap<number, Sight>;

/** Takes a look in: what is read has to be as it is known, and is known more exactly from then on. */
export function look(known: Knowledge, seen: Seen, when: Window): void {
  for (const [row, [event]] of known.unexplained)
    hold(
      event === undefined,
      `Nothing that was asked for explains the event "${event?.kind}" of row ${row}.`,
    );
  for (const job of [...known.jobs.values()]) {
    const sight = seen.get(job.row);
    if (sight === undefined) {
      hold(mayBeForgotten(job, when), `A1, A5: row ${job.row} is not there any more.`);
      known.forget(job.row);
    } else known.set(exact(job, sight.job));
  }
  inLine(known, seen, when);
}

function exact(job: Known, read: Job): Known {
  const { submission } = job.write;
  const { row } = job;
  for (const name of ["status", "revision", "attempt", "failures", "crashes", "worker", "progress"] as const)
    hold(read[name] === job[name], () => `Row ${row}: its ${name} is ${read[name]}, not ${job[name]}.`);
  hold((read.goneAt !== null) === (job.gone !== null), `Row ${row} is gone, or it is not, against the feed.`);
  hold((read.cancelRequestedAt !== null) === (job.cancelAt !== null), `Row ${row}: was it canceled or not?`);
  for (const name of ["id", "owner", "operation"] as const)
    hold(read[name] === submission[name], `Row ${row} has another ${name}.`);
  if (job.gone !== null) {
    hold(
      read.input === "null" && read.result === null && read.problem === null,
      `Row ${row} is gone, but not empty.`,
    );
    if (job.seen?.goneAt != null) same(job.seen, read, "C3: what is gone has changed");
    return { ...job, seen: read };
  }
  hold(read.input === submission.input, `Row ${row} has another input.`);
  hold(read.message === job.message, `Row ${row}: its message is ${read.message}, not ${job.message}.`);
  hold(
    read.checkpoint === job.checkpoint,
    `Row ${row}: its checkpoint is ${read.checkpoint}, not ${job.checkpoint}.`,
  );
  if (job.ended !== null) {
    if (job.seen !== null && job.seen.finishedAt !== null) same(job.seen, read, "C3: an outcome has changed");
    const result = job.outcome?.kind === "completed" ? job.outcome.result : null;
    hold(JSON.stringify(read.result) === JSON.stringify(result), `C1: row ${row} has another result.`);
    const keptMs = (read.expiresAt ?? 0) - (read.finishedAt ?? 0);
    hold(keptMs >= submission.policy.retentionMs, `A1: row ${row} is kept for ${keptMs} ms only.`);
    return { ...job, seen: read };
  }
  const at = (name: string, span: Span | null, read: number | null, isMoving = false): Span | null => {
    if (span === null || read === null) {
      hold(span === null && read === null, `Row ${row}: its ${name} is ${read}.`);
      return null;
    }
    const isSo = read >= span[0] && (isMoving || read <= span[1]);
    hold(isSo, () => `Row ${row}: its ${name} is ${read}, not within ${span.join(" and ")}.`);
    return [read, read];
  };
  return {
    ...job,
    dueAt: at("dueAt", job.dueAt, read.dueAt) as Span,
    startBy: at("startBy", job.startBy, read.startBy),
    startedAt: job.attempt === 0 ? null : at("startedAt", job.startedAt, read.startedAt),
    // Held leases are renewed unasked, and a clock that was set back makes them shorter.
    leaseUntil:
      job.heldBy === null
        ? at("leaseUntil", job.leaseUntil, read.leaseUntil)
        : [read.leaseUntil ?? 0, Number.MAX_SAFE_INTEGER],
    seen: read,
  };
}

function same(before: Job, after: Job, sentence: string): void {
  if (before === after) return;
  hold(
    JSON.stringify(sorted(before)) === JSON.stringify(sorted(after)),
    () => `${sentence}: row ${after.row}.`,
  );
}

function sorted(job: Job): unknown {
  return Object.entries(job).sort(([a], [b]) => (a < b ? -1 : 1));
}

// Places are 1, 2, 3 … in each operation, and only of what waits.
function inLine(known: Knowledge, seen: Seen, { now }: Window): void {
  const places = new Map<string, number[]>();
  for (const job of known.activeJobs()) {
    const sight = seen.get(job.row);
    if (sight === undefined) continue;
    const { position, waitingFor } = sight;
    const operation = operationOf(job);
    hold(
      job.status === "queued" || (position === null && waitingFor === null),
      `Row ${job.row} waits, but it runs.`,
    );
    if (job.status !== "queued") continue;
    hold(waitingFor !== null, `Nobody says why row ${job.row} waits.`);
    hold(
      (waitingFor === "paused") === known.paused.has(operation),
      `Row ${job.row} waits for ${waitingFor}.`,
    );
    const isEarly = job.dueAt[0] > now[1] && waitingFor !== "paused";
    hold(
      !isEarly || waitingFor === "delay" || waitingFor === "retry" || job.dueAt[0] <= job.queuedAt[1],
      `Row ${job.row} is not due, but waits for ${waitingFor}.`,
    );
    if (position !== null) places.set(operation, [...(places.get(operation) ?? []), position]);
  }
  for (const [operation, some] of places) {
    const sortedPlaces = some.sort((a, b) => a - b);
    hold(
      sortedPlaces.every((place, index) => place === index + 1),
      () => `The places in the line of ${operation} are ${sortedPlaces.join(", ")}.`,
    );
  }
}

/**
 * Fair turns: of the jobs that stood in line when a claim came, it takes the first ones that may run, in their order,
 * and leaves none of them while it has room. `known` is from before the claim, and so is `seen`.
 */
export function turns(known: Knowledge, write: ClaimWrite, written: Written, seen: Seen, when: Window): void {
  if (!("did" in written) || written.did !== "claim" || written.drain) return;
  const got = written.jobs.map(({ row }) => row);
  for (const [operation, slots] of Object.entries(write.slots)) {
    if (known.paused.has(operation) || slots === 0) continue;
    const line = [...known.activeJobs()]
      .filter((job) => operationOf(job) === operation && !isSuspect(job) && isReady(known, job, seen, when))
      .sort((a, b) => place(a, seen) - place(b, seen));
    const taken = line.filter(({ row }) => got.includes(row));
    const order = got.filter((row) => taken.some((job) => job.row === row));
    hold(
      order.join() === taken.map(({ row }) => row).join(),
      () => `A claim gave ${order.join(", ")} in another order than that of their places.`,
    );
    const rows = written.jobs.filter((job) => job.operation === operation).length;
    const isFull = rows >= slots || got.length >= write.limit;
    const last = taken.at(-1);
    for (const job of line) {
      if (taken.includes(job)) continue;
      const isPassed = last !== undefined && place(job, seen) < place(last, seen);
      hold(!isPassed, () => `Row ${job.row} stood before row ${last?.row}, which was taken.`);
      hold(isFull, () => `A claim with room left row ${job.row} in the line.`);
    }
  }
}

// Whether nothing can keep it from its turn. Whoever may run only so many can be held up by his others.
function isReady(known: Knowledge, job: Known, seen: Seen, when: Window): boolean {
  const sight = seen.get(job.row);
  if (job.status !== "queued" || sight === undefined || sight.position === null) return false;
  if (job.dueAt[1] > Math.max(when.now[0], job.queuedAt[0]) || job.startBy !== null) return false;
  const isFree = ![...known.activeJobs()].some(
    (other) => ownerOf(other) === ownerOf(job) && other.write.submission.policy.running !== null,
  );
  return isFree && hasRoom(known, job) && !hasSurelyMissedStart(job, when);
}

function place({ row }: Known, seen: Seen): number {
  return seen.get(row)?.position ?? 0;
}

/** The feed has no gaps, and nothing in it comes twice. */
export function gapless(events: readonly Event[], after: number): void {
  for (const [index, { seq }] of events.entries())
    hold(seq === after + 1 + index, `The feed goes on with ${seq} after ${after + index}.`);
}

/** At a restart nobody changes places with anybody. */
export function sameLine(before: Seen, after: Seen): void {
  const stood = [...before.values()].filter(
    ({ job, position }) => position !== null && (after.get(job.row)?.position ?? null) !== null,
  );
  for (const { job: one, position } of stood)
    for (const { job: other, position: otherPosition } of stood) {
      if (one.operation !== other.operation) continue;
      const wasBefore = (position ?? 0) < (otherPosition ?? 0);
      const isBefore = (after.get(one.row)?.position ?? 0) < (after.get(other.row)?.position ?? 0);
      hold(wasBefore === isBefore, `Rows ${one.row} and ${other.row} changed places at a restart.`);
    }
}
