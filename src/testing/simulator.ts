// The seeded simulator: a whole house in one process, with a clock and dice of its own. Callers submit, repeat and cancel;
// workers crash, freeze past their lease and come back, or block and hear nothing; clocks are set a day to and fro. Years pass
// in seconds, every answer is held against the promises, and one seed plays any run again.
//
//   next thing that happens ──► clock goes there ──► write ──► answer and events ──► the model (model/promises.ts)
//
// Nothing in it waits: a store that answers without looking at another clock gives the same run for the same seed.

import type { Event } from "../core/event.ts";
import type { Job } from "../core/job.ts";
import type { AttemptOutcome } from "../core/machine.ts";
import type { Clock } from "../store/clock.ts";
import type { Sight, Store, Write, WrittenOf } from "../store/store.ts";
import { Broken, hold, Knowledge, type Window } from "./model/known.ts";
import { gapless, look } from "./model/look.ts";
import { apply } from "./model/promises.ts";
import { OPERATIONS, OWNERS, type SubmitStep } from "./model/steps.ts";
import { outcomeOf, submitOf } from "./model/writes.ts";
import { Agenda, diceOf, VirtualClock } from "./virtual-time.ts";

export interface SimulationOptions {
  /** Any whole number; the same one gives the same run. */
  readonly seed: number;
  /** How long the house is open, in simulated hours. Default 1000. */
  readonly hours?: number;
  /** Opens an empty store that decides by this clock, in this thread, and begins nothing of itself while nobody waits. */
  readonly open: (clock: Clock) => Store;
}

/** What happened, so that a run that tested nothing shows. */
export interface Simulation {
  readonly hours: number;
  readonly writes: number;
  readonly jobs: number;
  readonly repeats: number;
  readonly refused: number;
  readonly attempts: number;
  readonly completed: number;
  readonly failed: number;
  readonly canceled: number;
  readonly crashes: number;
  readonly freezes: number;
  /** Words of attempts that were over by then; none had effect. */
  readonly late: number;
  readonly clockSteps: number;
  readonly expired: number;
}

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const WORKERS = 4;
const SLOTS = 3;
/** All rows are read this often; what a write touches is seen at once by its answer and its events. */
const LOOK_EVERY_MS = 6 * HOUR_MS;

/** Plays a house. @throws Error with the seed where a promise is broken. */
export async function simulate(options: SimulationOptions): Promise<Simulation> {
  const house = new House(options);
  try {
    return await house.run((options.hours ?? 1000) * HOUR_MS);
  } catch (error) {
    if (!(error instanceof Broken)) throw error;
    const after = `${(house.passedMs / HOUR_MS).toFixed(3)} simulated hours`;
    throw new Error(`Seed ${options.seed}, after ${after}: ${error.message}`, { cause: error });
  }
}

interface Running {
  readonly job: Job;
  /** Blocked threads renew their lease from another one, but hear of no cancel. */
  readonly isBlocked: boolean;
  isOver: boolean;
}

interface Worker {
  readonly number: number;
  /** A new one after each crash: nobody knows its attempts then. */
  life: number;
  frozenUntil: number;
  running: Running[];
}

