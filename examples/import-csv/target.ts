// The table that an import fills, and the row beside it that makes the import exactly-once.
//
// A checkpoint alone can't: a kill between a batch's commit and its checkpoint would import the batch twice. So each
// batch moves, in its own transaction, the position in `coatcheck_imports`; the table is always as far as that row
// says. The move also asks for the attempt's number and the position before, so an attempt that was given up for
// dead, or another job's import into the same table, can't add a row.
//
// The rows gather in a table of another name; the last transaction puts it in place. Nobody sees half an import.

import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type BetterSqlite3 from "better-sqlite3";
import { Failure } from "coatcheck";
import type { Column, Value } from "./columns.ts";
import type { Position } from "./source.ts";
import { SQLite } from "./sqlite.ts";

/** Whose import it is. */
export interface Importer {
  readonly job: string;
  readonly attempt: number;
}

/** What an earlier attempt of the same job has done. */
export interface Begun {
  readonly columns: readonly Column[];
  readonly position: Position;
  /** Whether the import is whole and in place. */
  readonly done: boolean;
}

interface Row {
  readonly job: string;
  readonly attempt: number;
  readonly columns: string;
  readonly position: string;
  readonly rows: number;
  readonly done: number;
}

/** The database of an owner, relative to the folder of imports: nobody replaces another owner's tables. */
export function databaseOf(owner: string): string {
  // Lower case only, because some file systems take `A` and `a` for the same.
  const plain = /^[a-z0-9_-]{1,64}$/.test(owner);
  return `${plain ? owner : `~${createHash("sha256").update(owner).digest("hex").slice(0, 32)}`}.db`;
}

export class Target {
  readonly #db: BetterSqlite3.Database;
  readonly #table: string;
  readonly #gathering: string;
  readonly #importer: Importer;
  readonly #replace: boolean;
  #insert: BetterSqlite3.Statement | undefined;

  constructor(
    folder: string,
    database: string,
    options: { readonly table: string; readonly replace: boolean; readonly importer: Importer },
  ) {
    mkdirSync(folder, { recursive: true });
    this.#db = new SQLite(join(folder, database));
    this.#db.pragma("journal_mode = WAL");
    // A job that has completed must not lose its last rows to a power cut.
    this.#db.pragma("synchronous = FULL");
    this.#db.exec(`CREATE TABLE IF NOT EXISTS coatcheck_imports (
      target TEXT PRIMARY KEY, job TEXT NOT NULL, attempt INTEGER NOT NULL, columns TEXT NOT NULL,
      position TEXT NOT NULL, rows INTEGER NOT NULL, done INTEGER NOT NULL) STRICT`);
    this.#table = options.table;
    this.#gathering = `coatcheck_import_${options.table}`;
    this.#importer = options.importer;
    this.#replace = options.replace;
  }

  /**
   * Takes over what an earlier attempt of the job did; undefined where there is nothing. `expected` says that there
   * should be something. Throws a `Failure` (409) where the table is another's.
   */
  resume(expected: boolean): Begun | undefined {
    return this.#immediately(() => {
      const row = this.#row();
      if (row === undefined || row.job !== this.#importer.job) {
        if (row !== undefined && row.done === 0 && expected) throw takenOver(this.#table);
        this.#refuseExisting();
        return undefined;
      }
      this.#refuseOlder(row);
      if (row.done === 0 && !this.#exists(this.#gathering)) return undefined;
      this.#db
        .prepare("UPDATE coatcheck_imports SET attempt = ? WHERE target = ?")
        .run(this.#importer.attempt, this.#table);
      return {
        columns: JSON.parse(row.columns) as Column[],
        position: JSON.parse(row.position) as Position,
        done: row.done === 1,
      };
    });
  }

  /** Makes the table anew, empty. */
  begin(columns: readonly Column[], position: Position): void {
    const { job, attempt } = this.#importer;
    const list = columns.map(({ name, type }) => `${quote(name)} ${type}`).join(", ");
    this.#immediately(() => {
      const row = this.#row();
      if (row?.job === job) this.#refuseOlder(row);
      this.#refuseExisting();
      this.#db.exec(`DROP TABLE IF EXISTS ${quote(this.#gathering)}`);
      this.#db.exec(`CREATE TABLE ${quote(this.#gathering)} (${list}) STRICT`);
      this.#db
        .prepare("REPLACE INTO coatcheck_imports VALUES (?, ?, ?, ?, ?, ?, 0)")
        .run(this.#table, job, attempt, JSON.stringify(columns), JSON.stringify(position), position.rows);
    });
  }

  /** Adds a batch and moves the position over it, in one transaction. */
  append(batch: readonly Value[][], before: Position, after: Position): void {
    this.#immediately(() => {
      this.#move(before, after, 0);
      // Prepared only now: the table is certainly ours.
      this.#insert ??= this.#db.prepare(
        `INSERT INTO ${quote(this.#gathering)} VALUES (${batch[0]!.map(() => "?").join(", ")})`,
      );
      for (const values of batch) this.#insert.run(values);
    });
  }

  /** Puts the whole import in place. */
  finish(position: Position): void {
    this.#immediately(() => {
      this.#move(position, position, 1);
      this.#refuseExisting();
      this.#db.exec(`DROP TABLE IF EXISTS ${quote(this.#table)}`);
      this.#db.exec(`ALTER TABLE ${quote(this.#gathering)} RENAME TO ${quote(this.#table)}`);
    });
  }

  /** Forgets an import that has failed for good, unless it is another's by now. */
  discard(): void {
    this.#immediately(() => {
      const { job, attempt } = this.#importer;
      const mine = this.#db
        .prepare("DELETE FROM coatcheck_imports WHERE target = ? AND job = ? AND attempt = ? AND done = 0")
        .run(this.#table, job, attempt);
      if (mine.changes === 1) this.#db.exec(`DROP TABLE IF EXISTS ${quote(this.#gathering)}`);
    });
  }

  close(): void {
    this.#db.close();
  }

  #move(before: Position, after: Position, done: 0 | 1): void {
    const { job, attempt } = this.#importer;
    const moved = this.#db
      .prepare(
        `UPDATE coatcheck_imports SET position = ?, rows = ?, done = ?
         WHERE target = ? AND job = ? AND attempt = ? AND rows = ? AND done = 0`,
      )
      .run(JSON.stringify(after), after.rows, done, this.#table, job, attempt, before.rows);
    if (moved.changes === 1) return;
    if (this.#row()?.job !== job) throw takenOver(this.#table);
    throw new Error("Another attempt of this job works on the import.");
  }

  #refuseOlder(row: Row): void {
    if (row.attempt > this.#importer.attempt)
      throw new Error("A later attempt of this job works on the import.");
  }

  #refuseExisting(): void {
    if (this.#replace || !this.#exists(this.#table)) return;
    throw new Failure(`The table ${this.#table} exists; "ifExists": "replace" replaces it.`, {
      status: 409,
      type: "table-exists",
    });
  }

  #row(): Row | undefined {
    return this.#db.prepare("SELECT * FROM coatcheck_imports WHERE target = ?").get(this.#table) as
      | Row
      | undefined;
  }

  #exists(table: string): boolean {
    return this.#db.prepare("SELECT 1 FROM sqlite_schema WHERE name = ?").get(table) !== undefined;
  }

  // Immediate: what the transaction reads can't change before it writes.
  #immediately<T>(work: () => T): T {
    return this.#db.transaction(work).immediate();
  }
}

function takenOver(table: string): Failure {
  return new Failure(`Another import into the table ${table} has begun since.`, {
    status: 409,
    type: "table-taken",
  });
}

function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
