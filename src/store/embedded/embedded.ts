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
  earlierNow,
  isDue,
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

// A claim that meets many jobs of owners who run as many as they may goes on with the next one, so that it holds up nobody.
const MOST_PARKED = 1000;

interface Change {
  readonly before: Row | null;
  readonly after: Row | null;
}

export class Embedded {
  readonly #rows: Rows;
  readonly #roster = new Roster();
  readonly #addresses = new Digests();
  readonly #keys = new Digests();
  /** Attempts whose lease this process renews by itself: row → number. */
  readonly #held = new Map<number, number>();
  #nextRow: number;
  #nextSeq: number;
  #changes: Change[] = [];
  #events: Event[] = [];
  #rowBefore = 0;
  #hasPaused = false;

  constructor(rows: Rows, next: { readonly row: number; readonly seq: number }) {
    this.#rows = rows;
    this.#nextRow = next.row;
    this.#nextSeq = next.seq;
    this.#readPaused();
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
    this.#readPaused();
    this.#nextRow = next.row;
    this.#nextSeq = next.seq;
  }

  begin(): void {
    this.#changes = [];
    this.#events = [];
    this.#rowBefore = this.#nextRow;
    this.#hasPaused = false;
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
    if (this.#hasPaused) this.#readPaused();
  }

  apply(write: Write, moment: Moment): Written {
    switch (write.do) {
      case "submit":
        return this.#submit(write, moment);
      case "claim":
        return this.#claim(write, moment);
      case "withdraw":
        // Who holds the claims that wait answers them.
        return NOTHING;
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
        const all = this.#rows.durations();
        // An operation may be called "constructor".
        const known = Object.hasOwn(all, write.operation) ? all[write.operation] : undefined;
        this.#rows.keepDurations(
          write.operation,
          known === undefined ? write.durations : mergeDurations(known, write.durations),
        );
        return NOTHING;
      }
      case "pause":
        this.#rows.keepPaused(write.operation, write.paused);
        this.#roster.pause(write.operation, write.paused);
        this.#hasPaused = true;
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

  /** Whether a queued job has come due since the lines were last looked at. */
  isDue(now: number): boolean {
    return (this.#roster.due.nextAt() ?? Number.POSITIVE_INFINITY) <= now;
  }

  /** Whether a lease is held here that is due to be renewed. */
  get holds(): boolean {
    return this.#held.size > 0;
  }

  /** Renews the leases that are held by this process, where a third of one is gone; part of a batch. */
  renew(moment: Moment): void {
    for (const [row, attempt] of this.#held) {
      const job = this.#roster.processing.get(row);
      // A later attempt may be another process's, whose silence must show.
      if (job?.attempt !== attempt) this.#held.delete(row);
      else if ((job.leaseUntil ?? 0) - moment.now < (job.policy.leaseMs * 2) / 3 && !isDone(job, moment)) {
        const stored = this.#rows.get(row);
        if (stored !== null) this.#change(stored, { do: "heartbeat", attempt }, moment);
      }
    }
  }

  #submit(write: SubmitWrite, moment: Moment): Written {
    const { submission, sameness, limits } = write;
    const { owner, operation, policy } = submission;
    const same = this.#same(write, moment);
    if (same !== null) {
      return same.matches
        ? { did: "submit", replayed: true, ...this.#sight(same.row.job, moment.now) }
        : { refused: "key-reused" };
    }
    if (write.onlyRepeat === true) return { refused: "not-found" };
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
  #same(write: SubmitWrite, moment: Moment): { readonly row: Row; readonly matches: boolean } | null {
    const { sameness } = write;
    if (sameness !== null) {
      let found: Row | null = null;
      this.#keys.find(sameness.key, (candidate) => {
        const row = this.#rows.get(candidate);
        if (row === null || row.key !== sameness.key || row.reach !== sameness.reach) return false;
        if (row.reach === "live" ? isSettled(row.job.status) : isKeyOver(row.job, moment)) return false;
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
    let parked = 0;
    const answer = (drain: boolean): Written => ({
      did: "claim",
      jobs,
      drain,
      nextAt: parked === MOST_PARKED ? moment.now : this.#roster.due.nextAt(),
    });
    for (const operation of operations) {
      if (Math.min(write.slots[operation] ?? 0, write.limit) < 1) continue;
      for (let row = this.#roster.suspect(operation); row !== 0; row = this.#roster.suspect(operation)) {
        if (write.running === 0) this.#take(row, write, jobs, moment);
        if (write.running > 0 || jobs.length > 0) return answer(true);
      }
    }
    for (const operation of operations) {
      const most = Math.min(jobs.length + (write.slots[operation] ?? 0), write.limit);
      while (jobs.length < most && parked < MOST_PARKED) {
        const next = this.#roster.next(operation);
        if (next === 0) break;
        if (this.#take(next, write, jobs, moment) === "parked") parked++;
      }
    }
    return answer(false);
  }

  // Begins the next attempt of a row, or settles why it can't: in either case it leaves the line.
  #take(next: number, write: ClaimWrite, jobs: Job[], moment: Moment): "taken" | "parked" | "not-taken" {
    const row = this.#rows.get(next);
    if (row === null) throw new Error(`The line holds row ${next}, but there is none.`);
    const { job } = row;
    if (job.policy.running !== null && this.#roster.running(job.owner) >= job.policy.running) {
      this.#roster.park(job);
      return "parked";
    }
    if (job.status === "queued" && !isDue(job, moment.now)) {
      this.#roster.wait(job);
      return "not-taken";
    }
    const command: Command = missedStart(job, moment.now) ? RECLAIM : { do: "claim", worker: write.worker };
    const changed = this.#change(row, command, moment);
    if ("refused" in changed) throw new Error(`Row ${next} stands in line but is ${changed.refused}.`);
    if (changed.job.status !== "processing") return "not-taken";
    if (write.held) this.#held.set(next, changed.job.attempt);
    jobs.push(changed.job);
    return "taken";
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
      // A lease that is held here lapses for nobody here: its worker lives, however the clock was set.
      const isLeased = (job.leaseUntil ?? 0) > now || this.#held.get(job.row) === job.attempt;
      if (isLeased && !isDone(job, moment)) continue;
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
    const steadyNow = earlierNow(moment);
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
      if (isDue(job, now)) this.#roster.line(job);
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

  #readPaused(): void {
    const paused = new Set(this.#rows.paused());
    for (const operation of this.#roster.operations) {
      if (!paused.has(operation)) this.#roster.pause(operation, false);
    }
    for (const operation of paused) this.#roster.pause(operation, true);
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

function isKeyOver(job: Job, moment: Moment): boolean {
  return job.goneAt !== null && earlierNow(moment) >= job.createdAt + KEY_MS;
}

// An attempt that nothing may keep alive: its time, or the grace after a cancel, is over.
function isDone(job: Job, moment: Moment): boolean {
  return (
    isOverrun(job, moment) ||
    (job.cancelRequestedAt !== null && job.cancelRequestedAt + job.policy.graceMs <= moment.now)
  );
}
