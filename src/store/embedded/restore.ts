// Taking over what another store kept: rows and events as they were there, and what was taken over before left alone.

import type { Moment } from "../../core/machine.ts";
import type { RestoreWrite, Written } from "../store.ts";
import type { Book } from "./book.ts";

export function restore(book: Book, write: RestoreWrite, moment: Moment): Written {
  const fresh = [];
  for (const stored of write.jobs) {
    const there = book.rows.get(stored.job.row);
    if (there === null) fresh.push(stored);
    else if (there.address !== stored.address) return { refused: "not-empty" };
  }
  const news = write.events.filter(({ seq }) => seq >= book.nextSeq);
  for (const event of write.events) {
    if (event.seq >= book.nextSeq) break;
    const [there] = book.rows.eventsAfter(event.seq - 1, 1);
    if (there !== undefined && (there.row !== event.row || there.id !== event.id))
      return { refused: "not-empty" };
  }
  const first = news[0];
  if (first !== undefined && book.nextSeq > 1 && first.seq !== book.nextSeq) return { refused: "not-empty" };
  for (const stored of fresh) book.restore(stored, moment.now);
  if (news.length > 0) book.restoreEvents(news);
  if (write.facts !== undefined) {
    book.rows.keepSecret(write.facts.secret);
    for (const [operation, durations] of Object.entries(write.facts.durations))
      book.rows.keepDurations(operation, durations);
    for (const operation of write.facts.paused) book.pause(operation, true);
    for (const [name, value] of Object.entries(write.facts.kept)) book.rows.keep(name, value);
    book.resume();
  }
  return { did: "nothing" };
}
