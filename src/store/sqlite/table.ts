// The rows of the SQLite store: statements over the jobs table, with the rows in use held as objects.

import type { Database, Statement } from "better-sqlite3";
import type { Durations } from "../../core/durations.ts";
import type { Event } from "../../core/event.ts";
import type { Policy } from "../../core/job.ts";
import type { Row, Rows } from "../embedded/rows.ts";
import type { ListFilter } from "../store.ts";
import { type Column, CURRENT, current, GIVEN, given, isFresh, type Policies, rowOf } from "./codec.ts";
import { type Chunk, decodeChunk, encodeChunk, type Names } from "./entries.ts";
import { Hot } from "./hot.ts";

/** Rows that are not held are mostly asked for in their order: as many are read at once, once that shows. */
const MOST_AHEAD = 32;

/** Rows that are read at once at the start. */
const SCAN_ROWS = 2000;

type Run = Statement<Column[], unknown>;

export class Table implements Rows {
  readonly #db: Database;
  readonly #hot = new Hot();
  readonly #policies = new PolicyTable();
  readonly #given: Run;
  readonly #current: Run;
  readonly #insert: Run;
  readonly #begin: Run;
  readonly #update: Run;
  readonly #empty: Run;
  readonly #remove: Run;
  readonly #removeState: Run;
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
  /** Behind the rows that were read last, and how many those were. */
  #nextCold = 0;
  #ahead = 1;

