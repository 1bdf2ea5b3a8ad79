// The engine that keeps the rows in PostgreSQL.
//
//   submits ─────────────► accept.ts ─┐
//   claims, settles, … ──► work.ts ───┼─► transaction.ts: look and lock, decide, write and commit ─► feed, NOTIFY
//   pauses, what was learned ► facts.ts ┘
//   questions ───────────► answer.ts
//
// All that must be decided is decided by core/machine.ts, between the two round trips of a transaction.

import { randomBytes } from "node:crypto";
import { earlierNow, type Moment } from "../../core/machine.ts";
import { type Clock, createClock } from "../clock.ts";
import type { Engine, EngineWrite, OpenEngine, Transacted } from "../remote/engine.ts";
import type { Answer, Durability, Query, SubmitWrite, Written } from "../store.ts";
import { StoreUnavailable, StoreUnusable } from "../store.ts";
import { accept } from "./accept.ts";
import { answerAll } from "./answer.ts";
import { isPassedOver, kindOf } from "./batch.ts";
import { unpark } from "./changes.ts";
import { STAND } from "./codec.ts";
import { Connection, first, type Result } from "./connection.ts";
import { keepFact, restore } from "./facts.ts";
import { Held } from "./held.ts";
import { Policies } from "./policies.ts";
import { migrate } from "./schema.ts";
import { checkSettings } from "./settings.ts";
import { decodeSights, sights } from "./sight.ts";
import { encodeName, list, quoteName, table } from "./sql.ts";
import { CLEAR_UP, MOST_SUMMED, SUM_UP } from "./tally.ts";
import { alone, transact } from "./transaction.ts";
import { type WorkWrite, work } from "./work.ts";

export interface PostgresEngineOptions {
  readonly url: string;
  /** The schema of the tables, which is made; default `coatcheck`. */
  readonly schema?: string;
  /** Default `power`: a server whose settings lose commits at a power cut is refused. */
  readonly durability?: "power" | "process";
  /** Between us and the server a pooler gives out connections by the transaction: nothing can be listened to, so the feed is looked at. */
  readonly pooler?: boolean;
}

/** Statements: a transaction of submits, one of claims, one of settles, and questions. */
const CONNECTIONS = 8;

/** However quiet it is, the feed is looked at this often, and this often where nothing can be listened to. */
const QUIET_MS = 1000;
const POOLED_MS = 50;

const CLOCK_EVERY_MS = 60_000;

/** How often it is written that an operation has a worker, at most. */
const SEEN_EVERY_MS = 5_000;

/** Texts of callers and workers that one transaction brings, about. */
const MOST_CHARS = 8_000_000;

/** How often what has gathered is cleared away, by each process. */
const TIDY_EVERY_MS = 1000;

/** Of what has gathered, so many parts are cleared away in a row at most. */
const MOST_ROUNDS = 20;

/** How often it is looked whether somebody waits for nobody. */
const UNPARK_EVERY_MS = 10_000;

/** Events are kept as long as anyone may resume from them. */
const EVENTS_MS = 24 * 3600 * 1000;

export const open: OpenEngine<PostgresEngineOptions> = async (options, { clock, role }) => {
  const schema = options.schema ?? "coatcheck";
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(schema))
    throw new StoreUnusable(
      "The schema of a PostgreSQL store has lower-case letters, digits and underscores only.",
    );
  const most = role === "keeper" ? 2 : CONNECTIONS;
  const connection = await Connection.load({ url: options.url, most });
  try {
    const durability =
      role === "keeper" ? "process" : await checkSettings(connection, options.durability ?? "power");
    if (role === "store") await migrate(connection, schema, randomBytes(32).toString("hex"));
    const engine = new PostgresEngine(
      connection,
      schema,
      durability,
      createClock(clock),
      options.pooler === true,
    );
    await engine.setClock();
    return engine;
  } catch (error) {
    await connection.close();
    throw error;
  }
};

class PostgresEngine implements Engine {
  readonly durability: Durability;
  readonly name: string;
  readonly #connection: Connection;
  readonly #place: { readonly searchPath: string; readonly channel: string };
  readonly #clock: Clock;
  readonly #isPooled: boolean;
  readonly #policies: Policies;
  readonly #held = new Held();
  readonly #seen = new Map<string, number>();
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #underWay = new Set<Promise<unknown>>();
  #aheadMs = 0;
  /** As it was measured first: what may be deleted is judged by a clock that nobody sets. */
  #steadyAheadMs: number | null = null;
  #tidiedAt = 0;
  #unparkedAt = 0;
  #stopListening: (() => Promise<void>) | null = null;
  #isClosed = false;

  constructor(
    connection: Connection,
    schema: string,
    durability: Durability,
    clock: Clock,
    isPooled: boolean,
  ) {
    this.#connection = connection;
    this.#place = { searchPath: quoteName(schema), channel: `coatcheck_${schema}`.slice(0, 63) };
    this.durability = durability;
    this.name = connection.name;
    this.#clock = clock;
    this.#isPooled = isPooled;
    this.#policies = new Policies(connection, `${quoteName(schema)}.policy`);
    this.#every(CLOCK_EVERY_MS, () => this.setClock());
  }

