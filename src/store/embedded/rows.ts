// The port between the decisions and the place where rows lie: a map in memory, or a table of SQLite.

import type { Durations } from "../../core/durations.ts";
import type { Event } from "../../core/event.ts";
import type { ListFilter, StoredJob } from "../store.ts";

/** A row is a stored job. */
export type Row = StoredJob;

export interface Rows {
  readonly size: number;
  get(row: number): Row | null;
  insert(row: Row): void;
  /** `revision`: the one that it had before; at any other nothing may be written. */
  update(row: Row, revision: number): void;
  remove(row: number): void;
  /** The rows after this one, in order. */
  after(row: number, limit: number): readonly Row[];
  /** The rows that match, newest first. */
  list(filter: ListFilter): readonly Row[];
  append(events: readonly Event[]): void;
  /** Events after `seq`, oldest first. */
  eventsAfter(seq: number, limit: number): readonly Event[];
  /** Forgets events that are older than this. */
  forgetEvents(before: number): void;
  /** 32 random bytes in hex, made with the store. */
  secret(): string;
  keepSecret(secret: string): void;
  durations(): Readonly<Record<string, Durations>>;
  keepDurations(operation: string, durations: Durations): void;
  kept(prefix: string): Readonly<Record<string, string>>;
  keep(name: string, value: string | null): void;
  paused(): readonly string[];
  keepPaused(operation: string, paused: boolean): void;
}