  constructor(db: Database) {
    this.#db = db;
    const places = (columns: readonly string[]) => columns.map(() => "?").join(", ");
    const [givenList, currentList] = [GIVEN.join(", "), CURRENT.join(", ")];
    this.#given = db.prepare<Column[]>(`SELECT ${givenList} FROM jobs WHERE row BETWEEN ? AND ?`).raw();
    this.#current = db
      .prepare<Column[]>(`SELECT row, ${currentList} FROM states WHERE row BETWEEN ? AND ?`)
      .raw();
    this.#insert = db.prepare(`INSERT INTO jobs (${givenList}) VALUES (${places(GIVEN)})`);
    this.#begin = db.prepare(`INSERT INTO states (${currentList}, row) VALUES (${places(CURRENT)}, ?)`);
    // The revision is checked in the statement that writes: no decision on a stale row has any effect.
    const set = CURRENT.map((column) => `${column} = ?`).join(", ");
    this.#update = db.prepare(`UPDATE states SET ${set} WHERE row = ? AND revision = ?`);
    this.#empty = db.prepare("UPDATE jobs SET input = NULL, upload = NULL, trace = NULL WHERE row = ?");
    this.#remove = db.prepare("DELETE FROM jobs WHERE row = ?");
    this.#removeState = db.prepare("DELETE FROM states WHERE row = ?");
    this.#append = db.prepare("INSERT INTO events (seq, last, at, entries, names) VALUES (?, ?, ?, ?, ?)");
    this.#after = db.prepare("SELECT seq, at, entries, names FROM events WHERE last > ? ORDER BY seq");
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
        "SELECT max(coalesce((SELECT max(row) FROM jobs), 0), coalesce((SELECT CAST(value AS INTEGER) FROM facts WHERE name = 'last-row'), 0)) + 1 AS row, coalesce((SELECT last FROM events ORDER BY seq DESC LIMIT 1), 0) + 1 AS seq",
      )
      .get() as { row: number; seq: number };
  }

  /** Every row, with what its place is told from and no more: for telling the roster. */
  *scan(): Iterable<Row> {
    const settled = "status IN ('completed', 'failed', 'canceled')";
    const both = "states CROSS JOIN jobs ON jobs.row = states.row";
    const keys = ["row", "policy", "address", "key"] as const;
    yield* this.#scan(keys, ["status", "expires_at", "gone_at"], `${both} WHERE ${settled}`);
    const place = [...keys, "owner", "operation", "turn", "created_at", "due_at", "start_by"] as const;
    yield* this.#scan(place, [], "jobs WHERE NOT EXISTS (SELECT 1 FROM states WHERE states.row = jobs.row)");
    const texts = new Set<string>(["message", "checkpoint", "result", "files", "problem"]);
    yield* this.#scan(
      place,
      CURRENT.filter((column) => !texts.has(column)),
      `${both} WHERE NOT ${settled}`,
    );
  }

  // A page at a time, for one row at a time costs more than reading it; and only these columns, for so does each of them.
  *#scan(
    ofGiven: readonly (typeof GIVEN)[number][],
    ofCurrent: readonly (typeof CURRENT)[number][],
    from: string,
  ): Iterable<Row> {
    const [outer] = from.split(" ", 1);
    const columns = [...ofGiven.map((name) => `jobs.${name}`), ...ofCurrent.map((name) => `states.${name}`)];
    const page = this.#db
      .prepare<Column[]>(
        `SELECT ${columns.join(", ")} FROM ${from} AND ${outer}.row > ? ORDER BY ${outer}.row LIMIT ${SCAN_ROWS}`,
      )
      .raw();
    const given: Column[] = GIVEN.map(() => null);
    const current: Column[] = CURRENT.map(() => null);
    const givenAt = ofGiven.map((name) => GIVEN.indexOf(name));
    const currentAt = ofCurrent.map((name) => CURRENT.indexOf(name));
    let last = 0;
    for (;;) {
      const rows = page.all(last) as Column[][];
      for (const row of rows) {
        for (let at = 0; at < givenAt.length; at++) given[givenAt[at] as number] = row[at] as Column;
        for (let at = 0; at < currentAt.length; at++)
          current[currentAt[at] as number] = row[givenAt.length + at] as Column;
        yield rowOf(given, currentAt.length === 0 ? null : current, 0, this.#policies);
      }
      const end = rows.at(-1);
      if (end === undefined) return;
      last = end[0] as number;
    }
  }

  /** Forgets what is held, after another process or a rollback changed the rows. */
  cool(): void {
    this.#hot.clear();
    this.#nextCold = 0;
    this.#policies.open(this.#db);
    this.#size = null;
  }

  get(row: number): Row | null {
    return this.#hot.get(row) ?? this.#read(row);
  }

  // Where one row after the other is asked for, those that follow are read along with it.
  #read(row: number): Row | null {
    this.#ahead = row === this.#nextCold ? Math.min(MOST_AHEAD, this.#ahead * 4) : 1;
    const last = row + this.#ahead - 1;
    this.#nextCold = last + 1;
    const states = this.#current.all(row, last) as Column[][];
    let next = 0;
    let found: Row | null = null;
    for (const columns of this.#given.all(row, last) as Column[][]) {
      const number = columns[0] as number;
      while (next < states.length && (states[next]?.[0] as number) < number) next++;
      const state = states[next]?.[0] === number ? (states[next] as Column[]) : null;
      // What is held is the same, and others may hold it too.
      const one = this.#hot.get(number) ?? rowOf(columns, state, 1, this.#policies);
      if (number === row) found = one;
      this.#hot.set(one);
    }
    return found;
  }

  insert(row: Row): void {
    this.#insert.run(...given(row, this.#policies));
    // It was another store's before.
    if (!isFresh(row.job)) this.#begin.run(...current(row.job), row.job.row);
    if (this.#size !== null) this.#size++;
    this.#hot.set(row);
  }

  update(row: Row, revision: number): void {
    const { job } = row;
    if (revision === 1) this.#begin.run(...current(job), job.row);
    else {
      const { changes } = this.#update.run(...current(job), job.row, revision);
      if (changes !== 1) throw new Error(`Row ${job.row} is not at revision ${revision}.`);
    }
    if (job.goneAt !== null) this.#empty.run(job.row);
    this.#hot.set(row);
  }

  remove(row: number): void {
    this.#remove.run(row);
    this.#removeState.run(row);
    // A number that was given once is never given again: an attempt of the row that was may still be under way.
    if (this.next().row <= row) this.#keepFact.run("last-row", String(row));
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
    const named = events.some(({ row }) => this.get(row) === null);
    const { seq, at, entries, names } = encodeChunk(events, named);
    this.#append.run(seq, seq + events.length - 1, at, entries, names);
  }

  eventsAfter(seq: number, limit: number): readonly Event[] {
    const events: Event[] = [];
    const namesOf = (row: number): Names => this.get(row)?.job ?? NOBODY;
    for (const chunk of this.#after.iterate(seq)) {
      for (const event of decodeChunk(chunk as Chunk, seq, limit - events.length, namesOf))
        events.push(event);
      if (events.length >= limit) break;
    }
    return events;
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
  const oneOf = (texts: readonly string[]) => `IN (${texts.map(() => "?").join(", ")})`;
  if (filter.belowRow !== undefined) add("jobs.row < ?", filter.belowRow);
  if (filter.status !== undefined)
    add(`coalesce(status, 'queued') ${oneOf(filter.status)}`, ...filter.status);
  if (filter.operation !== undefined) add(`operation ${oneOf(filter.operation)}`, ...filter.operation);
  if (filter.createdFrom !== undefined) add("created_at >= ?", filter.createdFrom);
  if (filter.createdTo !== undefined) add("created_at < ?", filter.createdTo);
  return db
    .prepare(
      `SELECT jobs.row FROM jobs LEFT JOIN states ON states.row = jobs.row
        WHERE ${where.join(" AND ")} ORDER BY jobs.row DESC LIMIT ?`,
    )
    .pluck()
    .all(...values, filter.limit) as number[];
}

/** A job's row outlives its events; should it not, they are nobody's. */
const NOBODY: Names = { id: "", owner: "", operation: "" };

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
