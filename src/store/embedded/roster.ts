// Who waits, who runs, who counts: everything that can be told from the rows, kept in memory so that a decision costs
// no index of the database. `move(before, after)` is its only change, so undoing a batch is moving back, and
// starting is moving every row in from nothing.
//
// Fair turns: a job's turn is max(the line's virtual time, the owner's last turn) + 1 / weight. The order is fixed at
// arrival, so a place in the line is a rank, and ten thousand jobs of one owner lie behind one job of another.

import { isSettled, type Job } from "../../core/job.ts";
import { isDue } from "../../core/machine.ts";
import type { WaitingFor } from "../store.ts";
import { Line } from "./line.ts";
import { Timers } from "./timers.ts";

/** A tombstone says 410 for 30 days, then the job never was. */
export const TOMBSTONE_MS = 30 * 24 * 3600 * 1000;

/** Nobody has asked for work of an operation for this long: it has no worker. */
const WORKER_SILENT_MS = 60_000;

// Owners whose last turn is past are forgotten once there are this many of them, and then whenever there are twice as
// many as were left.
const MAX_REMEMBERED_OWNERS = 10_000;

interface Priority {
  readonly priority: number;
  readonly line: Line;
  virtualTime: number;
  readonly lastTurns: Map<string, number>;
  /** How many last turns there may be before those that are past are forgotten. */
  mostTurns: number;
}

interface Waiting {
  /** Highest priority first. */
  readonly priorities: Priority[];
  /** Jobs that lost a worker: they are tried again one at a time. */
  readonly suspects: Line;
}

interface Desk extends Waiting {
  queued: number;
  processing: number;
  paused: boolean;
  workerSeenAt: number;
}

export class Roster {
  readonly #desks = new Map<string, Desk>();
  readonly #active = new Map<string, number>();
  readonly #running = new Map<string, number>();
  /** Jobs of owners that run as many as they may: out of the line until one ends. By owner, then by operation. */
  readonly #parked = new Map<string, Map<string, Waiting>>();
  readonly #processing = new Map<number, Job>();
  /** When queued jobs come due: they only join the line. */
  readonly due = new Timers();
  /** When a row has to be changed: a start deadline, the end of a retention, the end of a tombstone. */
  readonly ends = new Timers();
  #waiting = 0;

  /** Jobs that hold a lease, by row. */
  get processing(): ReadonlyMap<number, Job> {
    return this.#processing;
  }

  /** Jobs that are queued, for whatever reason. */
  get waiting(): number {
    return this.#waiting;
  }

  active(owner: string): number {
    return this.#active.get(owner) ?? 0;
  }

  running(owner: string): number {
    return this.#running.get(owner) ?? 0;
  }

  /** Brings the roster from one state of a row to the next; null is no row. */
  move(before: Job | null, after: Job | null, now: number): void {
    if (before !== null) this.#leave(before, after);
    if (after !== null) this.#enter(after, before, now);
  }

  /** The turn that a new job of this owner gets. */
  nextTurn(operation: string, owner: string, priority: number, weight: number): number {
    const place = this.#priority(this.#desk(operation), priority);
    return Math.max(place.virtualTime, place.lastTurns.get(owner) ?? 0) + 1 / weight;
  }

  /** The row whose turn it is in an operation; 0 for none. */
  next(operation: string): number {
    const desk = this.#desks.get(operation);
    if (desk === undefined || desk.paused) return 0;
    for (const { line } of desk.priorities) {
      const first = line.first();
      if (first !== null) return first.row;
    }
    return 0;
  }

  /** The job that lost a worker whose turn is next; 0 for none. */
  suspect(operation: string): number {
    const desk = this.#desks.get(operation);
    if (desk === undefined || desk.paused) return 0;
    return desk.suspects.first()?.row ?? 0;
  }

