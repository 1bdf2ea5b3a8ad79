// The rows of the SQLite store: statements over the jobs table, with the rows in use held as objects.

import type { Database, Statement } from "better-sqlite3";
import type { Durations } from "../../core/durations.ts";
import type { Event } from "../../core/event.ts";
import type { Policy } from "../../core/job.ts";
import type { Row, Rows } from "../embedded/rows.ts";
import type { ListFilter } from "../store.ts";
import {
  CONTENTS,
  type Column,
  CURRENT,
  contents,
  current,
  FRESH,
  fresh,
  GIVEN,
  given,
  type Policies,
  rowOf,
} from "./codec.ts";
import { COLUMNS } from "./database.ts";
import { Hot } from "./hot.ts";

/** A longer input lies in a table of its own, so that a change of its job does not write it again. */
const INLINE_INPUT_CHARS = 2048;

type Run = Statement<Column[], unknown>;

export class Table implements Rows {
  readonly #db: Database;
  readonly #hot = new Hot();
  readonly #policies = new PolicyTable();
  readonly #get: Run;
  readonly #insert: Run;
  readonly #update: Run;
  readonly #empty: Run;
  readonly #remove: Run;
  readonly #input: Run;
  readonly #keepInput: Run;
  readonly #removeInput: Run;
  readonly #append: Run;
  readonly #after: Run;
  readonly #forget: Run;
  readonly #keepFact: Run;
  readonly #removeFact: Run;
  readonly #facts: Run;
  /** Null until it is asked for: counting a million rows takes some milliseconds. */
  #size: number | null = null;
  /** The oldest event that is kept may be older than this; spares a look at every sweep. */
  #forgottenBefore = 0;

