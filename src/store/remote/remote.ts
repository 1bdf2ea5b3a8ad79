// What every store behind a socket does alike, over an engine that keeps the rows.
//
//   write(submit, cancel, …) ─► lane ─► one transaction ─┐
//   write(settle, cancel, …) ─► lane ─► one transaction ─┤
//   write(claim) ────────────► lane ─► one transaction ─┼─► events ─► the feed, in order ─► listeners
//   read(…) ──────────────────► lane ─► one round trip   │
//   claims that found nothing wait here ◄── new work ────┘
//   leases of attempts that run in this process: a thread of their own (keeper.ts)

import type { Event } from "../../core/event.ts";
import { type Clock, createClock } from "../clock.ts";
import type { Answer, ClaimWrite, Listener, Query, Store, Write, Written, WrittenOf } from "../store.ts";
import { StoreUnavailable, StoreUnusable } from "../store.ts";
import type { Engine, EngineWrite, OpenEngine } from "./engine.ts";
import { Feed } from "./feed.ts";
import { Keeper } from "./keeper.ts";
import { Lane } from "./lane.ts";
import { Standing } from "./standing.ts";

/** Reads that may be under way at once, each a batch of what was asked for meanwhile. */
const READS = 4;

/** How soon a claim that waits sees what no event tells: a job that comes due, a pause that ended elsewhere. */
const LOOK_EVERY_MS = 50;

export interface RemoteOptions<Options> {
  readonly open: OpenEngine<Options>;
  /** The module that exports `open`: the thread that keeps the leases imports it. */
  readonly module: string;
  /** Data that can be sent to a thread. */
  readonly options: Options;
  readonly clock?: Clock;
  /** Called once when the store can't go on; the process should end. */
  readonly onBroken?: (error: Error) => void;
}

/** Opens the store of an engine. Rejects with `StoreUnusable` or `StoreUnavailable`, in one sentence. */
export async function openRemote<Options>(how: RemoteOptions<Options>): Promise<Store> {
  const { shared } = how.clock ?? createClock();
  const engine = await how.open(how.options, { clock: shared, role: "store" });
  try {
    const seen = await engine.lastSeq();
    return new Remote(engine, seen, new Keeper(how.module, how.options, shared), how.onBroken ?? (() => {}));
  } catch (error) {
    await engine.close();
    throw error;
  }
}

class Remote implements Store {
  readonly durability;
  readonly name: string;
  readonly #engine: Engine;
  readonly #keeper: Keeper;
  readonly #onBroken: (error: Error) => void;
  readonly #feed: Feed;
  readonly #standing: Standing;
  readonly #listeners = new Set<Listener>();
  readonly #accepts = new Lane<EngineWrite, Written>((batch) => this.#transact(batch));
  readonly #works = new Lane<EngineWrite, Written>((batch) => this.#transact(batch));
  readonly #reads = new Lane<Query, Answer<Query>>((batch) => this.#engine.answer(batch), READS);
  readonly #looking: NodeJS.Timeout;
  #broken: Error | null = null;
  #closed: Promise<void> | null = null;

  constructor(engine: Engine, seen: number, keeper: Keeper, onBroken: (error: Error) => void) {
    this.#engine = engine;
    this.#keeper = keeper;
    this.#onBroken = onBroken;
    this.durability = engine.durability;
    this.name = engine.name;
    this.#standing = new Standing(
      (claim) => this.#claim(claim),
      () => engine.moment().now,
    );
    const read = async (after: number, limit: number) =>
      (await this.#reads.ask({ get: "events", after, limit })) as readonly Event[];
    const isWriting = () => this.#accepts.isBusy || this.#works.isBusy;
    this.#feed = new Feed({ read, isWriting }, seen, (events) => this.#tell(events));
    engine.listen((seq) => this.#feed.hear(seq));
    this.#looking = setInterval(() => this.#standing.look(), LOOK_EVERY_MS);
    this.#looking.unref();
  }

  async write<W extends Write>(write: W): Promise<WrittenOf<W>> {
    this.#refuseWhenOver();
    return (await this.#write(write)) as WrittenOf<W>;
  }

  async read<Q extends Query>(query: Q): Promise<Answer<Q>> {
    this.#refuseWhenOver();
    return (await this.#reads.ask(query)) as Answer<Q>;
  }

  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    clearInterval(this.#looking);
    this.#standing.close();
    // What was given before is still written.
    await Promise.all([this.#accepts, this.#works, this.#reads].map((lane) => lane.idle()));
    this.#feed.close();
    await this.#keeper.close();
    await this.#engine.close();
  }

  #refuseWhenOver(): void {
    if (this.#broken !== null || this.#closed !== null)
      throw new StoreUnavailable(this.#broken?.message ?? "The store is closed.");
  }

  async #write(write: Write): Promise<Written> {
    switch (write.do) {
      case "withdraw":
        this.#standing.withdraw(write.worker);
        return { did: "nothing" };
      case "claim":
        return await this.#standing.claim(write);
      case "settle":
        return await this.#settle(write);
      case "heartbeat":
      case "sweep":
      // In the order in which they were asked: of a cancel and a settle the first has its effect.
      case "cancel":
        return await this.#works.ask(write);
      case "pause": {
        const written = await this.#accepts.ask(write);
        this.#standing.retry(write.operation);
        return written;
      }
      case "restore": {
        const written = await this.#accepts.ask(write);
        // What happened elsewhere and long ago is not told again.
        this.#feed.skip(await this.#engine.lastSeq());
        return written;
      }
      default:
        return await this.#accepts.ask(write);
    }
  }

  async #claim(claim: ClaimWrite): Promise<Extract<Written, { did: "claim" }>> {
    const written = await this.#works.ask(claim);
    if (!("did" in written) || written.did !== "claim") throw new Error("A claim was not answered as one.");
    // Before anyone is told: what is told may block this thread.
    if (claim.held) this.#keeper.hold(written.jobs);
    return written;
  }

  async #settle(write: Extract<Write, { do: "settle" }>): Promise<Written> {
    const written = await this.#works.ask(write);
    this.#keeper.release(write.row, write.attempt);
    return written;
  }

  async #transact(batch: readonly EngineWrite[]): Promise<readonly (Written | Error)[]> {
    try {
      const { written, events } = await this.#engine.transact(batch);
      this.#feed.committed(events);
      return written;
    } catch (error) {
      if (error instanceof StoreUnusable) this.#break(error);
      throw error;
    }
  }

  #tell(events: readonly Event[]): void {
    for (const listener of this.#listeners) listener(events);
    this.#standing.hear(events);
  }

  #break(error: Error): void {
    if (this.#broken !== null) return;
    this.#broken = error;
    this.#standing.close();
    if (this.#closed === null) this.#onBroken(error);
  }
}
