// Plays a list of steps on a store, and holds what it answers against the promises after each of them. At the end every
// job is worked off, expires, and is forgotten; so the next list finds an empty store.

import type { Event } from "../../core/event.ts";
import type { Clock } from "../../store/clock.ts";
import {
  type Counts,
  type Sight,
  type Store,
  StoreUnavailable,
  type Write,
  type Written,
} from "../../store/store.ts";
import { explain } from "./explain.ts";
import { hold, Knowledge, operationOf, type Span, type Window } from "./known.ts";
import { gapless, look, type Seen, sameLine, turns } from "./look.ts";
import type { Issued } from "./promises.ts";
import type { ClaimStep, Step, WriteStep } from "./steps.ts";
import { OPERATIONS } from "./steps.ts";
import { claimOf, outcomeOf, submitOf } from "./writes.ts";

/** What a list of steps is played on. */
export interface Stage {
  readonly clock: Clock;
  /** The store, and others on the same jobs. */
  readonly instances: Store[];
  readonly reopen: (() => Promise<Store>) | undefined;
  readonly crash: (() => Promise<Store>) | undefined;
  /** The last event of what was played on it before, which the store may have forgotten by now. */
  lastSeq: number;
}

/** The store's server may have another clock, a little. */
const SLACK_MS = 100;
const DAY_MS = 24 * 3600 * 1000;
const MOST_ROUNDS = 80;
const MOST_UNHEARD_MS = 20 * 3600 * 1000;

let played = 0;

/** @throws Broken where a promise is not kept. */
export async function play(stage: Stage, steps: readonly Step[]): Promise<void> {
  await new Play(stage, `${++played}`).run(steps);
}

class Play {
  readonly #stage: Stage;
  readonly #name: string;
  #known = new Knowledge();
  #seen: Seen = new Map();
  #steppedMs = 0;
  #ids = 0;
  #unheardMs = 0;
  #counts: Counts | null = null;
  #paused: readonly string[] = [];
  /** Every attempt that was ever handed out. */
  readonly #attempts: { readonly row: number; readonly attempt: number }[] = [];
  readonly #heard: Event[][] = [];
  #unlisten: (() => void)[] = [];

  constructor(stage: Stage, name: string) {
    this.#stage = stage;
    this.#name = name;
  }

