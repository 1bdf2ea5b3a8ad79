// The port between the decisions and the place where rows lie: a map in memory, or a table of SQLite.

import type { Durations } from "../../core/durations.ts";
import type { Event } from "../../core/event.ts";
import type { Job } from "../../core/job.ts";
import type { Digest, ListFilter } from "../store.ts";

/** A job with what it is found by. */
export interface Row {
  readonly job: Job;
  /** Digest of (owner, id). */
  readonly address: Digest;
  readonly key: Digest | null;
  readonly fingerprint: Digest | null;
  readonly reach: "life" | "live" | null;
  readonly idFingerprint: Digest | null;
}

export interface Rows {
  readonly size: number;
  get(row: number): Row | null;
  insert(row: Row): void;
  /** `revision`: the one that it had before; at any other nothing may be written. */
  update(row: Row, revision: number): void;
  remove(row: number): void;
  /** The rows that match, newest first. */
  list(filter: ListFilter): readonly Row[];
  append(events: readonly Event[]): void;
  /** Events after `seq`, oldest first. */
  eventsAfter(seq: number, limit: number): readonly Event[];
  /** Forgets events that are older than this. */
  forgetEvents(before: number): void;
  /** 32 random bytes in hex, made with the store. */
  secret(): string;
  durations(): Readonly<Record<string, Durations>>;
  keepDurations(operation: string, durations: Durations): void;
  paused(): readonly string[];
  keepPaused(operation: string, paused: boolean): void;
}
