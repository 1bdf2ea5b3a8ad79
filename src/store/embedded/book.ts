// The book of one thread that has all the rows: what is told from them, and what a batch changed, so that a transaction
// that could not be committed is taken back here as well.

import type { Event, EventKind } from "../../core/event.ts";
import type { Job } from "../../core/job.ts";
import {
  type Command,
  decide,
  isDue,
  type Moment,
  type Refusal,
  type Submission,
} from "../../core/machine.ts";
import type { Digest, Sight } from "../store.ts";
import { Digests } from "./digests.ts";
import { Roster } from "./roster.ts";
import type { Row, Rows } from "./rows.ts";

interface Change {
  readonly before: Row | null;
  readonly after: Row | null;
}

export class Book {
  readonly rows: Rows;
  readonly roster = new Roster();
  readonly #addresses = new Digests();
  readonly keys = new Digests();
  /** Attempts whose lease this process renews by itself: row → number. */
  readonly held = new Map<number, number>();
  #nextRow: number;
  #nextSeq: number;
  #changes: Change[] = [];
  #events: Event[] = [];
  #rowBefore = 0;
  #seqBefore = 0;
  #hasPaused = false;

  constructor(rows: Rows, next: { readonly row: number; readonly seq: number }) {
    this.rows = rows;
    this.#nextRow = next.row;
    this.#nextSeq = next.seq;
    this.#readPaused();
  }

  /** Takes in a row that was there before; `resume` ends the taking in. */
  load(row: Row, now: number): void {
    this.#index(null, row, now);
  }

  resume(): void {
    this.roster.resume();
  }

  /**
   * Takes in what another process committed: rows that changed behind our back, told by their events. The first event
   * of a row tells whether it is new; whether it waited or ran, the roster still knows.
   */
  catchUp(events: readonly Event[], next: { readonly row: number; readonly seq: number }, now: number): void {
    const rows = new Map<number, Event>();
    for (const event of events) if (!rows.has(event.row)) rows.set(event.row, event);
    for (const row of [...this.roster.processing.keys()]) {
      const old = this.roster.processing.get(row);
      // Another process may have renewed its lease, which is no event.
      if (!rows.has(row) && old !== undefined) this.roster.move(old, this.rows.get(row)?.job ?? null, now);
    }
    for (const [number, first] of rows) {
      const row = this.rows.get(number);
      if (row === null) continue;
      if (first.kind === "queued") this.#index(null, row, now);
      else if (first.kind === "expired") this.roster.move(null, row.job, now);
      else
        this.roster.move(
          this.roster.processing.get(number) ?? { ...row.job, status: "queued" },
          row.job,
          now,
        );
    }
    this.#readPaused();
    this.#nextRow = next.row;
    this.#nextSeq = next.seq;
  }

  begin(): void {
    this.#changes = [];
    this.#events = [];
    this.#rowBefore = this.#nextRow;
    this.#seqBefore = this.#nextSeq;
    this.#hasPaused = false;
  }