  moment(): Moment {
    const { now, steadyNow = now, dice } = this.#clock.moment();
    return { now: now + this.#aheadMs, steadyNow: steadyNow + (this.#steadyAheadMs ?? 0), dice };
  }

  /** Measures how far the server's clock is ahead of ours: everyone goes by the server's. */
  async setClock(): Promise<void> {
    const sent = Date.now();
    const [result] = await this.#connection.ask(
      "SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS now",
    );
    const { now } = first<{ now: number }>(result);
    const received = Date.now();
    const aheadMs = Math.round(now - (sent + received) / 2);
    // Less than the round trip is no difference that was measured.
    if (Math.abs(aheadMs - this.#aheadMs) > received - sent) this.#aheadMs = aheadMs;
    this.#steadyAheadMs ??= this.#aheadMs;
  }

  transact(writes: readonly EngineWrite[]): Promise<Transacted> {
    return this.#track(this.#transact(writes));
  }

  answer(queries: readonly Query[]): Promise<readonly Answer<Query>[]> {
    return this.#track(this.#answer(queries));
  }

  async lastSeq(): Promise<number> {
    const [result] = await this.#connection.ask(`SELECT seq FROM ${this.#place.searchPath}.feed`);
    return first<{ seq: number }>(result).seq;
  }

  listen(hear: (seq?: number) => void): void {
    const look = async () => hear(await this.lastSeq());
    if (this.#isPooled) {
      this.#every(POOLED_MS, look);
      return;
    }
    this.#every(QUIET_MS, look);
    const connect = async (waitMs: number): Promise<void> => {
      if (this.#isClosed) return;
      try {
        const lost = () => void connect(100);
        const stop = await this.#connection.listen(this.#place.channel, (seq) => hear(Number(seq)), lost);
        if (this.#isClosed) await stop();
        else this.#stopListening = stop;
        await look().catch(() => {});
      } catch {
        // The slow look goes on meanwhile, and tells when the server is there again.
        const timer = setTimeout(() => void connect(Math.min(waitMs * 2, 2000)), waitMs);
        timer.unref();
      }
    };
    void connect(100);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#timers) clearInterval(timer);
    await Promise.allSettled(this.#underWay);
    await this.#stopListening?.();
    await this.#connection.close();
  }

  async #answer(queries: readonly Query[]): Promise<readonly Answer<Query>[]> {
    return await answerAll(
      this.#connection,
      this.#place.searchPath,
      queries,
      this.#policies,
      this.moment().now,
    );
  }

  async #transact(writes: readonly EngineWrite[]): Promise<Transacted> {
    const written: (Written | Error)[] = [];
    const events: Transacted["events"][number][] = [];
    for (let at = 0; at < writes.length; ) {
      const kind = kindOf(writes[at] as EngineWrite);
      let end = at + 1;
      while (kind !== "fact" && end < writes.length && kindOf(writes[end] as EngineWrite) === kind) end++;
      // Large texts are not gathered: a transaction's text must fit into memory, and into a message.
      for (let chars = 0, next = at; next < end; next++) {
        chars += charsOf(writes[next] as EngineWrite);
        if (chars > MOST_CHARS && next > at) end = next;
      }
      const part = writes.slice(at, end);
      const done = await (part.length === writes.length ? this.#part(part) : this.#partOf(part));
      written.push(...done.written);
      events.push(...done.events);
      at = end;
    }
    return { written, events };
  }

  // What is one transaction has its own end: what was committed before it stays answered as committed.
  async #partOf(part: readonly EngineWrite[]): Promise<Transacted> {
    try {
      return await this.#part(part);
    } catch (error) {
      if (!(error instanceof Error) || error instanceof StoreUnusable) throw error;
      if (part.length === 1 || error instanceof StoreUnavailable)
        return { written: part.map(() => error), events: [] };
      const alone: Transacted[] = [];
      for (const write of part) alone.push(await this.#partOf([write]));
      return {
        written: alone.flatMap((one) => one.written),
        events: alone.flatMap((one) => one.events),
      };
    }
  }

  async #part(part: readonly EngineWrite[]): Promise<Transacted> {
    const [write] = part as readonly [EngineWrite, ...EngineWrite[]];
    const kind = kindOf(write);
    if (kind === "submit") return await this.#accept(part as readonly SubmitWrite[]);
    if (kind === "work") return await this.#work(part as readonly WorkWrite[]);
    return { written: [await this.#keep(write)], events: [] };
  }

  async #accept(writes: readonly SubmitWrite[]): Promise<Transacted> {
    const moment = this.moment();
    const { written, events, unread, isReplay } = await transact(
      this.#connection,
      this.#place,
      (transaction) => accept(transaction, writes, this.#policies, moment),
    );
    if (unread.size > 0) {
      const rows = list([...new Set([...unread.values()].map(({ row }) => row))], "bigint");
      const [found] = await this.#alone(sights(`r.row = ANY (${rows})`), true);
      const seen = await decodeSights(found?.rows ?? [], this.#policies, moment.now);
      const byRow = new Map(seen.map((sight) => [sight.job.row, sight]));
      for (const [at, job] of unread) {
        const sight = byRow.get(job.row) ?? { job, position: null, waitingFor: null };
        written[at] = { did: "submit", ...sight, replayed: isReplay(at) };
      }
    }
    return { written: written as Written[], events };
  }

  async #work(writes: readonly WorkWrite[]): Promise<Transacted> {
    for (const write of writes) if (write.do === "claim") await this.#saw(Object.keys(write.slots));
    const run = (some: readonly WorkWrite[]) =>
      transact(this.#connection, this.#place, (transaction) =>
        work(transaction, some, this.#held, this.#policies, this.moment()),
      );
    const { written, events: first } = await run(writes);
    const events = [...first];
    // A claim that met only jobs which can't begin goes on with those behind them.
    for (let round = 0; round < MOST_ROUNDS; round++) {
      const open = [...writes.keys()].filter((at) => isPassedOver(written[at], this.moment().now));
      if (open.length === 0) break;
      const more = await run(open.map((at) => writes[at] as WorkWrite));
      for (const [index, at] of open.entries()) written[at] = more.written[index] as Written;
      events.push(...more.events);
    }
    if (writes.some((write) => write.do === "sweep")) await this.#tidy();
    return { written, events };
  }

  async #keep(write: EngineWrite): Promise<Written> {
    return await transact(this.#connection, this.#place, (transaction) => {
      if (write.do === "restore") return restore(transaction, write, this.#policies, this.moment().now);
      if (write.do === "learn" || write.do === "pause" || write.do === "keep")
        return keepFact(transaction, write);
      throw new Error(`There is no write ${write.do}.`);
    });
  }

  async #saw(operations: readonly string[]): Promise<void> {
    const { now } = this.moment();
    const unsaid = operations.filter(
      (operation) => Math.abs(now - (this.#seen.get(operation) ?? 0)) > SEEN_EVERY_MS,
    );
    if (unsaid.length === 0) return;
    const names = [...unsaid].sort();
    await this.#connection.ask(
      `INSERT INTO ${this.#place.searchPath}.seen (operation, at) SELECT * FROM ${table([
        ["operation", "text", names.map(encodeName)],
        ["at", "bigint", names.map(() => now)],
      ])} ORDER BY 1 ON CONFLICT (operation) DO UPDATE SET at = excluded.at`,
    );
    for (const operation of unsaid) this.#seen.set(operation, now);
  }

  // Each statement is its own transaction: it is no matter who does it, or whether it is done twice.
  async #tidy(): Promise<void> {
    const now = earlierNow(this.moment());
    if (Math.abs(now - this.#tidiedAt) < TIDY_EVERY_MS) return;
    this.#tidiedAt = now;
    for (let rounds = 0; rounds < MOST_ROUNDS; rounds++) {
      const [summed] = await this.#alone(SUM_UP);
      if (first<{ taken: number }>(summed).taken < MOST_SUMMED) break;
    }
    await this.#alone(CLEAR_UP);
    await this.#alone(
      `DELETE FROM event WHERE last IN (SELECT last FROM event WHERE at < ${now - EVENTS_MS} ORDER BY at LIMIT 1000)`,
    );
    await this.#alone(
      `DELETE FROM turn WHERE ctid = ANY (ARRAY(SELECT t.ctid FROM turn t JOIN line l USING (operation, priority)
        WHERE t.last < l.virtual - 1000 LIMIT 1000 FOR UPDATE OF t SKIP LOCKED))`,
    );
    if (Math.abs(now - this.#unparkedAt) < UNPARK_EVERY_MS) return;
    this.#unparkedAt = now;
    // Whoever should have let an owner's next job stand in line found it held by a process that then died.
    await this.#alone(
      unpark(`(SELECT owner, 1 AS n FROM owner WHERE running = 0 AND active > 0
        AND EXISTS (SELECT FROM job WHERE job.owner = owner.owner AND stand = ${STAND.parked}) ORDER BY owner LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED) v`),
    );
  }

  #alone(text: string, isReading = false): Promise<readonly Result[]> {
    return alone(this.#connection, this.#place.searchPath, text, isReading);
  }

  #every(ms: number, work: () => Promise<void>): void {
    let isBusy = false;
    const timer = setInterval(() => {
      if (isBusy) return;
      isBusy = true;
      this.#track(work())
        .catch(() => {})
        .finally(() => {
          isBusy = false;
        });
    }, ms);
    timer.unref();
    this.#timers.push(timer);
  }

  async #track<T>(work: Promise<T>): Promise<T> {
    this.#underWay.add(work);
    try {
      return await work;
    } finally {
      this.#underWay.delete(work);
    }
  }
}

function charsOf(write: EngineWrite): number {
  switch (write.do) {
    case "submit":
      return write.submission.input.length;
    case "heartbeat":
      return write.checkpoint?.length ?? 0;
    case "settle": {
      const { outcome } = write;
      return outcome.kind === "completed" && "json" in outcome.result ? outcome.result.json.length : 0;
    }
    default:
      return 0;
  }
}
