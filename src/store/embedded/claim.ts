// A claim: the jobs whose turn it is, as many as the worker has slots for.

import type { Job } from "../../core/job.ts";
import { type Command, isDue, MAX_CRASHES, type Moment, missedStart } from "../../core/machine.ts";
import type { ClaimWrite, Written } from "../store.ts";
import type { Book } from "./book.ts";

// A claim that meets many jobs of owners who run as many as they may goes on with the next one, so that it holds up nobody.
const MOST_PARKED = 1000;

export function claim(book: Book, write: ClaimWrite, moment: Moment): Written {
  book.wake(moment.now);
  const operations = Object.keys(write.slots);
  for (const operation of operations) book.roster.sawWorker(operation, moment.now);
  const jobs: Job[] = [];
  let parked = 0;
  const answer = (drain: boolean): Written => ({
    did: "claim",
    jobs,
    drain,
    nextAt: parked === MOST_PARKED ? moment.now : book.roster.due.nextAt(),
  });
  const last = (write.suspects ?? 0) > 0 ? null : takeSuspect(book, write, jobs, moment);
  if (last !== null) return answer(true);
  for (const operation of operations) {
    // A job that lost its worker has taken a slot already.
    const slots = (write.slots[operation] ?? 0) - jobs.filter((job) => job.operation === operation).length;
    const most = Math.min(jobs.length + slots, write.limit);
    while (jobs.length < most && parked < MOST_PARKED) {
      const next = book.roster.next(operation);
      if (next === 0) break;
      if (take(book, next, write, jobs, moment) === "parked") parked++;
    }
  }
  return answer(false);
}

// A job that lost its worker may be what kills workers, or a neighbour of that. One such job at a time runs beside others: if it
// kills again, no other suspect is condemned with it, and a neighbour has lost once at most. Before the loss that would
// condemn it, it runs alone: the row of such a job is given, whether it was taken or waits for the worker to be empty.
function takeSuspect(book: Book, write: ClaimWrite, jobs: Job[], moment: Moment): number | null {
  for (const operation of Object.keys(write.slots)) {
    if (Math.min(write.slots[operation] ?? 0, write.limit) < 1) continue;
    for (let row = book.roster.suspect(operation); row !== 0; row = book.roster.suspect(operation)) {
      const isLastTry = (book.rows.get(row)?.job.crashes ?? 0) >= MAX_CRASHES - 1;
      if (isLastTry && write.running > 0) return row;
      if (take(book, row, write, jobs, moment) === "taken") return isLastTry ? row : null;
    }
  }
  return null;
}

// Begins the next attempt of a row, or settles why it can't: in either case it leaves the line.
function take(
  book: Book,
  next: number,
  write: ClaimWrite,
  jobs: Job[],
  moment: Moment,
): "taken" | "parked" | "not-taken" {
  const row = book.rows.get(next);
  if (row === null) throw new Error(`The line holds row ${next}, but there is none.`);
  const { job } = row;
  if (job.policy.running !== null && book.roster.running(job.owner) >= job.policy.running) {
    book.roster.park(job);
    return "parked";
  }
  if (job.status === "queued" && !isDue(job, moment.now)) {
    book.roster.wait(job);
    return "not-taken";
  }
  const command: Command = missedStart(job, moment.now)
    ? { do: "reclaim" }
    : { do: "claim", worker: write.worker };
  const changed = book.change(row, command, moment);
  if ("refused" in changed) throw new Error(`Row ${next} stands in line but is ${changed.refused}.`);
  if (changed.job.status !== "processing") return "not-taken";
  if (write.held) book.held.set(next, changed.job.attempt);
  else book.held.delete(next);
  jobs.push(changed.job);
  return "taken";
}
