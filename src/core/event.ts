// An event: a numbered entry in a job's history, and in the one feed that every reader reads.

import type { Status } from "./job.ts";

/** What can happen to a job. `expired` is for the house; callers see 410 instead. */
export type EventKind =
  | "queued"
  | "started"
  | "progress"
  | "retrying"
  | "cancel-requested"
  | "completed"
  | "failed"
  | "canceled"
  | "expired";

export interface Event {
  /** Gapless, rising, the same for every reader of a store. */
  readonly seq: number;
  readonly kind: EventKind;
  readonly at: number;
  readonly row: number;
  readonly id: string;
  readonly owner: string;
  readonly operation: string;
  readonly status: Status;
  readonly attempt: number;
  readonly revision: number;
}