  /** Writes the batch's events; the caller commits next, or calls `rollback`. */
  end(): readonly Event[] {
    if (this.#events.length > 0) this.rows.append(this.#events);
    return this.#events;
  }

  rollback(now: number): void {
    for (const { before, after } of this.#changes.reverse()) this.#index(after, before, now);
    this.#nextSeq = this.#seqBefore;
    this.#nextRow = this.#rowBefore;
    this.#changes = [];
    this.#events = [];
    if (this.#hasPaused) this.#readPaused();
  }

  /** The row that a new job gets. */
  get nextRow(): number {
    return this.#nextRow;
  }

  /** The sequence that the next event gets. */
  get nextSeq(): number {
    return this.#nextSeq;
  }

  /** Whether leases are held here, to be renewed. */
  get holds(): boolean {
    return this.held.size > 0;
  }

  /** Whether a queued job has come due since the lines were last looked at. */
  isDue(now: number): boolean {
    return (this.roster.due.nextAt() ?? Number.POSITIVE_INFINITY) <= now;
  }

  /** Adds a new job; part of a batch. */
  insert(submission: Submission, turn: number, moment: Moment, marks: Omit<Row, "job">): Job {
    const decision = decide(null, { do: "submit", submission, row: this.#nextRow, turn }, moment);
    if ("refused" in decision) throw new Error(`A submission was refused as ${decision.refused}.`);
    this.#nextRow++;
    const row: Row = { job: decision.job, ...marks };
    this.rows.insert(row);
    this.#index(null, row, moment.now);
    this.#changes.push({ before: null, after: row });
    this.#emit(row.job, decision.events);
    return row.job;
  }

  /** Takes over a row of another store; part of a batch. */
  restore(row: Row, now: number): void {
    this.rows.insert(row);
    this.#index(null, row, now);
    this.#changes.push({ before: null, after: row });
    this.#nextRow = Math.max(this.#nextRow, row.job.row + 1);
  }

  /** Takes over events of another store, next to those that are there; part of a batch. */
  restoreEvents(events: readonly Event[]): void {
    this.rows.append(events);
    this.#nextSeq = (events.at(-1) as Event).seq + 1;
  }

  /** Removes a row for good; part of a batch. */
  remove(row: Row, moment: Moment): void {
    this.rows.remove(row.job.row);
    this.#index(row, null, moment.now);
    this.#changes.push({ before: row, after: null });
  }

  pause(operation: string, paused: boolean): void {
    this.rows.keepPaused(operation, paused);
    this.roster.pause(operation, paused);
    this.#hasPaused = true;
  }

  /** Changes a row as the machine decides; part of a batch. */
  change(row: Row, command: Command, moment: Moment): { job: Job } | { refused: Refusal; job: Job } {
    const decision = decide(row.job, command, moment);
    if ("refused" in decision) return { refused: decision.refused, job: row.job };
    const { job, events } = decision;
    if (job !== row.job) {
      const after: Row = { ...row, job };
      this.rows.update(after, row.job.revision);
      this.roster.move(row.job, job, moment.now);
      this.#changes.push({ before: row, after });
      this.#emit(job, events);
    }
    return { job };
  }

  sight(job: Job, now: number): Sight {
    return { job, position: this.roster.position(job), waitingFor: this.roster.waitingFor(job, now) };
  }

  /** The row at an address. */
  find(address: Digest): Row | null {
    let found: Row | null = null;
    this.#addresses.find(address, (candidate) => {
      const row = this.rows.get(candidate);
      if (row === null || row.address !== address) return false;
      found = row;
      return true;
    });
    return found;
  }

  /** Jobs whose time has come join their lines. */
  wake(now: number): void {
    for (let number = this.roster.due.take(now); number !== 0; number = this.roster.due.take(now)) {
      const job = this.rows.get(number)?.job;
      if (job === undefined || job.status !== "queued") continue;
      if (isDue(job, now)) this.roster.line(job);
      else this.roster.due.add(job.dueAt, job.row);
    }
  }

  #readPaused(): void {
    const paused = new Set(this.rows.paused());
    for (const operation of this.roster.operations) {
      if (!paused.has(operation)) this.roster.pause(operation, false);
    }
    for (const operation of paused) this.roster.pause(operation, true);
  }

  #emit(job: Job, kinds: readonly EventKind[]): void {
    for (const kind of kinds) {
      this.#events.push({
        seq: this.#nextSeq++,
        kind,
        at: job.updatedAt,
        row: job.row,
        id: job.id,
        owner: job.owner,
        operation: job.operation,
        status: job.status,
        attempt: job.attempt,
        revision: job.revision,
      });
    }
  }

  #index(before: Row | null, after: Row | null, now: number): void {
    this.roster.move(before?.job ?? null, after?.job ?? null, now);
    if (before === null && after !== null) {
      this.#addresses.add(after.address, after.job.row);
      if (after.key !== null) this.keys.add(after.key, after.job.row);
    } else if (before !== null && after === null) {
      this.#addresses.remove(before.address, before.job.row);
      if (before.key !== null) this.keys.remove(before.key, before.job.row);
    }
  }
}
