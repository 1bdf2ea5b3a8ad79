// What a case of the store's suite works with: a store, its clock, and short ways to say what callers and workers do.

import { createHash } from "node:crypto";
import { expect, vi } from "vitest";
import type { Event } from "../../core/event.ts";
import type { Job, Policy } from "../../core/job.ts";
import type { AttemptOutcome, Submission } from "../../core/machine.ts";
import type { Clock } from "../../store/clock.ts";
import type {
  ClaimWrite,
  Digest,
  Limits,
  Sameness,
  Sight,
  Store,
  SubmitWrite,
  Write,
  Written,
} from "../../store/store.ts";

export const HOUR_MS = 3600 * 1000;
export const DAY_MS = 24 * HOUR_MS;

/** A case of the suite. Its title is a sentence that every store keeps. */
export interface Case {
  readonly title: string;
  /** It counts the whole store, or ends it: it gets one of its own. */
  readonly alone?: true;
  run(desk: Desk): Promise<void>;
}

/** No dice, short waits, and every limit at hand. */
export const POLICY: Policy = {
  maxAttempts: 3,
  backoff: { kind: "exponential", baseMs: 1000, maxMs: 60_000, jitter: 0 },
  timeoutMs: HOUR_MS,
  leaseMs: 15_000,
  graceMs: 5000,
  retentionMs: HOUR_MS,
  priority: 0,
  weight: 1,
  running: null,
  isolated: false,
};

export const UNLIMITED: Limits = { active: null, operationBacklog: 1e9, backlog: 1e9 };

export const COMPLETED: AttemptOutcome = { kind: "completed", result: { json: '{"ok":true}' }, files: [] };
export const FAILED = {
  kind: "failed",
  problem: { type: "failed", title: "It failed", status: 500 },
  final: false as boolean,
} as const;
export const CRASHED: AttemptOutcome = { kind: "crashed", detail: "exit 137" };
export const RELEASED: AttemptOutcome = { kind: "released" };

export interface Asked extends Partial<Omit<Submission, "policy">> {
  readonly policy?: Partial<Policy>;
  /** The text of an idempotency key; its digest covers owner and operation. */
  readonly key?: string;
  /** What was sent under the key or id; default the input. */
  readonly fingerprint?: string;
  readonly reach?: "life" | "live";
  readonly idFromCaller?: boolean;
  readonly limits?: Partial<Limits>;
}

type Submitted = Extract<Written, { did: "submit" }>;
export type Claimed = Extract<Written, { did: "claim" }>;

/** What else a desk can open. */
export interface Opens {
  /** The same store once more, as another process would. */
  readonly another?: () => Promise<Store>;
  readonly empty?: () => Promise<{ readonly store: Store; close(): Promise<void> }>;
}

let desks = 0;
let ids = 0;

export class Desk {
  store: Store;
  readonly clock: Clock;
  /** Opens the same store anew, once the one before is closed; where it outlives its process. */
  readonly reopens: (() => Promise<Store>) | undefined;
  readonly operation: string;
  readonly owner: string;
  /** Every event since the case began, of its own jobs or not. */
  readonly heard: Event[] = [];
  readonly #opens: Opens;
  /** Other instances on the same jobs, which what is asked for is spread over. */
  #beside: Store[] = [];
  #turn = 0;
  #unlisten: () => void;

  constructor(store: Store, clock: Clock, reopens: (() => Promise<Store>) | undefined, opens: Opens = {}) {
    this.store = store;
    this.clock = clock;
    this.reopens = reopens;
    this.#opens = opens;
    this.operation = `operation-${++desks}`;
    this.owner = `owner ${desks}`;
    this.#unlisten = store.listen((events) => this.heard.push(...events));
  }

