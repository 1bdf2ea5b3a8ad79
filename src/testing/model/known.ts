// What the model knows of a store: each job as the promises say that it must stand, and the events that nobody has
// explained yet. It is small and written apart from the machine, so that both can't be wrong in the same way.

import type { Event, EventKind } from "../../core/event.ts";
import type { Job, Status } from "../../core/job.ts";
import type { AttemptOutcome } from "../../core/machine.ts";
import type { Digest, SubmitWrite, Written } from "../../store/store.ts";

const TOMBSTONE_MS = 30 * 24 * 3600 * 1000;

/** An instant that is known to lie between two: the store looks at its clock between question and answer. */
export type Span = readonly [from: number, to: number];

/** When something was done: by the wall clock, which is set to and fro, and by the real time that passed. */
export interface Window {
  readonly now: Span;
  readonly steady: Span;
}

export interface Known {
  readonly row: number;
  readonly write: SubmitWrite;
  readonly status: Status;
  readonly revision: number;
  readonly attempt: number;
  readonly failures: number;
  readonly crashes: number;
  readonly dueAt: Span;
  /** When it was last put into the line. */
  readonly queuedAt: Span;
  readonly startBy: Span | null;
  readonly startedAt: Span | null;
  readonly worker: string | null;
  readonly leaseUntil: Span | null;
  /** The instance that renews the lease by itself. */
  readonly heldBy: number | null;
  readonly cancelAt: Span | null;
  readonly progress: number | null;
  readonly message: string | null;
  readonly checkpoint: string | null;
  readonly outcome: AttemptOutcome | null;
  /** By the real time that passed. */
  readonly accepted: Span;
  readonly ended: Span | null;
  readonly gone: Span | null;
  /** As it was last read. */
  readonly seen: Job | null;
}

/** A sentence that every store keeps is not kept. */
export class Broken extends Error {
  override readonly name = "Broken";
}

export function hold(isSo: boolean, sentence: string | (() => string)): void {
  if (!isSo) throw new Broken(typeof sentence === "string" ? sentence : sentence());
}

export class Knowledge {
  readonly jobs: Map<number, Known>;
  /** Rows of jobs that have not settled. */
  readonly active: Set<number>;
  /** Rows by key and by address. */
  readonly rows: Map<Digest, readonly number[]>;
  readonly paused: Set<string>;
  /** Events that were read and that no write has explained yet, by row. */
  readonly unexplained: Map<number, readonly Event[]>;

  constructor(from?: Knowledge) {
    this.jobs = new Map(from?.jobs);
    this.active = new Set(from?.active);
    this.rows = new Map(from?.rows);
    this.paused = new Set(from?.paused);
    this.unexplained = new Map(from?.unexplained);
  }

  /** Takes in events that were read. */
  hear(events: readonly Event[]): void {
    for (const event of events) {
      this.unexplained.set(event.row, [...(this.unexplained.get(event.row) ?? []), event]);
    }
  }

  next(row: number): Event | null {
    return this.unexplained.get(row)?.[0] ?? null;
  }

  has(row: number, kind: EventKind): boolean {
    return this.next(row)?.kind === kind;
  }

  /** A new job: its first event must be there. */
  add(job: Known): void {
    this.#explain(job, "queued");
    this.jobs.set(job.row, job);
    this.active.add(job.row);
    const { address, sameness } = job.write;
    for (const digest of sameness === null ? [address] : [address, sameness.key]) {
      this.rows.set(digest, [...(this.rows.get(digest) ?? []), job.row]);
    }
  }

  /** A change that can be seen: it takes the next event of the job, which must tell of it. */
  change(job: Known, kind: EventKind, fields: Partial<Known>): Known {
    const after = { ...job, ...fields, revision: job.revision + 1 };
    this.#explain(after, kind);
    this.set(after);
    return after;
  }

  set(job: Known): void {
    this.jobs.set(job.row, job);
    if (job.ended !== null) this.active.delete(job.row);
  }

  forget(row: number): void {
    this.jobs.delete(row);
    this.unexplained.delete(row);
  }

  /** The jobs with this key or address. */
  *found(digest: Digest): Iterable<Known> {
    for (const row of this.rows.get(digest) ?? []) {
      const job = this.jobs.get(row);
      if (job !== undefined) yield job;
    }
  }

  /** The job at an address: the last one, where one before it was forgotten. */
  at(address: Digest): Known | null {
    return [...this.found(address)].findLast(({ write }) => write.address === address) ?? null;
  }

  *activeJobs(): Iterable<Known> {
    for (const row of this.active) {
      const job = this.jobs.get(row);
      if (job !== undefined) yield job;
    }
  }

  count(isMeant: (job: Known) => boolean): number {
    let count = 0;
    for (const job of this.activeJobs()) if (isMeant(job)) count++;
    return count;
  }

  #explain(job: Known, kind: EventKind): void {
    const [event, ...rest] = this.unexplained.get(job.row) ?? [];
    if (rest.length === 0) this.unexplained.delete(job.row);
    else this.unexplained.set(job.row, rest);
    const { submission } = job.write;
    const told = event && [event.kind, event.status, event.attempt, event.revision, event.id, event.owner];
    const is = [kind, job.status, job.attempt, job.revision, submission.id, submission.owner];
    hold(
      JSON.stringify(told) === JSON.stringify(is),
      () =>
        `The feed tells of row ${job.row}: ${told?.join(" ") ?? "nothing"}; it should be ${is.join(" ")}.`,
    );
  }
}

/** Whether a job may be there no more: it expired 30 days ago. */
export function mayBeForgotten({ gone }: Known, { steady }: Window): boolean {
  return gone !== null && steady[1] - gone[0] >= TOMBSTONE_MS;
}

export function operationOf(job: Known): string {
  return job.write.submission.operation;
}

export function ownerOf(job: Known): string {
  return job.write.submission.owner;
}

export function plus(span: Span, ms: number, more = 0): Span {
  return [span[0] + ms, span[1] + ms + more];
}

/** Holds that a write was refused so, where it is known what it was answered. */
export function refusedAs(written: Written | null, refusal: string, why: string): void {
  if (written === null) return;
  const is = "refused" in written ? written.refused : null;
  hold(
    is === refusal,
    () => `${why}: it should be refused as ${refusal}, but was answered ${said(written)}.`,
  );
}

/** An answer, in a word or two. */
export function said(written: Written): string {
  if ("refused" in written) return `refused (${written.refused})`;
  if (written.did !== "submit")
    return written.did === "cancel" ? `canceled, ${written.job.status}` : written.did;
  return `${written.replayed ? "the job of before" : "a new job"}, row ${written.job.row}`;
}
