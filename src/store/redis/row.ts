// What is asked of one job in a batch, decided one upon the other.

import type { Job } from "../../core/job.ts";
import { decide, type Moment } from "../../core/machine.ts";
import type { CancelWrite, HeartbeatWrite, SettleWrite, Written } from "../store.ts";
import { type Happening, happeningOf } from "./codec.ts";

export type RowWrite = HeartbeatWrite | SettleWrite | CancelWrite;

/** The job after all of it; `written` in the order of the writes. */
export interface Decided {
  readonly job: Job;
  readonly written: readonly Written[];
  readonly events: readonly Happening[];
  readonly isRefused: boolean;
}

export function decideRow(writes: readonly RowWrite[], before: Job, moment: Moment): Decided {
  let job = before;
  let isRefused = false;
  const events: Happening[] = [];
  const written = writes.map((write): Written => {
    const decision = decide(job, write.do === "cancel" ? { do: "cancel" } : write, moment);
    if ("refused" in decision) {
      isRefused = true;
      return write.do === "cancel" ? { refused: decision.refused, job } : { refused: decision.refused };
    }
    job = decision.job;
    for (const kind of decision.events) events.push(happeningOf(kind, job));
    if (write.do === "cancel") return { did: "cancel", job };
    const { status, leaseUntil, cancelRequestedAt } = job;
    return { did: "keep", status, leaseUntil, cancel: cancelRequestedAt !== null };
  });
  return { job, written, events, isRefused };
}
