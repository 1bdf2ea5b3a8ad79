// Keeping order: lapsed leases are rescued, what is over expires, tombstones end, and held leases are renewed.

import { isSettled, type Job } from "../../core/job.ts";
import { earlierNow, isOverrun, type Moment } from "../../core/machine.ts";
import type { Digest, SweepWrite, Written } from "../store.ts";
import type { Book } from "./book.ts";
import { TOMBSTONE_MS } from "./roster.ts";
import type { Row } from "./rows.ts";

/**
 * Events are kept as long as anyone may resume from them, a day, and a day more: the clock that dated them may have been set
 * back by one.
 */
const EVENTS_MS = 2 * 24 * 3600 * 1000;

export function sweep(book: Book, { limit }: SweepWrite, moment: Moment): Written {
  const { now } = moment;
  book.wake(now);
  const gone: Digest[] = [];
  let changed = 0;
  for (const job of book.roster.processing.values()) {
    if (changed === limit) break;
    // A lease that is held here lapses for nobody here: its worker lives, however the clock was set.
    const isLeased = (job.leaseUntil ?? 0) > now || book.held.get(job.row) === job.attempt;
    if (isLeased && !isDone(job, moment)) continue;
    const row = book.rows.get(job.row);
    if (row !== null && !("refused" in book.change(row, { do: "reclaim" }, moment))) changed++;
  }
  for (let looked = 0; looked < limit && changed < limit; looked++) {
    const number = book.roster.ends.take(now);
    if (number === 0) break;
    const row = book.rows.get(number);
    if (row !== null && endOf(book, row, moment, gone)) changed++;
  }
  book.rows.forgetEvents(earlierNow(moment) - EVENTS_MS);
  const next = book.roster.ends.nextAt();
  return { did: "sweep", changed, gone, more: changed === limit || (next !== null && next <= now) };
}

/** Renews the leases that are held by this process, where a third of one is gone; part of a batch. */
export function renew(book: Book, moment: Moment): void {
  for (const [row, attempt] of book.held) {
    const job = book.roster.processing.get(row);
    // A later attempt may be another process's, whose silence must show.
    if (job?.attempt !== attempt) book.held.delete(row);
    else if ((job.leaseUntil ?? 0) - moment.now < (job.policy.leaseMs * 2) / 3 && !isDone(job, moment)) {
      const stored = book.rows.get(row);
      if (stored !== null) book.change(stored, { do: "heartbeat", attempt }, moment);
    }
  }
}

// What is due on a row by its own telling: the timer that woke it may have been overtaken.
function endOf(book: Book, row: Row, moment: Moment, gone: Digest[]): boolean {
  const { job } = row;
  const steadyNow = earlierNow(moment);
  if (job.goneAt !== null) {
    if (job.goneAt + TOMBSTONE_MS > steadyNow)
      return later(book, job, job.goneAt + TOMBSTONE_MS - steadyNow, moment);
    book.remove(row, moment);
    return true;
  }
  if (!isSettled(job.status)) return !("refused" in book.change(row, { do: "reclaim" }, moment));
  if (job.expiresAt === null) return false;
  if (job.expiresAt > steadyNow) return later(book, job, job.expiresAt - steadyNow, moment);
  gone.push(row.address);
  return !("refused" in book.change(row, { do: "expire" }, moment));
}

function later(book: Book, job: Job, ms: number, { now }: Moment): false {
  book.roster.ends.add(now + ms, job.row);
  return false;
}

// An attempt that nothing may keep alive: its time, or the grace after a cancel, is over.
function isDone(job: Job, moment: Moment): boolean {
  return (
    isOverrun(job, moment) ||
    (job.cancelRequestedAt !== null && job.cancelRequestedAt + job.policy.graceMs <= moment.now)
  );
}