  async run(steps: readonly Step[]): Promise<void> {
    const first = this.#stage.lastSeq;
    for (const instance of this.#stage.instances.keys()) this.#listen(instance);
    try {
      for (const step of steps) await this.#step(step);
      await this.#end();
      await this.#hear();
      for (const heard of this.#heard) {
        const mine = heard.filter(({ seq }) => seq > first);
        gapless(mine, (mine[0]?.seq ?? 1) - 1);
      }
    } finally {
      for (const stop of this.#unlisten) stop();
      if (this.#steppedMs !== 0) this.#stage.clock.step(-this.#steppedMs);
    }
  }

  async #step(step: Step): Promise<void> {
    const instance = step.at % this.#stage.instances.length;
    switch (step.do) {
      case "pass":
        return this.#pass(step.ms);
      case "step":
        // A day to either side, and back.
        if (Math.abs(this.#steppedMs + step.ms) > DAY_MS) return;
        this.#stage.clock.step(step.ms);
        this.#steppedMs += step.ms;
        return;
      case "overtake":
        await this.#pass(16_000);
        await this.#issue([{ do: "sweep", limit: 500 }], () => instance);
        await this.#pass(70_000);
        return this.#issue([{ ...step.claim, limit: 10 }], () => instance);
      case "together":
        return this.#issue(step.writes, (index) => (step.at + index) % this.#stage.instances.length);
      case "reopen":
        return this.#reopen(step.writes);
      case "crash":
        return this.#crash();
      default:
        return this.#issue([step], () => instance);
    }
  }

  // Asks all at once, waits for all answers, and looks.
  async #issue(steps: readonly WriteStep[], instanceOf: (index: number) => number): Promise<void> {
    const asked = steps.flatMap((step, index) => {
      const write = this.#write(step);
      return write === null ? [] : [{ step, write, instance: instanceOf(index) }];
    });
    const from = this.#stage.clock.moment();
    const waiting = new Set<string>();
    const answers = asked.map(({ write, instance }) => {
      if (write.do === "claim" && (write.waitMs ?? 0) > 0) waiting.add(write.worker);
      return ask(this.#store(instance), write);
    });
    const isWaiting = (write: Write) => write.do === "claim" && waiting.has(write.worker);
    await Promise.all(answers.filter((_, index) => !isWaiting((asked[index] as { write: Write }).write)));
    for (const { write, instance } of asked)
      if (write.do === "claim" && isWaiting(write))
        await this.#store(instance).write({ do: "withdraw", worker: write.worker });
    const written = await Promise.all(answers);
    const issued = asked.map(
      ({ write, instance }, index): Issued => ({
        write,
        instance,
        isAlone: asked.length === 1,
        written: written[index] as Written | null,
      }),
    );
    await this.#look(issued, from);
  }

  async #look(issued: readonly Issued[], from: { now: number; steadyNow?: number }): Promise<void> {
    const before = this.#known;
    const sights = this.#seen;
    const rows = issued.flatMap(({ written }) =>
      written !== null && "did" in written && written.did === "submit" ? [written.job.row] : [],
    );
    const [events, answered] = await this.#read([...before.jobs.keys(), ...rows]);
    // What was kept without an answer is known by its event only.
    const isWhole = events.every(({ row }) => answered.has(row));
    const seen = isWhole
      ? answered
      : (await this.#read([...before.jobs.keys(), ...events.map(({ row }) => row)]))[1];
    const to = this.#stage.clock.moment();
    const when: Window = {
      now: span(from.now, to.now),
      steady: span(from.steadyNow ?? from.now, to.steadyNow ?? to.now),
    };
    const [only] = issued;
    if (issued.length === 1 && only?.written != null && only.write.do === "claim")
      turns(before, only.write, only.written, sights, when);
    const heard = new Knowledge(before);
    heard.hear(events);
    this.#known = explain(heard, issued, when, (known) => {
      const isPaused = [...known.paused].sort().join() === this.#paused.join();
      hold(
        isPaused,
        () => `Held back are ${this.#paused.join(", ")}; it should be ${[...known.paused].join(", ")}.`,
      );
      look(known, seen, this.#window());
    });
    this.#seen = seen;
    for (const { written } of issued)
      if (written !== null && "did" in written && written.did === "claim")
        for (const { row, attempt } of written.jobs) this.#attempts.push({ row, attempt });
    this.#count();
  }

  // Closing waits for what is under way; whether that was kept, its answer says, or the store when it is opened again.
  async #reopen(steps: readonly WriteStep[]): Promise<void> {
    const { reopen } = this.#stage;
    if (reopen === undefined) return;
    const close = () => this.#store(0).close();
    await this.#renew(
      () => close().then(reopen),
      steps.flatMap((step) => this.#write(step) ?? []),
    );
  }

  async #crash(): Promise<void> {
    const { crash } = this.#stage;
    if (crash !== undefined) await this.#renew(crash, []);
  }

  // Whatever was under way, what stood before stands as it did: the look tells. Then the line must be the same.
  async #renew(open: () => Promise<Store>, writes: readonly Write[]): Promise<void> {
    const from = this.#stage.clock.moment();
    const before = this.#seen;
    const answers = writes.map((write) => ask(this.#store(0), write));
    this.#stage.instances[0] = await open();
    this.#heard[0] = [];
    this.#listen(0);
    const written = await Promise.all(answers);
    // Nobody renews what the one before held.
    for (const job of [...this.#known.jobs.values()])
      if (job.heldBy === 0) this.#known.set({ ...job, heldBy: null });
    await this.#look(
      writes.map((write, index) => ({ write, instance: 0, isAlone: false, written: written[index] ?? null })),
      from,
    );
    if (writes.length === 0) sameLine(before, this.#seen);
  }

  #listen(instance: number): void {
    const heard: Event[] = [];
    this.#heard[instance] = heard;
    this.#unlisten[instance]?.();
    this.#unlisten[instance] = this.#store(instance).listen((events) => heard.push(...events));
  }

  // Works all of it off: whatever was done before, each job comes to one end, expires, and is forgotten.
  async #end(): Promise<void> {
    this.#stage.clock.step(-this.#steppedMs);
    const wasSet = this.#steppedMs !== 0;
    this.#steppedMs = 0;
    const first = () => 0;
    const sweep = { do: "sweep", limit: 500 } as const;
    const slots = Array.from({ length: OPERATIONS }, () => 5);
    const claim: ClaimStep = { do: "claim", worker: 9, slots, limit: 10, held: false, waits: false };
    for (const operation of this.#known.paused) await this.#ask({ do: "pause", operation, paused: false });
    for (let round = 0; this.#known.active.size > 0; round++) {
      hold(round < MOST_ROUNDS, () => `A1: row ${[...this.#known.active][0]} comes to no end.`);
      await this.#pass(round < 3 ? 61_000 : 3 * 3600 * 1000);
      await this.#issue([sweep], first);
      await this.#issue([claim], first);
      const running = [...this.#known.activeJobs()].filter(({ status }) => status === "processing");
      await this.#issue(
        running.map((_, pick) => ({ do: "settle", pick, late: false, outcome: 0 })),
        first,
      );
    }
    // Where the clock was set, a day may be lost.
    for (const passMs of [wasSet ? 5 * DAY_MS : 4 * DAY_MS, 31 * DAY_MS, ...(wasSet ? [2 * DAY_MS] : [])]) {
      await this.#pass(passMs);
      // What another instance holds just then, as who renews its lease, is the next sweep's.
      for (let swept = 1; ; swept++) {
        await this.#issue([sweep], first);
        const late = [...this.#known.jobs.values()].find(({ gone }) => gone === null);
        if (late === undefined) break;
        hold(
          swept < MOST_ROUNDS,
          () => `Row ${late.row} was settled for ${passMs / DAY_MS} days, and has not expired.`,
        );
      }
    }
    const [left] = this.#known.jobs.keys();
    hold(left === undefined, `Row ${left} was gone for more than 30 days, and is still there.`);
    const { operations } = await this.#store(0).read({ get: "counts" });
    for (const [operation, { queued, processing }] of Object.entries(operations))
      hold(
        queued === 0 && processing === 0,
        `Of ${operation}, ${queued} wait and ${processing} run, it is said.`,
      );
  }

  async #pass(ms: number): Promise<void> {
    // Nobody lags behind for a day: what was told must have been heard before it may be forgotten.
    this.#unheardMs += ms;
    if (this.#unheardMs > MOST_UNHEARD_MS) {
      await this.#hear();
      this.#unheardMs = 0;
    }
    this.#stage.clock.pass(ms);
  }

  // All that is in the feed is heard by whoever listens.
  async #hear(): Promise<void> {
    const { lastSeq } = this.#stage;
    for (const [instance, heard] of this.#heard.entries()) {
      for (let waitedMs = 0; (heard.at(-1)?.seq ?? lastSeq) < lastSeq; waitedMs += 5) {
        hold(waitedMs < 10_000, `Instance ${instance} did not hear of event ${lastSeq}.`);
        await new Promise((done) => setTimeout(done, 5));
      }
    }
  }

  async #ask(write: Write): Promise<void> {
    const from = this.#stage.clock.moment();
    const written = await ask(this.#store(0), write);
    await this.#look([{ write, written, instance: 0, isAlone: true }], from);
  }

  /** What a step asks the store for; null where there is nothing that it could be about. */
  #write(step: WriteStep): Write | null {
    const { jobs } = this.#known;
    switch (step.do) {
      case "submit":
        return submitOf(step, this.#name, `${this.#name}-${++this.#ids}`);
      case "claim":
        return claimOf(step, this.#known.activeJobs(), this.#name, `${this.#name}-${++this.#ids}`);
      case "cancel": {
        const job = pickOf([...jobs.values()], step.pick);
        return job && { do: "cancel", address: job.write.address };
      }
      case "heartbeat":
      case "settle": {
        const attempt = pickOf<{ readonly row: number; readonly attempt: number }>(
          step.late ? this.#over() : this.#running(),
          step.pick,
        );
        if (attempt === null) return null;
        const { row, attempt: number } = attempt;
        if (step.do === "settle")
          return { do: "settle", row, attempt: number, outcome: outcomeOf(step.outcome) };
        const told = step.tells === null ? {} : { progress: step.tells, message: `at ${step.tells}` };
        const checkpoint = step.checkpoint ? { checkpoint: `{"at":${++this.#ids}}` } : {};
        return { do: "heartbeat", row, attempt: number, ...told, ...checkpoint };
      }
      case "sweep":
        return step;
      case "pause":
        return {
          do: "pause",
          operation: `operation ${step.operation} of ${this.#name}`,
          paused: step.paused,
        };
      case "learn": {
        const operation = `operation ${step.operation} of ${this.#name}`;
        return {
          do: "learn",
          operation,
          durations: { at: this.#stage.clock.moment().now, buckets: [10, 1] },
        };
      }
    }
  }

  #running() {
    return [...this.#known.activeJobs()].filter(({ status }) => status === "processing");
  }

  // Attempts that are over: rather those whose job is worked again than those whose job has settled.
  #over() {
    const overtaken = this.#attempts.filter(({ row, attempt }) => {
      const job = this.#known.jobs.get(row);
      return job?.status === "processing" && job.attempt > attempt;
    });
    return overtaken.length > 0 ? overtaken : this.#attempts;
  }

  #store(instance: number): Store {
    return this.#stage.instances[instance] as Store;
  }

