// A submission: the job that it repeats, or what it exceeds, or a new job in its turn.

import { isSettled, type Job } from "../../core/job.ts";
import { earlierNow, type Moment } from "../../core/machine.ts";
import { keyEndsAt } from "../key.ts";
import type { SubmitWrite, Written } from "../store.ts";
import type { Book } from "./book.ts";
import type { Row } from "./rows.ts";

export function accept(book: Book, write: SubmitWrite, moment: Moment): Written {
  const { submission, sameness, limits } = write;
  const { owner, operation, policy } = submission;
  const same = findSame(book, write, moment);
  if (same !== null) {
    return same.matches
      ? { did: "submit", replayed: true, ...book.sight(same.row.job, moment.now) }
      : { refused: "key-reused" };
  }
  if (limits.active !== null && book.roster.active(owner) >= limits.active) return { refused: "over-quota" };
  if (book.roster.counts(operation).queued >= limits.operationBacklog) {
    return { refused: "operation-backlog-full" };
  }
  if (book.roster.waiting >= limits.backlog) return { refused: "backlog-full" };
  if (write.onlyRepeat === true) return { refused: "not-found" };
  const turn = book.roster.nextTurn(operation, owner, policy.priority, policy.weight);
  const job = book.insert(submission, turn, moment, {
    address: write.address,
    key: sameness?.key ?? null,
    fingerprint: sameness?.fingerprint ?? null,
    reach: sameness?.reach ?? null,
    idFingerprint: write.idFingerprint,
  });
  return { did: "submit", replayed: false, ...book.sight(job, moment.now) };
}

// The job that this submission repeats, if it does.
function findSame(
  book: Book,
  write: SubmitWrite,
  moment: Moment,
): { readonly row: Row; readonly matches: boolean } | null {
  const { sameness } = write;
  if (sameness !== null) {
    let found: Row | null = null;
    book.keys.find(sameness.key, (candidate) => {
      const row = book.rows.get(candidate);
      if (row === null || row.key !== sameness.key || row.reach !== sameness.reach) return false;
      const isOver = row.reach === "live" ? isSettled(row.job.status) : isKeyOver(row.job, moment);
      // While the clock is set back, a key that was over names its job again: whoever took it since goes before.
      if (!isOver && candidate > (found?.job.row ?? 0)) found = row;
      return false;
    });
    if (found !== null) return { row: found, matches: (found as Row).fingerprint === sameness.fingerprint };
  }
  const row = write.idFingerprint === null ? null : book.find(write.address);
  return row === null ? null : { row, matches: row.idFingerprint === write.idFingerprint };
}

function isKeyOver(job: Job, moment: Moment): boolean {
  return job.goneAt !== null && earlierNow(moment) >= keyEndsAt(job);
}