  async end(): Promise<void> {
    this.#unlisten();
    await Promise.all(this.#beside.map((store) => store.close()));
  }

  /** From now on each write is given to another instance of the store, where it can have several. */
  async spread(): Promise<void> {
    if (this.#opens.another !== undefined) this.#beside = [await this.#opens.another()];
  }

  /** The instances that writes are spread over. */
  get instances(): readonly Store[] {
    return [this.store, ...this.#beside];
  }

  /** Waits until all that is in the feed was heard. */
  hearAll(): Promise<void> {
    return this.until(async () => {
      const after = this.heard.at(-1)?.seq ?? 0;
      expect(await this.store.read({ get: "events", after, limit: 1 })).toEqual([]);
    });
  }

  /** Opens an empty store of the same kind, by the same clock. */
  async empty(): Promise<{ readonly desk: Desk; close(): Promise<void> }> {
    if (this.#opens.empty === undefined) throw new Error("This desk opens no other store.");
    const { store, close } = await this.#opens.empty();
    const desk = new Desk(store, this.clock, undefined);
    return { desk, close: () => desk.end().then(close) };
  }

  /** Closes the store and opens it again; null where a store does not outlive its process. */
  async reopen(): Promise<Store | null> {
    if (this.reopens === undefined) {
      expect(this.store.durability).toBe("process");
      return null;
    }
    this.#unlisten();
    await this.store.close();
    this.store = await this.reopens();
    this.#unlisten = this.store.listen((events) => this.heard.push(...events));
    return this.store;
  }

  get now(): number {
    return this.clock.moment().now;
  }

  write<W extends Write>(write: W) {
    return this.#next().write(write);
  }

  #next(): Store {
    return this.instances[this.#turn++ % this.instances.length] as Store;
  }

  submitting({ policy = {}, key, fingerprint, reach = "life", idFromCaller, limits, ...rest }: Asked = {}) {
    const submission: Submission = {
      id: `id-${++ids}`,
      owner: this.owner,
      operation: this.operation,
      input: '{"n":1}',
      upload: null,
      trace: null,
      delayMs: 0,
      startWithinMs: null,
      ...rest,
      policy: { ...POLICY, ...policy },
    };
    const { id, owner, operation, input } = submission;
    const print = digest(`sent ${fingerprint ?? input}`);
    const content = digest(`content ${owner} ${operation} ${input}`);
    let sameness: Sameness | null = null;
    if (key !== undefined)
      sameness = { key: digest(`key ${owner} ${operation} ${key}`), fingerprint: print, reach };
    else if (reach === "live") sameness = { key: content, fingerprint: content, reach };
    return {
      do: "submit",
      submission,
      sameness,
      address: addressOf(owner, id),
      idFingerprint: idFromCaller === true ? print : null,
      limits: { ...UNLIMITED, ...limits },
    } satisfies SubmitWrite;
  }

  submit(asked: Asked = {}) {
    return this.write(this.submitting(asked));
  }

  /** A submit that must be let through. */
  async accept(asked: Asked = {}): Promise<Submitted> {
    const written = await this.submit(asked);
    if (!("did" in written)) throw new Error(`The submit was refused as ${written.refused}.`);
    return written;
  }

  async job(asked: Asked = {}): Promise<Job> {
    return (await this.accept(asked)).job;
  }

  jobs(count: number, asked: Asked = {}): Promise<Job[]> {
    return Promise.all(Array.from({ length: count }, () => this.job(asked)));
  }

  async claim(some: Partial<Omit<ClaimWrite, "do">> & { operation?: string } = {}): Promise<Claimed> {
    const { operation = this.operation, ...rest } = some;
    const written = await this.write({
      do: "claim",
      worker: "worker",
      slots: { [operation]: 1000 },
      limit: 1000,
      running: 0,
      held: false,
      ...rest,
    });
    if (!("did" in written)) throw new Error(`The claim was refused as ${written.refused}.`);
    return written;
  }

  /** The next attempt, which there must be. */
  async attempt(some: Partial<Omit<ClaimWrite, "do">> & { operation?: string } = {}): Promise<Job> {
    const [job] = (await this.claim({ limit: 1, ...some })).jobs;
    if (job === undefined) throw new Error("There was nothing to claim.");
    return job;
  }

  settle(job: Job, outcome: AttemptOutcome = COMPLETED) {
    return this.write({ do: "settle", row: job.row, attempt: job.attempt, outcome });
  }

  beat(job: Job, beat: { progress?: number | null; message?: string | null; checkpoint?: string } = {}) {
    return this.write({ do: "heartbeat", row: job.row, attempt: job.attempt, ...beat });
  }

  cancel(job: Job) {
    return this.write({ do: "cancel", address: addressOf(job.owner, job.id) });
  }

  /** Sweeps until nothing more is due; gives the addresses whose files may go. */
  async sweep(): Promise<Digest[]> {
    const gone: Digest[] = [];
    for (;;) {
      const swept = await this.write({ do: "sweep", limit: 500 });
      if (!("did" in swept)) throw new Error(`The sweep was refused as ${swept.refused}.`);
      gone.push(...swept.gone);
      if (!swept.more) return gone;
    }
  }

  see(job: Job): Promise<Sight | null> {
    return this.store.read({ get: "job", address: addressOf(job.owner, job.id) });
  }

  /** A job that must be there. */
  async get(job: Job): Promise<Job> {
    const sight = await this.see(job);
    if (sight === null) throw new Error(`Job ${job.id} is not there.`);
    return sight.job;
  }

  /** The events of a job that were heard so far. */
  eventsOf(job: Job): Event[] {
    return this.heard.filter(({ row, id }) => row === job.row && id === job.id);
  }

  /** Waits until it is so. */
  until(isSo: () => void | Promise<void>): Promise<void> {
    return vi.waitFor(isSo, { timeout: 10_000, interval: 20 });
  }

  /** A settled job, as it stands. */
  async done(asked: Asked = {}, outcome: AttemptOutcome = COMPLETED): Promise<Job> {
    const { row } = await this.job(asked);
    const job = await this.attempt({ operation: asked.operation ?? this.operation });
    if (job.row !== row) throw new Error("Another job was first in line.");
    await this.settle(job, outcome);
    return this.get(job);
  }
}

export function addressOf(owner: string, id: string): Digest {
  return digest(`job ${owner} ${id}`);
}

export function digest(text: string): Digest {
  return createHash("sha256").update(text).digest("hex").slice(0, 32);
}

/** What a refusal says; fails where it was none. */
export function refusalOf(written: Written): string {
  if (!("refused" in written)) throw new Error(`It was not refused: ${JSON.stringify(written)}`);
  return written.refused;
}
