// How a write is applied where one thread has all the rows: the memory store and the thread of the SQLite store.
//
// `Rows` is where rows lie; roster and digests are told from them. What a batch changes is noted, so that a transaction
// that could not be committed is taken back here as well.

import { mergeDurations } from "../../core/durations.ts";
import type { Event, EventKind } from "../../core/event.ts";
import { isSettled, type Job } from "../../core/job.ts";
import {
  type Command,
  decide,
  isOverrun,
  type Moment,
  missedStart,
  type Refusal,
} from "../../core/machine.ts";
import type {
  Answer,
  ClaimWrite,
  Digest,
  HeartbeatWrite,
  Query,
  SettleWrite,
  Sight,
  SubmitWrite,
  SweepWrite,
  Write,
  Written,
} from "../store.ts";
import { Digests } from "./digests.ts";
import { Roster, TOMBSTONE_MS } from "./roster.ts";
import type { Row, Rows } from "./rows.ts";

/** A key lives this long at least, and as long as its job. */
const KEY_MS = 24 * 3600 * 1000;

/** Events are kept as long as anyone may resume from them. */
const EVENTS_MS = 24 * 3600 * 1000;

interface Change {
  readonly before: Row | null;
  readonly after: Row | null;
}

export class Embedded {
  readonly #rows: Rows;
  readonly #roster = new Roster();
  readonly #addresses = new Digests();
  readonly #keys = new Digests();
  /** Rows whose lease this process renews by itself. */
  readonly #held = new Set<number>();
  #nextRow: number;
  #nextSeq: number;
  #changes: Change[] = [];
  #events: Event[] = [];
  #rowBefore = 0;

  constructor(rows: Rows, next: { readonly row: number; readonly seq: number }) {
    this.#rows = rows;
    this.#nextRow = next.row;
    this.#nextSeq = next.seq;
    for (const operation of rows.paused()) this.#roster.pause(operation, true);
  }

  /** Takes in a row that was there before; `resume` ends the taking in. */
  load(row: Row, now: number): void {
    this.#index(null, row, now);
  }

  resume(): void {
    this.#roster.resume();
  }

