// What the test knows of one store: what it asked for, what it was told, and how to ask again.

import { join } from "node:path";
import { type Caller, headerOf, type Method, type Reply } from "./caller.ts";
import { Checker } from "./checker.ts";
import type { Dice } from "./dice.ts";
import type { Ask, Run, Stop } from "./evidence.ts";
import { houseIn, PUBLIC_URL } from "./house.ts";
import { EXPECTATIONS } from "./operations.ts";
import { openRecorder, type Recorder, readRecord, tailRecord } from "./record.ts";

/** A request that can be sent, and sent again. */
export interface Errand extends Ask {
  readonly method: Method;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface ErrandOptions {
  readonly owner: string;
  readonly operation: string;
  /** What makes a repeat the same request. */
  readonly by: "key" | "id" | "nothing";
  readonly ms: number;
  readonly delaySeconds?: number;
  readonly waitSeconds?: number;
}

/** A line of the outside recorder. */
export interface Accepted {
  readonly number: number;
  readonly id: string;
}

export class World {
  readonly checker = new Checker(EXPECTATIONS);
  readonly folder: string;
  /** Jobs that were heard of since the last look at all that is new. */
  fresh = new Set<string>();
  /** Requests after a fault had healed, and how many of them were answered as they must be. */
  readonly healed = { asked: 0, answered: 0 };
  /** The longest that a process took to serve or to work again after a fault that it lived through. */
  slowestRecoveryMs = 0;
  /** How long it took a handler in another process to hear of a cancel, at most. */
  slowestCancelMs = 0;
  /** 202s that the recorder has on its disk; counted at the end. */
  recorded = 0;
  /** Replies to commits that were lost on their way. */
  lostReplies = 0;
  /** Requests of each owner that are under way. */
  readonly #underWay = new Map<string, number>();
  readonly #errands = new Map<number, Errand>();
  readonly #accepted: Errand[] = [];
  readonly #recorder: Recorder;
  readonly #runs: Run[] = [];
  readonly #newRuns: () => Promise<Run[]>;
  readonly #dice: Dice;

  private constructor(folder: string, recorder: Recorder, dice: Dice) {
    this.folder = folder;
    this.#recorder = recorder;
    this.#dice = dice;
    this.#newRuns = tailRecord<Run>(houseIn(folder).runs);
  }

  static async open(folder: string, dice: Dice): Promise<World> {
    return new World(folder, await openRecorder(join(folder, "accepted.jsonl")), dice);
  }

  errand(options: ErrandOptions): Errand {
    const number = this.#errands.size + 1;
    const { owner, operation, by, ms, delaySeconds, waitSeconds } = options;
    const tag = `t${number}`;
    const input = { tag, ms };
    const key = by === "key" ? `key-${number}-${this.#random()}` : null;
    const callersId = by === "id" ? `caller-${this.#random()}-${this.#random()}-${number}` : null;
    const errand: Errand = {
      number,
      owner,
      operation,
      key,
      callersId,
      tag,
      method: by === "id" ? "PUT" : "POST",
      path: by === "id" ? `/jobs/${callersId}` : `/operations/${operation}`,
      headers: {
        ...(key === null ? {} : { "idempotency-key": key }),
        ...(delaySeconds === undefined ? {} : { "coatcheck-delay": String(delaySeconds) }),
        ...(waitSeconds === undefined ? {} : { prefer: `wait=${waitSeconds}` }),
      },
      body: JSON.stringify(by === "id" ? { operation, input } : input),
    };
    this.#errands.set(number, errand);
    return errand;
  }

  errandOf(ask: Ask): Errand {
    return this.#errands.get(ask.number)!;
  }

  /** Every attempt that is known to have begun. */
  get runs(): readonly Run[] {
    return this.#runs;
  }

  /** Requests that were accepted. */
  get accepted(): readonly Errand[] {
    return this.#accepted;
  }

  /** Those of them that are the same when they are sent again. */
  get repeatable(): readonly Errand[] {
    return this.#accepted.filter(({ key, callersId }) => key !== null || callersId !== null);
  }

  /** Sends it, and gives the job's id where it was accepted. A 202 is on the recorder's disk before anything else is done. */
  async send(
    caller: Caller,
    errand: Errand,
  ): Promise<{ readonly id: string | null; readonly status: number | null }> {
    const { owner } = errand;
    this.#underWay.set(owner, this.underWay(owner) + 1);
    const reply = await caller.ask(owner, errand.method, errand.path, errand);
    this.#underWay.set(owner, this.underWay(owner) - 1);
    const id = reply === null ? null : acceptedId(reply);
    if (reply === null || (id === null && reply.status === 503)) this.checker.sawNothing(errand);
    else if (id === null) this.checker.sawRefusal(errand, reply.status);
    else {
      await this.#recorder.append({ number: errand.number, id } satisfies Accepted);
      if (this.checker.jobOf(errand) === undefined) this.#accepted.push(errand);
      this.checker.saw202(errand, id, headerOf(reply, "idempotency-replayed") === "true");
      this.fresh.add(id);
    }
    return { id, status: reply?.status ?? null };
  }

