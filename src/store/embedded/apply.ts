// How a write is applied where one thread has all the rows: the memory store and the thread of the SQLite store.

import { mergeDurations } from "../../core/durations.ts";
import type { Moment } from "../../core/machine.ts";
import type { HeartbeatWrite, SettleWrite, Write, Written } from "../store.ts";
import { accept } from "./accept.ts";
import type { Book } from "./book.ts";
import { claim } from "./claim.ts";
import { restore } from "./restore.ts";
import { sweep } from "./sweep.ts";

/** Applies one write of a batch. */
export function apply(book: Book, write: Write, moment: Moment): Written {
  switch (write.do) {
    case "submit":
      return accept(book, write, moment);
    case "claim":
      return claim(book, write, moment);
    case "withdraw":
      // Who holds the claims that wait answers them.
      return NOTHING;
    case "heartbeat":
      return keepAttempt(book, write, moment);
    case "settle":
      return keepAttempt(book, write, moment);
    case "cancel": {
      const row = book.find(write.address);
      if (row === null) return { refused: "not-found" };
      const changed = book.change(row, { do: "cancel" }, moment);
      return "refused" in changed ? changed : { did: "cancel", job: changed.job };
    }
    case "sweep":
      return sweep(book, write, moment);
    case "learn": {
      const all = book.rows.durations();
      // An operation may be called "constructor".
      const known = Object.hasOwn(all, write.operation) ? all[write.operation] : undefined;
      book.rows.keepDurations(
        write.operation,
        known === undefined ? write.durations : mergeDurations(known, write.durations),
      );
      return NOTHING;
    }
    case "pause":
      book.pause(write.operation, write.paused);
      return NOTHING;
    case "keep":
      book.rows.keep(write.name, write.value);
      return NOTHING;
    case "restore":
      return restore(book, write, moment);
  }
}

function keepAttempt(book: Book, write: HeartbeatWrite | SettleWrite, moment: Moment): Written {
  const row = book.rows.get(write.row);
  if (row === null) return { refused: "lease-lost" };
  const changed = book.change(row, write, moment);
  if ("refused" in changed) return { refused: changed.refused };
  const { status, leaseUntil, cancelRequestedAt } = changed.job;
  return { did: "keep", status, leaseUntil, cancel: cancelRequestedAt !== null };
}

const NOTHING: Written = { did: "nothing" };