  /**
   * Takes in what another process committed: rows that changed behind our back, told by their events. The first event
   * of a row tells whether it is new; whether it waited or ran, the roster still knows.
   */
  catchUp(events: readonly Event[], next: { readonly row: number; readonly seq: number }, now: number): void {
    const rows = new Map<number, Event>();
    for (const event of events) if (!rows.has(event.row)) rows.set(event.row, event);
    for (const row of [...this.#roster.processing.keys()]) {
      const old = this.#roster.processing.get(row);
      // Another process may have renewed its lease, which is no event.
      if (!rows.has(row) && old !== undefined) this.#roster.move(old, this.#rows.get(row)?.job ?? null, now);
    }
    for (const [number, first] of rows) {
      const row = this.#rows.get(number);
      if (row === null) continue;
      if (first.kind === "queued") this.#index(null, row, now);
      else if (first.kind === "expired") this.#roster.move(null, row.job, now);
      else
        this.#roster.move(
          this.#roster.processing.get(number) ?? { ...row.job, status: "queued" },
          row.job,
          now,
        );
    }
    for (const row of this.#held) if (!this.#roster.processing.has(row)) this.#held.delete(row);
    this.#nextRow = next.row;
    this.#nextSeq = next.seq;
  }

  begin(): void {
    this.#changes = [];
    this.#events = [];
    this.#rowBefore = this.#nextRow;
  }

  /** Writes the batch's events; the caller commits next, or calls `rollback`. */
  end(): readonly Event[] {
    if (this.#events.length > 0) this.#rows.append(this.#events);
    return this.#events;
  }

  rollback(now: number): void {
    for (const { before, after } of this.#changes.reverse()) this.#index(after, before, now);
    this.#nextSeq -= this.#events.length;
    this.#nextRow = this.#rowBefore;
    this.#changes = [];
    this.#events = [];
  }

  apply(write: Write, moment: Moment): Written {
    switch (write.do) {
      case "submit":
        return this.#submit(write, moment);
      case "claim":
        return this.#claim(write, moment);
      case "heartbeat":
        return this.#attempt(write, moment);
      case "settle":
        return this.#attempt(write, moment);
      case "cancel": {
        const row = this.#find(write.address);
        if (row === null) return { refused: "not-found" };
        const changed = this.#change(row, CANCEL, moment);
        return "refused" in changed ? changed : { did: "cancel", job: changed.job };
      }
      case "sweep":
        return this.#sweep(write, moment);
      case "learn": {
        const known = this.#rows.durations()[write.operation];
        this.#rows.keepDurations(
          write.operation,
          known === undefined ? write.durations : mergeDurations(known, write.durations),
        );
        return NOTHING;
      }
      case "pause":
        this.#rows.keepPaused(write.operation, write.paused);
        this.#roster.pause(write.operation, write.paused);
        return NOTHING;
    }
  }

  answer(query: Query, { now }: Moment): Answer<Query> {
    switch (query.get) {
      case "job": {
        const row = this.#find(query.address);
        return row === null ? null : this.#sight(row.job, now);
      }
      case "list": {
        const rows = this.#rows.list({ ...query.filter, limit: query.filter.limit + 1 });
        const page = rows.slice(0, query.filter.limit);
        const last = page.at(-1);
        return {
          sights: page.map((row) => this.#sight(row.job, now)),
          nextRow: rows.length > page.length && last !== undefined ? last.job.row : null,
        };
      }
      case "rows":
        return query.rows
          .map((row) => this.#rows.get(row))
          .filter((row) => row !== null)
          .map((row) => this.#sight(row.job, now));
      case "counts":
        return {
          operations: Object.fromEntries(
            [...this.#roster.operations].map((operation) => [operation, this.#roster.counts(operation)]),
          ),
          jobs: this.#rows.size,
        };
      case "outlook": {
        const turn = this.#roster.nextTurn(query.operation, query.owner, query.priority, query.weight);
        return {
          position: this.#roster.place(query.operation, query.priority, turn, this.#nextRow),
          active: this.#roster.active(query.owner),
          waiting: this.#roster.counts(query.operation).queued,
        };
      }
      case "secret":
        return this.#rows.secret();
      case "durations":
        return this.#rows.durations();
      case "events":
        return this.#rows.eventsAfter(query.after, query.limit);
      case "alive":
        return query.addresses.map((address) => {
          const row = this.#find(address);
          return row !== null && row.job.goneAt === null;
        });
    }
  }

  /** Whether a lease is held here that is due to be renewed. */
  get holds(): boolean {
    return this.#held.size > 0;
  }

  /** Renews the leases that are held by this process, where a third of one is gone; part of a batch. */
  renew(moment: Moment): void {
    for (const row of this.#held) {
      const job = this.#roster.processing.get(row);
      if (job === undefined) this.#held.delete(row);
      else if (
        (job.leaseUntil ?? 0) - moment.now < (job.policy.leaseMs * 2) / 3 &&
        !isDone(job, moment.now)
      ) {
        const stored = this.#rows.get(row);
        if (stored !== null) this.#change(stored, { do: "heartbeat", attempt: job.attempt }, moment);
      }
    }
  }

  #submit(write: SubmitWrite, moment: Moment): Written {
    const { submission, sameness, limits } = write;
    const { owner, operation, policy } = submission;
    const same = this.#same(write, moment.now);
    if (same !== null) {
      return same.matches
        ? { did: "submit", replayed: true, ...this.#sight(same.row.job, moment.now) }
        : { refused: "key-reused" };
    }
    if (limits.active !== null && this.#roster.active(owner) >= limits.active)
      return { refused: "over-quota" };
    if (this.#roster.counts(operation).queued >= limits.operationBacklog) {
      return { refused: "operation-backlog-full" };
    }
    if (this.#roster.waiting >= limits.backlog) return { refused: "backlog-full" };
    const turn = this.#roster.nextTurn(operation, owner, policy.priority, policy.weight);
    const decision = decide(null, { do: "submit", submission, row: this.#nextRow, turn }, moment);
    if ("refused" in decision) return decision;
    this.#nextRow++;
    const row: Row = {
      job: decision.job,
      address: write.address,
      key: sameness?.key ?? null,
      fingerprint: sameness?.fingerprint ?? null,
      reach: sameness?.reach ?? null,
      idFingerprint: write.idFingerprint,
    };
    this.#rows.insert(row);
    this.#index(null, row, moment.now);
    this.#changes.push({ before: null, after: row });
    this.#emit(row.job, decision.events);
    return { did: "submit", replayed: false, ...this.#sight(row.job, moment.now) };
  }

  // The job that this submission repeats, if it does.
  #same(write: SubmitWrite, now: number): { readonly row: Row; readonly matches: boolean } | null {
    const { sameness } = write;
    if (sameness !== null) {
      let found: Row | null = null;
      this.#keys.find(sameness.key, (candidate) => {
        const row = this.#rows.get(candidate);
        if (row === null || row.key !== sameness.key || row.reach !== sameness.reach) return false;
        if (row.reach === "live" ? isSettled(row.job.status) : isKeyOver(row.job, now)) return false;
        found = row;
        return true;
      });
      if (found !== null) return { row: found, matches: (found as Row).fingerprint === sameness.fingerprint };
    }
    const row = write.idFingerprint === null ? null : this.#find(write.address);
    return row === null ? null : { row, matches: row.idFingerprint === write.idFingerprint };
  }

  #claim(write: ClaimWrite, moment: Moment): Written {
    this.#wake(moment.now);
    const operations = Object.keys(write.slots);
    for (const operation of operations) this.#roster.sawWorker(operation, moment.now);
    const jobs: Job[] = [];
    const answer = (drain: boolean): Written => ({
      did: "claim",
      jobs,
      drain,
      nextAt: this.#roster.due.nextAt(),
    });
    for (const operation of operations) {
      const suspect = this.#roster.suspect(operation);
      if (suspect === 0 || (write.slots[operation] ?? 0) < 1) continue;
      if (write.running === 0) this.#take(suspect, write, jobs, moment);
      return answer(true);
    }
    for (const operation of operations) {
      const most = Math.min(jobs.length + (write.slots[operation] ?? 0), write.limit);
      while (jobs.length < most) {
        const next = this.#roster.next(operation);
        if (next === 0) break;
        this.#take(next, write, jobs, moment);
      }
    }
    return answer(false);
  }

  // Begins the next attempt of a row, or settles why it can't: in either case it leaves the line.
  #take(next: number, write: ClaimWrite, jobs: Job[], moment: Moment): void {
    const row = this.#rows.get(next);
    if (row === null) throw new Error(`The line holds row ${next}, but there is none.`);
    const { job } = row;
    if (job.policy.running !== null && this.#roster.running(job.owner) >= job.policy.running) {
      this.#roster.park(job);
      return;
    }
    const command: Command = missedStart(job, moment.now) ? RECLAIM : { do: "claim", worker: write.worker };
    const changed = this.#change(row, command, moment);
    if ("refused" in changed) throw new Error(`Row ${next} stands in line but is ${changed.refused}.`);
    if (changed.job.status !== "processing") return;
    if (write.held) this.#held.add(next);
    jobs.push(changed.job);
  }

  #attempt(write: HeartbeatWrite | SettleWrite, moment: Moment): Written {
    const row = this.#rows.get(write.row);
    if (row === null) return { refused: "lease-lost" };
    const changed = this.#change(row, write, moment);
    if ("refused" in changed) return { refused: changed.refused };
    const { status, leaseUntil, cancelRequestedAt } = changed.job;
    return { did: "keep", status, leaseUntil, cancel: cancelRequestedAt !== null };
  }

  #sweep({ limit }: SweepWrite, moment: Moment): Written {
    const { now } = moment;
    this.#wake(now);
    const gone: Digest[] = [];
    let changed = 0;
    for (const job of this.#roster.processing.values()) {
      if (changed === limit) break;
      if ((job.leaseUntil ?? 0) > now && !isDone(job, now)) continue;
      const row = this.#rows.get(job.row);
      if (row !== null && !("refused" in this.#change(row, RECLAIM, moment))) changed++;
    }
    for (let looked = 0; looked < limit && changed < limit; looked++) {
      const number = this.#roster.ends.take(now);
      if (number === 0) break;
      const row = this.#rows.get(number);
      if (row !== null && this.#endOf(row, moment, gone)) changed++;
    }
    this.#rows.forgetEvents(now - EVENTS_MS);
    const next = this.#roster.ends.nextAt();
    return { did: "sweep", changed, gone, more: changed === limit || (next !== null && next <= now) };
  }

  // What is due on a row by its own telling: the timer that woke it may have been overtaken.
  #endOf(row: Row, moment: Moment, gone: Digest[]): boolean {
    const { job } = row;
    const steadyNow = Math.min(moment.now, moment.steadyNow ?? moment.now);
    if (job.goneAt !== null) {
      if (job.goneAt + TOMBSTONE_MS > steadyNow)
        return this.#later(job, job.goneAt + TOMBSTONE_MS - steadyNow, moment);
      this.#rows.remove(job.row);
      this.#index(row, null, moment.now);
      this.#changes.push({ before: row, after: null });
      return true;
    }
    if (!isSettled(job.status)) return !("refused" in this.#change(row, RECLAIM, moment));
    if (job.expiresAt === null) return false;
    if (job.expiresAt > steadyNow) return this.#later(job, job.expiresAt - steadyNow, moment);
    gone.push(row.address);
    return !("refused" in this.#change(row, EXPIRE, moment));
  }

  #later(job: Job, ms: number, { now }: Moment): false {
    this.#roster.ends.add(now + ms, job.row);
    return false;
  }

  // Jobs whose time has come join their lines.
  #wake(now: number): void {
    for (let number = this.#roster.due.take(now); number !== 0; number = this.#roster.due.take(now)) {
      const job = this.#rows.get(number)?.job;
      if (job === undefined || job.status !== "queued") continue;
      if (job.dueAt <= now) this.#roster.line(job);
      else this.#roster.due.add(job.dueAt, job.row);
    }
  }

  #change(row: Row, command: Command, moment: Moment): { job: Job } | { refused: Refusal; job: Job } {
    const decision = decide(row.job, command, moment);
    if ("refused" in decision) return { refused: decision.refused, job: row.job };
    const { job, events } = decision;
    if (job !== row.job) {
      const after: Row = { ...row, job };
      this.#rows.update(after);
      this.#roster.move(row.job, job, moment.now);
      this.#changes.push({ before: row, after });
      this.#emit(job, events);
    }
    return { job };
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

  #sight(job: Job, now: number): Sight {
    return { job, position: this.#roster.position(job), waitingFor: this.#roster.waitingFor(job, now) };
  }

  #find(address: Digest): Row | null {
    let found: Row | null = null;
    this.#addresses.find(address, (candidate) => {
      const row = this.#rows.get(candidate);
      if (row === null || row.address !== address) return false;
      found = row;
      return true;
    });
    return found;
  }

  #index(before: Row | null, after: Row | null, now: number): void {
    this.#roster.move(before?.job ?? null, after?.job ?? null, now);
    if (before === null && after !== null) {
      this.#addresses.add(after.address, after.job.row);
      if (after.key !== null) this.#keys.add(after.key, after.job.row);
    } else if (before !== null && after === null) {
      this.#addresses.remove(before.address, before.job.row);
      if (before.key !== null) this.#keys.remove(before.key, before.job.row);
    }
  }
}

const NOTHING: Written = { did: "nothing" };
const CANCEL: Command = { do: "cancel" };
const RECLAIM: Command = { do: "reclaim" };
const EXPIRE: Command = { do: "expire" };

function isKeyOver(job: Job, now: number): boolean {
  return job.goneAt !== null && now >= job.createdAt + KEY_MS;
}

// An attempt that nothing may keep alive: its time, or the grace after a cancel, is over.
function isDone(job: Job, now: number): boolean {
  return (
    isOverrun(job, now) ||
    (job.cancelRequestedAt !== null && job.cancelRequestedAt + job.policy.graceMs <= now)
  );
}