  /** Takes a job out of the line until another one of its owner ends. */
  park(job: Job): void {
    const isSuspect = this.#desk(job.operation).suspects.remove(job.turn, job.row);
    if (!isSuspect && !this.#unline(job)) return;
    let parked = this.#parked.get(job.owner);
    if (parked === undefined) {
      parked = new Map();
      this.#parked.set(job.owner, parked);
    }
    let waiting = parked.get(job.operation);
    if (waiting === undefined) {
      waiting = { priorities: [], suspects: new Line() };
      parked.set(job.operation, waiting);
    }
    const line = isSuspect ? waiting.suspects : this.#priority(waiting, job.policy.priority).line;
    line.add(job.turn, job.row);
  }

  /** Takes a job out of the line that is not due any more, for the clock was set back. */
  wait(job: Job): void {
    if (this.#desk(job.operation).suspects.remove(job.turn, job.row) || this.#unline(job))
      this.due.add(job.dueAt, job.row);
  }

  /** After every row was moved in: the lines go on where they stood. */
  resume(): void {
    for (const desk of this.#desks.values()) {
      for (const place of desk.priorities) {
        place.virtualTime = Math.max(place.virtualTime, (place.line.first()?.turn ?? 0) - 1);
      }
    }
  }

  sawWorker(operation: string, now: number): void {
    this.#desk(operation).workerSeenAt = now;
  }

  pause(operation: string, paused: boolean): void {
    this.#desk(operation).paused = paused;
  }

  counts(operation: string): { readonly queued: number; readonly processing: number } {
    const desk = this.#desks.get(operation);
    return { queued: desk?.queued ?? 0, processing: desk?.processing ?? 0 };
  }

  get operations(): Iterable<string> {
    return this.#desks.keys();
  }

  /** Its place among those that wait, from 1; null where it does not stand in line. */
  position(job: Job): number | null {
    if (job.status !== "queued") return null;
    const desk = this.#desks.get(job.operation);
    if (desk === undefined) return null;
    if (desk.suspects.has(job.turn, job.row)) return desk.suspects.rank(job.turn, job.row) + 1;
    if (!this.#priority(desk, job.policy.priority).line.has(job.turn, job.row)) return null;
    return this.place(job.operation, job.policy.priority, job.turn, job.row);
  }

  /** The place that a turn has, or would have. */
  place(operation: string, priority: number, turn: number, row: number): number {
    const desk = this.#desk(operation);
    let before = desk.suspects.length;
    for (const other of desk.priorities) {
      if (other.priority > priority) before += other.line.length;
      else return before + 1 + (other.priority === priority ? other.line.rank(turn, row) : 0);
    }
    return before + 1;
  }

  waitingFor(job: Job, now: number): WaitingFor | null {
    if (job.status !== "queued") return null;
    const desk = this.#desks.get(job.operation);
    if (desk?.paused) return "paused";
    if (!isDue(job, now)) return job.attempt > 0 ? "retry" : "delay";
    // A worker whose slots are all taken asks for nothing, but it is there.
    const isSilent = desk === undefined || now - desk.workerSeenAt > WORKER_SILENT_MS;
    if (isSilent && (desk?.processing ?? 0) === 0) return "no-worker";
    return this.#isParked(job) ? "quota" : "turn";
  }

  #leave(job: Job, after: Job | null): void {
    if (isSettled(job.status)) return;
    const desk = this.#desk(job.operation);
    const stays = after !== null && !isSettled(after.status);
    if (!stays) count(this.#active, job.owner, -1);
    if (job.status === "queued") {
      desk.queued--;
      this.#waiting--;
      if (!desk.suspects.remove(job.turn, job.row) && !this.#unline(job)) this.#leaveParked(job);
      // It may have been called from its parked fellows to a turn that it does not take.
      else if (after?.status !== "processing") this.#unpark(job.owner);
    } else {
      if (after?.status !== "processing") {
        desk.processing--;
        count(this.#running, job.owner, -1);
      }
      this.#processing.delete(job.row);
    }
  }

  #enter(job: Job, before: Job | null, now: number): void {
    if (isSettled(job.status)) {
      if (job.goneAt !== null) this.ends.add(job.goneAt + TOMBSTONE_MS, job.row);
      else if (job.expiresAt !== null) this.ends.add(job.expiresAt, job.row);
      if (before?.status === "processing") this.#unpark(job.owner);
      return;
    }
    const desk = this.#desk(job.operation);
    if (before === null || isSettled(before.status)) count(this.#active, job.owner, 1);
    if (job.status === "processing") {
      this.#processing.set(job.row, job);
      if (before?.status !== "processing") {
        desk.processing++;
        count(this.#running, job.owner, 1);
        const place = this.#priority(desk, job.policy.priority);
        place.virtualTime = Math.max(place.virtualTime, job.turn);
      }
      return;
    }
    desk.queued++;
    this.#waiting++;
    const place = this.#priority(desk, job.policy.priority);
    if (job.turn > (place.lastTurns.get(job.owner) ?? 0)) remember(place, job.owner, job.turn);
    if (job.startBy !== null && job.attempt === 0) this.ends.add(job.startBy, job.row);
    if (isDue(job, now)) this.line(job);
    else this.due.add(job.dueAt, job.row);
    if (before?.status === "processing") this.#unpark(job.owner);
  }

  /** Puts a job that is due into its line. */
  line(job: Job): void {
    const desk = this.#desk(job.operation);
    if (this.#isParked(job)) return;
    if (job.crashes > 0 && !job.policy.isolated) {
      desk.suspects.add(job.turn, job.row);
      return;
    }
    const { line } = this.#priority(desk, job.policy.priority);
    // `add` leaves a row alone that stands there already: a timer can be overtaken.
    line.add(job.turn, job.row);
  }

  #unline(job: Job): boolean {
    const place = this.#priority(this.#desk(job.operation), job.policy.priority);
    const stood = place.line.remove(job.turn, job.row);
    // With nobody waiting there is nothing to be fair about: what owners had before counts no more.
    if (place.line.length === 0) place.lastTurns.clear();
    return stood;
  }

  // One ended, so one may start: the one of its owner whose turn is first. One of each operation, for which of them has
  // a free worker is not known here; those that are too many are parked again.
  #unpark(owner: string): void {
    const parked = this.#parked.get(owner);
    if (parked === undefined) return;
    for (const [operation, waiting] of parked) {
      const desk = this.#desk(operation);
      const place = waiting.priorities.find(({ line }) => line.length > 0);
      const suspect = waiting.suspects.first();
      const first = suspect ?? place?.line.first() ?? null;
      if (first !== null) {
        const [from, to] =
          suspect !== null || place === undefined
            ? [waiting.suspects, desk.suspects]
            : [place.line, this.#priority(desk, place.priority).line];
        from.remove(first.turn, first.row);
        to.add(first.turn, first.row);
      }
      this.#tidy(owner, operation, waiting);
    }
  }

  #isParked(job: Job): boolean {
    const waiting = this.#parked.get(job.owner)?.get(job.operation);
    if (waiting === undefined) return false;
    return (
      waiting.suspects.has(job.turn, job.row) ||
      this.#priority(waiting, job.policy.priority).line.has(job.turn, job.row)
    );
  }

  #leaveParked(job: Job): void {
    const waiting = this.#parked.get(job.owner)?.get(job.operation);
    if (waiting === undefined) return;
    if (!waiting.suspects.remove(job.turn, job.row))
      this.#priority(waiting, job.policy.priority).line.remove(job.turn, job.row);
    this.#tidy(job.owner, job.operation, waiting);
  }

  // Forgets that anything was parked where nothing is any more.
  #tidy(owner: string, operation: string, { suspects, priorities }: Waiting): void {
    if (suspects.length > 0 || priorities.some(({ line }) => line.length > 0)) return;
    const parked = this.#parked.get(owner);
    if (parked?.delete(operation) && parked.size === 0) this.#parked.delete(owner);
  }

  #desk(operation: string): Desk {
    let desk = this.#desks.get(operation);
    if (desk === undefined) {
      desk = {
        priorities: [],
        suspects: new Line(),
        queued: 0,
        processing: 0,
        paused: false,
        workerSeenAt: Number.NEGATIVE_INFINITY,
      };
      this.#desks.set(operation, desk);
    }
    return desk;
  }

  #priority({ priorities }: Waiting, priority: number): Priority {
    let place = priorities.find((other) => other.priority === priority);
    if (place === undefined) {
      place = {
        priority,
        line: new Line(),
        virtualTime: 0,
        lastTurns: new Map(),
        mostTurns: MAX_REMEMBERED_OWNERS,
      };
      priorities.push(place);
      priorities.sort((a, b) => b.priority - a.priority);
    }
    return place;
  }
}

function count(counts: Map<string, number>, owner: string, by: number): void {
  const next = (counts.get(owner) ?? 0) + by;
  if (next === 0) counts.delete(owner);
  else counts.set(owner, next);
}

function remember(place: Priority, owner: string, turn: number): void {
  place.lastTurns.set(owner, turn);
  if (place.lastTurns.size <= place.mostTurns) return;
  for (const [other, last] of place.lastTurns) if (last <= place.virtualTime) place.lastTurns.delete(other);
  place.mostTurns = Math.max(MAX_REMEMBERED_OWNERS, place.lastTurns.size * 2);
}