  /** Submissions of an owner that have no answer yet. */
  underWay(owner: string): number {
    return this.#underWay.get(owner) ?? 0;
  }

  /** Sends it again, as someone does who wants to know what became of it. */
  repeat(
    caller: Caller,
    { headers: { prefer: _, ...headers }, ...errand }: Errand,
  ): ReturnType<World["send"]> {
    return this.send(caller, { ...errand, headers });
  }

  /** Sends another payload under its key (or its id). */
  async sendOther(caller: Caller, errand: Errand): Promise<number | null> {
    const body = errand.body.replace(`"${errand.tag}"`, `"other-${errand.tag}"`);
    const reply = await caller.ask(errand.owner, errand.method, errand.path, { ...errand, body });
    if (reply !== null) this.checker.sawOtherPayload(errand, reply.status);
    return reply?.status ?? null;
  }

  async cancel(caller: Caller, id: string): Promise<number | null> {
    this.checker.sendsCancel(id);
    const reply = await caller.ask(this.checker.ownerOf(id), "DELETE", `/jobs/${id}`);
    this.checker.sawCancel(id, reply?.status ?? null, reply?.body ?? null);
    return reply?.status ?? null;
  }

  /** Looks at the monitor, and at the result where the job has ended. */
  async look(caller: Caller, id: string): Promise<number | null> {
    const owner = this.checker.ownerOf(id);
    const known = this.checker.known(id);
    const reply = await caller.ask(owner, "GET", `/jobs/${id}?redirect=false`);
    if (reply === null) return null;
    this.checker.sawStatus(id, reply.status, reply.body, headerOf(reply, "etag"), known);
    if (!this.checker.isSettled(id)) return reply.status;
    const result = await caller.ask(owner, "GET", `/jobs/${id}/result`);
    if (result !== null) this.checker.sawResult(id, result.status, result.body, headerOf(result, "etag"));
    return result === null ? null : reply.status;
  }

  /** The documents of a whole listing of the owner, by its pages; null where a page did not come. */
  async list(caller: Caller, owner: string, status?: string): Promise<readonly string[] | null> {
    const documents: string[] = [];
    let path: string | null = `/jobs?limit=200${status === undefined ? "" : `&status=${status}`}`;
    while (path !== null) {
      const reply: Reply | null = await caller.ask(owner, "GET", path);
      if (reply === null || reply.status !== 200) return null;
      const page = JSON.parse(reply.body) as { jobs: object[]; next: string | null };
      documents.push(...page.jobs.map((job) => JSON.stringify(job)));
      path = page.next === null ? null : page.next.slice(PUBLIC_URL.length);
    }
    return documents;
  }

  /** Tells the checker of all that began since it was last told. */
  async readRuns(): Promise<void> {
    for (const run of await this.#newRuns()) {
      this.checker.sawRun(run);
      this.#runs.push(run);
    }
  }

  /** When handlers were told to stop, by the job. */
  async readStops(): Promise<ReadonlyMap<string, number>> {
    const stops = await readRecord<Stop>(houseIn(this.folder).stops);
    return new Map(stops.map(({ job, at }) => [job, at]));
  }

  /** Counts requests after a fault has healed; the answer must be there, and `isRight`. */
  count(status: number | null, isRight: (status: number) => boolean): void {
    this.healed.asked++;
    if (status !== null && isRight(status)) this.healed.answered++;
  }

  /** What the outside recorder has on its disk. */
  async readAccepted(): Promise<readonly Accepted[]> {
    return readRecord<Accepted>(join(this.folder, "accepted.jsonl"));
  }

  close(): Promise<void> {
    return this.#recorder.close();
  }

  #random(): string {
    return this.#dice
      .whole(0, 2 ** 31)
      .toString(36)
      .padStart(6, "0");
  }
}

/** The job that a reply gives: in the Location of a 202, or in the Link of an outcome that was waited for. */
function acceptedId(reply: Reply): string | null {
  const from = reply.status === 202 ? headerOf(reply, "location") : headerOf(reply, "link");
  return /\/jobs\/([^/>?]+)/.exec(from ?? "")?.[1] ?? null;
}