  #window(): Window {
    const { now, steadyNow = now } = this.#stage.clock.moment();
    return { now: span(now, now), steady: span(steadyNow, steadyNow) };
  }

  // The feed as it went on, and the rows, at one of the instances: what one has kept, all show.
  async #read(
    rows: readonly number[],
  ): Promise<readonly [events: readonly Event[], sights: Map<number, Sight>]> {
    const store = this.#store(++this.#ids % this.#stage.instances.length);
    const after = this.#stage.lastSeq;
    const [events, sights, counts, paused] = await Promise.all([
      store.read({ get: "events", after, limit: 1000 }),
      store.read({ get: "rows", rows }),
      store.read({ get: "counts" }),
      store.read({ get: "paused" }),
    ]);
    this.#paused = paused.filter((operation) => operation.endsWith(` of ${this.#name}`)).sort();
    gapless(events, after);
    this.#stage.lastSeq += events.length;
    this.#counts = counts;
    return [events, new Map(sights.map((sight) => [sight.job.row, sight]))];
  }

  // How many wait and run of each operation is told as it is.
  #count(): void {
    for (let index = 0; index < OPERATIONS; index++) {
      const operation = `operation ${index} of ${this.#name}`;
      const { queued, processing } = this.#counts?.operations[operation] ?? { queued: 0, processing: 0 };
      const mine = [...this.#known.activeJobs()].filter((job) => operationOf(job) === operation);
      const waits = mine.filter(({ status }) => status === "queued").length;
      const isSo = queued === waits && processing === mine.length - waits;
      hold(
        isSo,
        () =>
          `Of ${mine.length} jobs of an operation ${waits} wait; it is said ${queued}, and ${processing} run.`,
      );
    }
  }
}

function ask(store: Store, write: Write): Promise<Written | null> {
  return store.write(write).catch((error: unknown) => {
    // It was kept or it was not: the store says so to whoever asks again.
    if (error instanceof StoreUnavailable) return null;
    throw error;
  });
}

function pickOf<One>(some: readonly One[], pick: number): One | null {
  return some.length === 0 ? null : (some[pick % some.length] as One);
}

function span(from: number, to: number): Span {
  return [from - SLACK_MS, to + SLACK_MS];
}
