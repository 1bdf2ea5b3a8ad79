// What can be asked of the book.

import type { Moment } from "../../core/machine.ts";
import type { Answer, Query } from "../store.ts";
import type { Book } from "./book.ts";

export function answer(book: Book, query: Query, { now }: Moment): Answer<Query> {
  switch (query.get) {
    case "job": {
      const row = book.find(query.address);
      return row === null ? null : book.sight(row.job, now);
    }
    case "list": {
      const rows = book.rows.list({ ...query.filter, limit: query.filter.limit + 1 });
      const page = rows.slice(0, query.filter.limit);
      const last = page.at(-1);
      return {
        sights: page.map((row) => book.sight(row.job, now)),
        nextRow: rows.length > page.length && last !== undefined ? last.job.row : null,
      };
    }
    case "rows":
      return query.rows
        .map((row) => book.rows.get(row))
        .filter((row) => row !== null)
        .map((row) => book.sight(row.job, now));
    case "counts":
      return {
        operations: Object.fromEntries(
          [...book.roster.operations].map((operation) => [operation, book.roster.counts(operation)]),
        ),
        jobs: book.rows.size,
      };
    case "outlook": {
      const turn = book.roster.nextTurn(query.operation, query.owner, query.priority, query.weight);
      return {
        position: book.roster.place(query.operation, query.priority, turn, book.nextRow),
        active: book.roster.active(query.owner),
        waiting: book.roster.counts(query.operation).queued,
      };
    }
    case "secret":
      return book.rows.secret();
    case "durations":
      return book.rows.durations();
    case "events":
      return book.rows.eventsAfter(query.after, query.limit);
    case "stored":
      return book.rows.after(query.afterRow, query.limit);
    case "paused":
      return book.rows.paused();
    case "kept":
      return book.rows.kept(query.prefix);
    case "alive":
      return query.addresses.map((address) => {
        const row = book.find(address);
        return row !== null && row.job.goneAt === null;
      });
  }
}
