// The port between what every store behind a socket does alike and the engine that keeps the rows: PostgreSQL, Redis.
//
//   Store (store.ts)  ◄── Remote (remote.ts): batches, claims that wait, the feed in order, leases kept by a thread
//                           └── Engine: one transaction for one batch, in the engine's own language
//
// An engine holds nothing between two calls that another process could have changed.

import type { Event } from "../../core/event.ts";
import type { Moment } from "../../core/machine.ts";
import type { Answer, Durability, Query, WithdrawWrite, Write, Written } from "../store.ts";

/** What reaches an engine: a claim is answered at once, whether there is work or not (`waitMs` is not its business). */
export type EngineWrite = Exclude<Write, WithdrawWrite>;

export interface Transacted {
  /** In the order of the batch; an error where a write had no effect while others of the batch had theirs. */
  readonly written: readonly (Written | Error)[];
  /** What the batch appended to the feed, in order; others may have committed in between. */
  readonly events: readonly Event[];
}

export interface Engine {
  readonly durability: Durability;
  /** For people, without secrets: `postgres://db.internal/coatcheck`. */
  readonly name: string;
  /** The time as the engine's server has it, moved as the given clock is: so all processes judge leases by one clock. */
  moment(): Moment;
  /**
   * Runs the batch in one transaction and resolves once it is durable. Batches of one process may overlap: at most
   * one of submits (with pauses and what was learned) and one of claims, heartbeats, settles, cancels and sweeps.
   *
   * An answer that was lost (the connection broke after COMMIT was sent) is found out by reading again; where that is not
   * possible it rejects.
   * @throws StoreUnavailable when nothing was kept, or it can't be known.
   */
  transact(writes: readonly EngineWrite[]): Promise<Transacted>;
  /** Answers in the order of the queries. Several calls may overlap. @throws StoreUnavailable */
  answer(queries: readonly Query[]): Promise<readonly Answer<Query>[]>;
  /** The sequence of the last event in the feed that is committed; 0 where there is none. */
  lastSeq(): Promise<number>;
  /**
   * Calls `hear` whenever somebody (this process too) may have committed, with the sequence of the feed's last event where that is
   * known; `hear` reads the feed. Where the engine can't tell (a pooler between), it calls it every so often.
   */
  listen(hear: (seq?: number) => void): void;
  /** Ends all connections, after what is under way. Idempotent. */
  close(): Promise<void>;
}

/**
 * What an engine's module exports as `open`: it is called in the main thread, and again in the thread that keeps the
 * leases, which needs fewer connections and no feed. `options` must be data that can be sent to a thread.
 */
export type OpenEngine<Options> = (
  options: Options,
  how: { readonly clock: SharedArrayBuffer; readonly role: "store" | "keeper" },
) => Promise<Engine>;