class House {
  passedMs = 0;
  readonly #dice: () => number;
  readonly #clock: VirtualClock;
  readonly #store: Store;
  readonly #agenda = new Agenda();
  readonly #known = new Knowledge();
  readonly #workers: Worker[] = [];
  #lastSeq = 0;
  #lastLook = 0;
  #ids = 0;
  #endMs = 0;
  readonly #counts = {
    writes: 0,
    jobs: 0,
    repeats: 0,
    refused: 0,
    attempts: 0,
    completed: 0,
    failed: 0,
    canceled: 0,
    crashes: 0,
    freezes: 0,
    late: 0,
    clockSteps: 0,
    expired: 0,
  };

  constructor({ seed, open }: SimulationOptions) {
    this.#dice = diceOf(seed);
    this.#clock = new VirtualClock(this.#dice);
    this.#store = open(this.#clock);
  }

  async run(ms: number): Promise<Simulation> {
    this.#endMs = ms;
    this.#after(0, () => this.#call());
    this.#after(HOUR_MS, () => this.#sweep());
    this.#after(10 * HOUR_MS, () => this.#setClock());
    this.#after(20 * HOUR_MS, () => this.#pause());
    for (let number = 0; number < WORKERS; number++) {
      const worker = { number, life: 0, frozenUntil: 0, running: [] };
      this.#workers.push(worker);
      this.#after(number * SECOND_MS, () => this.#work(worker));
    }
    try {
      for (let next = this.#agenda.take(); next !== null; next = this.#agenda.take()) {
        this.#clock.pass(Math.max(0, next.atMs - this.passedMs));
        this.passedMs = Math.max(this.passedMs, next.atMs);
        await next.run();
      }
      await this.#look();
      hold(this.#known.active.size === 0, () => `A1: row ${[...this.#known.active][0]} came to no end.`);
    } finally {
      await this.#store.close();
    }
    return { hours: this.passedMs / HOUR_MS, ...this.#counts };
  }

  get #isOpen(): boolean {
    return this.passedMs < this.#endMs;
  }

  // A caller: bursts and pauses, repeats of what was sent, cancels.
  async #call(): Promise<void> {
    if (!this.#isOpen) return;
    const burst = this.#chance(0.15) ? this.#between(2, 12) : 1;
    for (let index = 0; index < burst; index++) {
      const write = submitOf(this.#submission(), "the house", `${++this.#ids}`);
      const written = await this.#write(write);
      if ("refused" in written) this.#counts.refused++;
      else if (written.replayed) this.#counts.repeats++;
      else this.#counts.jobs++;
      if ("did" in written && this.#chance(0.1)) {
        const { address } = write;
        this.#after(this.#between(0, 2 * MINUTE_MS), () => this.#write({ do: "cancel", address }));
      }
    }
    this.#after(this.#between(0, 40 * MINUTE_MS), () => this.#call());
  }

  #submission(): SubmitStep {
    const pick = <One>(...some: readonly One[]) => some[Math.floor(this.#dice() * some.length)] as One;
    return {
      do: "submit",
      owner: this.#between(0, OWNERS - 1),
      operation: this.#between(0, OPERATIONS - 1),
      same: pick("none", "none", "none", "key-0", "key-1", "content", "id-0"),
      payload: pick(0, 0, 0, 1),
      delayMs: pick(0, 0, 0, 5000, 10 * MINUTE_MS),
      startWithinMs: pick(null, null, null, 20_000),
      policy: {
        priority: pick(0, 0, 0, 1, -1),
        weight: pick(1, 1, 3),
        running: pick(null, null, null, 1, 2),
        isolated: pick(true, false),
        maxAttempts: pick(1, 2, 3, 9),
        retentionMs: pick(2000, HOUR_MS, 3 * DAY_MS),
      },
      active: pick(null, null, 2, 5),
      operationBacklog: pick(1e9, 1e9, 5),
      backlog: pick(1e9, 1e9, 12),
    };
  }

  // A worker asks for as much as it has room for, and works on what it gets.
  async #work(worker: Worker): Promise<void> {
    const isIdle = worker.running.length === 0;
    if (!this.#isOpen && isIdle && this.#known.active.size === 0) return;
    const isCalm = isIdle && this.#known.active.size === 0;
    this.#after(isCalm ? this.#between(1, 20) * MINUTE_MS : this.#between(2, 20) * SECOND_MS, () =>
      this.#work(worker),
    );
    if (worker.frozenUntil > this.passedMs) return;
    const free = SLOTS - worker.running.length;
    const exposed = worker.running.filter(({ job }) => !job.policy.isolated);
    const claimed = await this.#write({
      do: "claim",
      worker: `worker ${worker.number}, life ${worker.life}`,
      slots: Object.fromEntries(
        Array.from({ length: OPERATIONS }, (_, index) => [`operation ${index} of the house`, free]),
      ),
      limit: free,
      running: exposed.length,
      suspects: exposed.filter(({ job }) => job.crashes > 0).length,
      held: false,
    });
    if (!("did" in claimed)) return;
    for (const job of claimed.jobs) this.#begin(worker, job);
  }

  #begin(worker: Worker, job: Job): void {
    this.#counts.attempts++;
    const running = { job, isBlocked: this.#chance(0.1), isOver: false };
    worker.running.push(running);
    const { life } = worker;
    const isMine = () => worker.life === life && !running.isOver;
    // Some outlive their time, some their lease.
    const lasts = this.#chance(0.05) ? MINUTE_MS : this.#between(100, 25 * SECOND_MS);
    this.#later(worker, lasts, isMine, () => this.#settle(worker, running, outcomeOf(this.#outcome())));
    if (this.#chance(0.15)) this.#later(worker, this.#between(0, lasts), isMine, () => this.#trouble(worker));
    this.#later(worker, job.policy.leaseMs / 3, isMine, () => this.#beat(worker, running, isMine));
  }

  #outcome(): number {
    return this.#chance(0.7) ? 0 : this.#between(1, 6);
  }

  async #beat(worker: Worker, running: Running, isMine: () => boolean): Promise<void> {
    const { row, attempt, policy } = running.job;
    const told = running.isBlocked
      ? {}
      : { progress: this.#between(0, 9) * 10, checkpoint: `{"at":${this.passedMs}}` };
    const kept = await this.#write({ do: "heartbeat", row, attempt, ...told });
    if ("refused" in kept) {
      this.#counts.late++;
      return this.#drop(worker, running);
    }
    if (kept.cancel && !running.isBlocked) return this.#settle(worker, running, { kind: "canceled" });
    this.#later(worker, policy.leaseMs / 3, isMine, () => this.#beat(worker, running, isMine));
  }

  async #settle(worker: Worker, running: Running, outcome: AttemptOutcome): Promise<void> {
    const { row, attempt } = running.job;
    this.#drop(worker, running);
    const kept = await this.#write({ do: "settle", row, attempt, outcome });
    if ("refused" in kept) this.#counts.late++;
    // An answer that got lost on its way: it is said again, and has no effect.
    if (this.#chance(0.05)) await this.#write({ do: "settle", row, attempt, outcome });
  }

  #drop(worker: Worker, running: Running): void {
    running.isOver = true;
    worker.running = worker.running.filter((other) => other !== running);
  }

  // A crash loses all that runs; a freeze goes on with it where it stood, late.
  #trouble(worker: Worker): void {
    if (this.#chance(0.5)) {
      worker.life++;
      worker.running = [];
      this.#counts.crashes++;
    } else {
      worker.frozenUntil = this.passedMs + this.#between(10 * SECOND_MS, 3 * MINUTE_MS);
      this.#counts.freezes++;
    }
  }

  async #setClock(): Promise<void> {
    const set = this.#clock.steppedMs;
    if (set !== 0) this.#clock.step(-set);
    else if (this.#isOpen) this.#clock.step(this.#chance(0.5) ? DAY_MS : -DAY_MS);
    else return;
    this.#counts.clockSteps++;
    this.#after(set === 0 ? this.#between(MINUTE_MS, 2 * HOUR_MS) : this.#between(HOUR_MS, 4 * DAY_MS), () =>
      this.#setClock(),
    );
  }

  async #pause(): Promise<void> {
    const [held] = this.#known.paused;
    if (held !== undefined) await this.#write({ do: "pause", operation: held, paused: false });
    else if (this.#isOpen)
      await this.#write({
        do: "pause",
        operation: `operation ${this.#between(0, 2)} of the house`,
        paused: true,
      });
    else return;
    this.#after(held === undefined ? this.#between(0, HOUR_MS) : this.#between(0, 2 * DAY_MS), () =>
      this.#pause(),
    );
  }

  async #sweep(): Promise<void> {
    const swept = await this.#write({ do: "sweep", limit: 500 });
    if ("did" in swept) this.#counts.expired += swept.gone.length;
    if (this.passedMs - this.#lastLook >= LOOK_EVERY_MS) await this.#look();
    if (!this.#isOpen && this.#known.active.size === 0 && this.#known.paused.size === 0) return;
    this.#after(this.#known.active.size > 0 ? 15 * SECOND_MS : 10 * MINUTE_MS, () => this.#sweep());
  }

  async #write<W extends Write>(write: W): Promise<WrittenOf<W>> {
    const when = this.#window();
    const written = await this.#store.write(write);
    const events = await this.#store.read({ get: "events", after: this.#lastSeq, limit: 10_000 });
    gapless(events, this.#lastSeq);
    this.#lastSeq += events.length;
    this.#known.hear(events);
    apply(this.#known, { write, written, instance: 0, isAlone: true }, when);
    for (const event of events) this.#count(event);
    const [left] = this.#known.unexplained.values();
    hold(left === undefined, `Nothing that was asked for explains the event "${left?.[0]?.kind}".`);
    this.#counts.writes++;
    return written;
  }

  #count({ kind }: Event): void {
    if (kind === "completed" || kind === "failed" || kind === "canceled") this.#counts[kind]++;
  }

  async #look(): Promise<void> {
    this.#lastLook = this.passedMs;
    const sights = await this.#store.read({ get: "rows", rows: [...this.#known.jobs.keys()] });
    look(this.#known, new Map(sights.map((sight: Sight) => [sight.job.row, sight])), this.#window());
  }

  #window(): Window {
    const { now, steadyNow = now } = this.#clock.moment();
    return { now: [now, now], steady: [steadyNow, steadyNow] };
  }

  #after(ms: number, run: () => unknown): void {
    this.#agenda.add(this.passedMs + ms, run);
  }

  // What a worker means to do waits as long as it is frozen, and does not happen where it was lost.
  #later(worker: Worker, ms: number, isMine: () => boolean, run: () => unknown): void {
    this.#after(ms, () => {
      if (!isMine()) return;
      if (worker.frozenUntil <= this.passedMs) return run();
      this.#later(worker, worker.frozenUntil - this.passedMs, isMine, run);
    });
  }

  #chance(share: number): boolean {
    return this.#dice() < share;
  }

  #between(from: number, to: number): number {
    return from + Math.floor(this.#dice() * (to - from + 1));
  }
}