  constructor(db: Database) {
    this.#db = db;
    const places = (columns: readonly string[]) => columns.map(() => "?").join(", ");
    const all = [...GIVEN, ...FRESH, ...CONTENTS];
    this.#get = db.prepare<Column[]>(`SELECT ${COLUMNS} FROM jobs WHERE row = ?`).raw();
    this.#insert = db.prepare(`INSERT INTO jobs (${all.join(", ")}) VALUES (${places(all)})`);
    // The revision is checked in the statement that writes: no decision on a stale row has any effect.
    const set = (columns: readonly string[]) => columns.map((column) => `${column} = ?`).join(", ");
    this.#update = db.prepare(`UPDATE jobs SET ${set(CURRENT)} WHERE row = ? AND revision = ?`);
    this.#empty = db.prepare("UPDATE jobs SET input = NULL, upload = NULL, trace = NULL WHERE row = ?");
    this.#remove = db.prepare("DELETE FROM jobs WHERE row = ?");
    this.#input = db.prepare<Column[]>("SELECT input FROM inputs WHERE row = ?").pluck();
    this.#keepInput = db.prepare("INSERT INTO inputs (row, input) VALUES (?, ?)");
    this.#removeInput = db.prepare("DELETE FROM inputs WHERE row = ?");
    this.#append = db.prepare("INSERT INTO events (seq, last, at, entries) VALUES (?, ?, ?, ?)");
    this.#after = db.prepare("SELECT entries FROM events WHERE last > ? ORDER BY seq LIMIT ?").pluck();
    this.#forget = db.prepare(
      // The last stays, for the next one's number is told from it.
      "DELETE FROM events WHERE seq IN (SELECT seq FROM events ORDER BY seq LIMIT 100) AND at < ? AND seq < (SELECT max(seq) FROM events)",
    );
    this.#keepFact = db.prepare(
      "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    );
    this.#removeFact = db.prepare("DELETE FROM facts WHERE name = ?");
    this.#facts = db.prepare<Column[]>("SELECT name, value FROM facts WHERE name GLOB ?").raw();
    this.#policies.open(db);
  }

  get size(): number {
    this.#size ??= this.#db.prepare("SELECT count(*) FROM jobs").pluck().get() as number;
    return this.#size;
  }

  get policies(): Policies {
    return this.#policies;
  }

  /** The row and the sequence that come next. */
  next(): { readonly row: number; readonly seq: number } {
    return this.#db
      .prepare(
        "SELECT coalesce((SELECT max(row) FROM jobs), 0) + 1 AS row, coalesce((SELECT last FROM events ORDER BY seq DESC LIMIT 1), 0) + 1 AS seq",
      )
      .get() as { row: number; seq: number };
  }

  /** Every row, without what came with the request: for telling the roster. */
  *scan(): Iterable<Row> {
    const bare = [...GIVEN, ...CURRENT].join(", ");
    // A result can be large, and nobody who is settled has a turn.
    const select = bare
      .replace("result, files, problem", "NULL, NULL, NULL")
      .replace("message, checkpoint", "NULL, NULL");
    for (const columns of this.#db.prepare(`SELECT ${select} FROM jobs ORDER BY row`).raw().iterate()) {
      yield rowOf(columns as unknown[], this.#policies);
    }
  }

  /** Forgets what is held, after another process or a rollback changed the rows. */
  cool(): void {
    this.#hot.clear();
    this.#policies.open(this.#db);
    this.#size = null;
  }

  get(row: number): Row | null {
    const hot = this.#hot.get(row);
    if (hot !== undefined) return hot;
    const columns = this.#get.get(row) as Column[] | undefined;
    if (columns === undefined) return null;
    const on = GIVEN.length + CURRENT.length;
    if (columns[on] === null) columns[on] = (this.#input.get(row) as string | undefined) ?? null;
    const found = rowOf(columns, this.#policies);
    this.#hot.set(found);
    return found;
  }

  insert(row: Row): void {
    const { job } = row;
    const [input = null, ...rest] = contents(job);
    const isLong = job.input.length > INLINE_INPUT_CHARS;
    this.#insert.run(...given(row, this.#policies), ...fresh(job), isLong ? null : input, ...rest);
    if (isLong) this.#keepInput.run(job.row, input);
    if (this.#size !== null) this.#size++;
    this.#hot.set(row);
  }

  update(row: Row, revision: number): void {
    const { job } = row;
    const { changes } = this.#update.run(...current(job), job.row, revision);
    if (changes !== 1) throw new Error(`Row ${job.row} is not at revision ${revision}.`);
    if (job.goneAt !== null) {
      this.#empty.run(job.row);
      this.#removeInput.run(job.row);
    }
    this.#hot.set(row);
  }

  remove(row: number): void {
    this.#remove.run(row);
    this.#removeInput.run(row);
    this.#hot.delete(row);
    if (this.#size !== null) this.#size--;
  }

  after(row: number, limit: number): readonly Row[] {
    const rows = this.#db.prepare("SELECT row FROM jobs WHERE row > ? ORDER BY row LIMIT ?").pluck();
    return (rows.all(row, limit) as number[]).map((each) => this.get(each)).filter((each) => each !== null);
  }

  list(filter: ListFilter): readonly Row[] {
    return listRows(this.#db, filter)
      .map((row) => this.get(row))
      .filter((row) => row !== null);
  }

  append(events: readonly Event[]): void {
    const first = events[0] as Event;
    this.#append.run(first.seq, first.seq + events.length - 1, first.at, encodeEvents(events));
  }

  eventsAfter(seq: number, limit: number): readonly Event[] {
    const chunks = this.#after.all(seq, limit) as string[];
    return chunks
      .flatMap(decodeEvents)
      .filter((event) => event.seq > seq)
      .slice(0, limit);
  }

  forgetEvents(before: number): void {
    if (before < this.#forgottenBefore + 60_000) return;
    const { changes } = this.#forget.run(before);
    if (changes === 0) this.#forgottenBefore = before;
  }

  secret(): string {
    const [, value] = (this.#facts.all("secret") as [string, string][])[0] ?? [];
    if (value === undefined) throw new Error("The store has no secret.");
    return value;
  }

  keepSecret(secret: string): void {
    this.#keepFact.run("secret", secret);
  }

  durations(): Readonly<Record<string, Durations>> {
    return Object.fromEntries(
      this.#factsOf("durations:").map(([name, value]) => [name, JSON.parse(value) as Durations]),
    );
  }

  keepDurations(operation: string, durations: Durations): void {
    this.#keepFact.run(`durations:${operation}`, JSON.stringify(durations));
  }

  kept(prefix: string): Readonly<Record<string, string>> {
    const all = this.#factsOf("kept:").filter(([name]) => name.startsWith(prefix));
    return Object.fromEntries(all.sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  keep(name: string, value: string | null): void {
    if (value === null) this.#removeFact.run(`kept:${name}`);
    else this.#keepFact.run(`kept:${name}`, value);
  }

  paused(): readonly string[] {
    return this.#factsOf("paused:").map(([name]) => name);
  }

  keepPaused(operation: string, paused: boolean): void {
    if (paused) this.#keepFact.run(`paused:${operation}`, "true");
    else this.#removeFact.run(`paused:${operation}`);
  }

  #factsOf(prefix: string): [string, string][] {
    return (this.#facts.all(`${prefix}*`) as [string, string][]).map(([name, value]) => [
      name.slice(prefix.length),
      value,
    ]);
  }
}

/** The numbers of the rows that match, newest first. */
export function listRows(db: Database, filter: ListFilter): readonly number[] {
  const where = ["owner = ?", "gone_at IS NULL"];
  const values: Column[] = [filter.owner];
  const add = (condition: string, ...more: Column[]) => {
    where.push(condition);
    values.push(...more);
  };
  if (filter.belowRow !== undefined) add("row < ?", filter.belowRow);
  if (filter.status !== undefined)
    add(`status IN (${filter.status.map(() => "?").join(", ")})`, ...filter.status);
  if (filter.operation !== undefined) {
    add(`operation IN (${filter.operation.map(() => "?").join(", ")})`, ...filter.operation);
  }
  if (filter.createdFrom !== undefined) add("created_at >= ?", filter.createdFrom);
  if (filter.createdTo !== undefined) add("created_at < ?", filter.createdTo);
  return db
    .prepare(`SELECT row FROM jobs WHERE ${where.join(" AND ")} ORDER BY row DESC LIMIT ?`)
    .pluck()
    .all(...values, filter.limit) as number[];
}

/** An event as a flat list, many of them one behind the other. */
export function flattenEvents(events: readonly Event[]): (string | number)[] {
  const flat: (string | number)[] = [];
  for (const e of events) {
    flat.push(e.seq, e.kind, e.at, e.row, e.id, e.owner, e.operation, e.status, e.attempt, e.revision);
  }
  return flat;
}

export function unflattenEvents(flat: readonly (string | number)[]): Event[] {
  const events: Event[] = [];
  for (let at = 0; at < flat.length; at += 10) {
    events.push({
      seq: flat[at] as number,
      kind: flat[at + 1] as Event["kind"],
      at: flat[at + 2] as number,
      row: flat[at + 3] as number,
      id: flat[at + 4] as string,
      owner: flat[at + 5] as string,
      operation: flat[at + 6] as string,
      status: flat[at + 7] as Event["status"],
      attempt: flat[at + 8] as number,
      revision: flat[at + 9] as number,
    });
  }
  return events;
}

function encodeEvents(events: readonly Event[]): string {
  return JSON.stringify(flattenEvents(events));
}

function decodeEvents(entries: string): Event[] {
  return unflattenEvents(JSON.parse(entries) as (string | number)[]);
}

class PolicyTable implements Policies {
  #db: Database | null = null;
  readonly #numbers = new Map<string, number>();
  readonly #policies = new Map<number, Policy>();
  /** The same policy is mostly the same object. */
  #known = new WeakMap<Policy, number>();

  open(db: Database): void {
    this.#db = db;
    this.#numbers.clear();
    this.#policies.clear();
    this.#known = new WeakMap();
    for (const { number, json } of db.prepare("SELECT number, json FROM policies").all() as {
      number: number;
      json: string;
    }[]) {
      this.#numbers.set(json, number);
      this.#policies.set(number, JSON.parse(json) as Policy);
    }
  }

  number(policy: Policy): number {
    const known = this.#known.get(policy);
    if (known !== undefined) return known;
    const json = JSON.stringify(policy);
    let number = this.#numbers.get(json);
    if (number === undefined) {
      number = Number(this.#db?.prepare("INSERT INTO policies (json) VALUES (?)").run(json).lastInsertRowid);
      this.#numbers.set(json, number);
      this.#policies.set(number, policy);
    }
    this.#known.set(policy, number);
    return number;
  }

  policy(number: number): Policy {
    const policy = this.#policies.get(number);
    if (policy === undefined) throw new Error(`The store has no policy ${number}.`);
    return policy;
  }
}
