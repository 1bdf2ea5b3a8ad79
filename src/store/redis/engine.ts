// The engine that keeps the rows in Redis or Valkey. Redis runs one script at a time, so a script is a transaction; but it takes nothing
// back, and it must not decide: only core/machine.ts does. So JavaScript decides on what it knows, and a script writes
// what was decided where that is still so, together with all indexes and the events (script.ts, work.ts, accept.ts).
//
// Each write of a batch is atomic and is answered when its script was, which Redis does after it synced its log (appendfsync
// always: replies are sent after the log is written, in the same turn of its loop). A batch is several scripts: of one that
// fails half-way, as when the server goes away, some writes may have been kept, and none is told so.

import { randomBytes } from "node:crypto";
import type { Event } from "../../core/event.ts";
import type { Moment } from "../../core/machine.ts";
import type { Engine, EngineWrite, OpenEngine, Transacted } from "../remote/engine.ts";
import type { Answer, Durability, Query, SubmitWrite, Written } from "../store.ts";
import { StoreUnavailable, StoreUnusable } from "../store.ts";
import { acceptAll, type Repeat } from "./accept.ts";
import { answerAll } from "./answer.ts";
import { Calls } from "./calls.ts";
import { Connection, nameOf } from "./connection.ts";
import { Held } from "./held.ts";
import { seeMembers } from "./look.ts";
import { lastSeqOf, note, restore } from "./restore.ts";
import { checkSettings } from "./settings.ts";
import { type WorkWrite, workAll } from "./work.ts";

export interface RedisEngineOptions {
  readonly url: string;
  readonly prefix?: string;
  readonly durability?: "power" | "process";
}

/** The layout of the keys; one that is newer is not touched. */
const FORMAT = "1";

export const open: OpenEngine<RedisEngineOptions> = async (options, { clock, role }) => {
  const prefix = options.prefix ?? "coatcheck";
  if (!/^[\w.:-]{1,64}$/.test(prefix))
    throw new StoreUnusable("The prefix of a Redis store has letters, digits and any of _ . : - only.");
  const connection = await Connection.open(options.url, `{${prefix}}:`, clock);
  try {
    const durability =
      role === "keeper" ? "process" : await checkSettings(connection, options.durability ?? "power");
    const calls = new Calls(connection, prefix);
    await checkFormat(calls);
    return new RedisEngine(nameOf(options.url), durability, connection, calls);
  } catch (error) {
    await connection.close();
    throw error;
  }
};

async function checkFormat(calls: Calls): Promise<void> {
  const facts = calls.key("facts");
  await calls.command("HSETNX", facts, "format", FORMAT);
  await calls.command("HSETNX", facts, "secret", randomBytes(32).toString("hex"));
  const format = await calls.command("HGET", facts, "format");
  if (format !== FORMAT)
    throw new StoreUnusable(`The store in Redis has format ${format}, which a newer Coatcheck wrote.`);
}

class RedisEngine implements Engine {
  readonly durability: Durability;
  readonly name: string;
  readonly #connection: Connection;
  readonly #calls: Calls;
  readonly #held = new Held();
  readonly #underWay = new Set<Promise<unknown>>();
  #isClosing = false;

  constructor(name: string, durability: Durability, connection: Connection, calls: Calls) {
    this.name = name;
    this.durability = durability;
    this.#connection = connection;
    this.#calls = calls;
  }

  moment(): Moment {
    return this.#connection.moment();
  }

  transact(writes: readonly EngineWrite[]): Promise<Transacted> {
    return this.#track(async () => {
      const lane = this.#calls.takeLane();
      try {
        return await this.#transact(lane, writes);
      } finally {
        this.#calls.freeLane(lane);
      }
    });
  }

  answer(queries: readonly Query[]): Promise<readonly Answer<Query>[]> {
    return this.#track(() => answerAll(this.#calls, queries, this.moment()));
  }

  lastSeq(): Promise<number> {
    return this.#track(() => lastSeqOf(this.#calls));
  }

  listen(hear: (seq?: number) => void): void {
    const poll = async () => String(await lastSeqOf(this.#calls));
    this.#connection.listen(this.#calls.key("feed"), (word) => hear(Number(word)), poll);
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
    await this.#connection.close();
  }

  async #track<T>(run: () => Promise<T>): Promise<T> {
    if (this.#isClosing) throw new StoreUnavailable("The store is closed.");
    const running = run();
    this.#underWay.add(running);
    try {
      return await running;
    } finally {
      this.#underWay.delete(running);
    }
  }

  async #transact(lane: string, writes: readonly EngineWrite[]): Promise<Transacted> {
    const written: Written[] = [];
    const events: Event[] = [];
    const submits: (readonly [number, SubmitWrite])[] = [];
    const works: (readonly [number, WorkWrite])[] = [];
    const notes: string[][] = [];
    for (const [index, write] of writes.entries()) {
      if (write.do === "submit") submits.push([index, write]);
      else if (write.do === "pause") {
        notes.push([write.paused ? "SADD" : "SREM", "paused", write.operation]);
        written[index] = NOTHING;
      } else if (write.do === "keep") {
        notes.push(
          write.value === null ? ["HDEL", "kept", write.name] : ["HSET", "kept", write.name, write.value],
        );
        written[index] = NOTHING;
      } else if (write.do === "restore") {
        const restored = await restore(this.#calls, lane, write, this.moment());
        written[index] = restored.written;
        events.push(...restored.events);
      } else works.push([index, write]);
    }
    await note(this.#calls, lane, notes);
    if (submits.length > 0) events.push(...(await this.#accept(lane, submits, written)));
    if (works.length > 0) {
      const some = works.map(([, write]) => write);
      const worked = await workAll(this.#calls, this.#held, lane, some, () => this.moment());
      for (const [at, [index]] of works.entries()) written[index] = worked.written[at] as Written;
      events.push(...worked.events);
    }
    return { written, events };
  }

  async #accept(
    lane: string,
    submits: readonly (readonly [number, SubmitWrite])[],
    written: Written[],
  ): Promise<readonly Event[]> {
    const writes = submits.map(([, write]) => write);
    const { answers, events } = await acceptAll(this.#calls, lane, writes, this.moment());
    const repeats = answers.flatMap((one) => ("repeats" in one ? [one] : []));
    const members = [...new Set(repeats.map((one) => one.repeats))];
    const seen = await seeMembers(this.#calls, members, this.moment());
    const byMember = new Map(members.map((member, at) => [member, seen[at] ?? null]));
    for (const [at, [index, write]] of submits.entries()) {
      const one = answers[at] as Written | Repeat;
      if (!("repeats" in one)) {
        written[index] = one;
        continue;
      }
      const found = byMember.get(one.repeats) ?? null;
      if (found === null) throw new StoreUnavailable("The job that was repeated is there no more.");
      // By its key, or by the id that the caller made.
      const { key, fingerprint, reach, idFingerprint } = found.stored;
      const isByKey = write.sameness !== null && key === write.sameness.key && reach === write.sameness.reach;
      const isSame = isByKey
        ? fingerprint === write.sameness.fingerprint
        : idFingerprint === write.idFingerprint;
      written[index] =
        one.isFirst === true || isSame
          ? { did: "submit", replayed: one.isFirst !== true, ...found.sight }
          : { refused: "key-reused" };
    }
    return events;
  }
}

const NOTHING: Written = { did: "nothing" };
