// Opens the database file: made anew in one piece, migrated by one of many, and refused where it is unsafe or broken.

import { randomBytes } from "node:crypto";
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  statSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import type Database from "better-sqlite3";
import { StoreUnavailable, StoreUnusable } from "../store.ts";
import { Database as Driver } from "./driver.ts";
import { checkWal } from "./wal.ts";

/** Marks a file as ours (`PRAGMA application_id`): "Coat". */
const APPLICATION_ID = 0x436f6174;

// Below this a WAL reset can corrupt the database when two connections write and checkpoint at once.
const LEAST_SQLITE = [3, 51, 3] as const;

// Another server may hold the write lock for as long as a large migration takes.
const BUSY_MS = 30_000;

const PAGE_CACHE_KIB = 16 * 1024;

/**
 * Each migration is one transaction, numbered by `PRAGMA user_version`. From version 2 on they only ever add, so that a
 * server of the version before runs on beside the new one.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE policies (number INTEGER PRIMARY KEY, json TEXT NOT NULL UNIQUE) STRICT;
  CREATE TABLE jobs (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    operation TEXT NOT NULL,
    policy INTEGER NOT NULL REFERENCES policies (number),
    address TEXT NOT NULL,
    key TEXT,
    fingerprint TEXT,
    reach TEXT,
    id_fingerprint TEXT,
    turn REAL NOT NULL,
    created_at INTEGER NOT NULL,
    start_by INTEGER,
    status TEXT NOT NULL,
    revision INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    started_at INTEGER,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER,
    expires_at INTEGER,
    gone_at INTEGER,
    cancel_requested_at INTEGER,
    worker TEXT,
    lease_until INTEGER,
    progress REAL,
    message TEXT,
    checkpoint TEXT,
    result TEXT,
    files TEXT,
    problem TEXT,
    input TEXT,
    upload TEXT,
    trace TEXT
  ) STRICT;
  CREATE INDEX jobs_by_owner ON jobs (owner, row);
  -- Inputs too large to be written again with every change of their job.
  CREATE TABLE inputs (row INTEGER PRIMARY KEY, input TEXT NOT NULL) STRICT;
  -- The feed: one row a commit, named by the first sequence in it.
  CREATE TABLE events (seq INTEGER PRIMARY KEY, last INTEGER NOT NULL, at INTEGER NOT NULL, entries TEXT NOT NULL) STRICT;
  CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
  `,
  // What changes leaves the long rows, and the feed names a job by its row: a change writes a tenth of the bytes.
  `
  ALTER TABLE jobs RENAME TO old_jobs;
  ALTER TABLE events RENAME TO old_events;
  CREATE TABLE jobs (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    operation TEXT NOT NULL,
    policy INTEGER NOT NULL,
    address TEXT NOT NULL,
    key TEXT,
    fingerprint TEXT,
    reach TEXT,
    id_fingerprint TEXT,
    turn REAL NOT NULL,
    created_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    start_by INTEGER,
    upload TEXT,
    trace TEXT,
    input TEXT
  ) STRICT;
  -- Jobs that something happened to.
  CREATE TABLE states (
    row INTEGER PRIMARY KEY,
    status TEXT NOT NULL,
    revision INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    started_at INTEGER,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER,
    expires_at INTEGER,
    gone_at INTEGER,
    cancel_requested_at INTEGER,
    worker TEXT,
    lease_until INTEGER,
    progress REAL,
    message TEXT,
    checkpoint TEXT,
    result TEXT,
    files TEXT,
    problem TEXT
  ) STRICT;
  -- The feed: one row a commit, named by the first sequence in it; what "entries" and "names" hold is told in entries.ts.
  CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    last INTEGER NOT NULL,
    at INTEGER NOT NULL,
    entries TEXT NOT NULL,
    names TEXT
  ) STRICT;
  INSERT INTO jobs
    SELECT row, id, owner, operation, policy, address, key, fingerprint, reach, id_fingerprint, turn, created_at,
      due_at, start_by, upload, trace, nullif(coalesce(input, (SELECT input FROM inputs WHERE inputs.row = old_jobs.row)), 'null')
    FROM old_jobs;
  INSERT INTO states
    SELECT row, status, revision, attempt, failures, crashes, due_at, started_at, updated_at, finished_at, expires_at,
      gone_at, cancel_requested_at, worker, lease_until, progress, message, checkpoint, result, files, problem
    FROM old_jobs WHERE revision > 1;
  INSERT INTO events
    SELECT seq, last, at, (
      SELECT json_group_array(CASE part
        WHEN 1 THEN CASE value
          WHEN 'queued' THEN 0 WHEN 'started' THEN 1 WHEN 'progress' THEN 2 WHEN 'retrying' THEN 3
          WHEN 'cancel-requested' THEN 4 WHEN 'completed' THEN 5 WHEN 'failed' THEN 6 WHEN 'canceled' THEN 7 ELSE 8 END
        WHEN 2 THEN value - old_events.at
        WHEN 7 THEN CASE value
          WHEN 'queued' THEN 0 WHEN 'processing' THEN 1 WHEN 'completed' THEN 2 WHEN 'failed' THEN 3 ELSE 4 END
        ELSE value END)
      FROM (
        SELECT key % 10 AS part, value FROM json_each(old_events.entries) WHERE key % 10 IN (1, 2, 3, 7, 8, 9) ORDER BY key
      )
    ), NULL
    FROM old_events;
  DROP TABLE old_jobs;
  DROP TABLE old_events;
  DROP TABLE inputs;
  CREATE INDEX jobs_by_owner ON jobs (owner, row);
  `,
];

export interface DatabaseOptions {
  /** Most bytes that the file may have; past it submits are answered 503. Default: no limit but the disk's. */
  readonly maxBytes?: number | undefined;
}

/** Opens the file for writing, making or migrating it first. Throws `StoreUnusable` in one sentence. */
export function openDatabase(file: string, options: DatabaseOptions = {}): Database.Database {
  checkVersion();
  let db: Database.Database | undefined;
  try {
    mkdirSync(dirname(file), { recursive: true });
    if (!existsSync(file)) {
      refuseLogAlone(file);
      createFile(file);
    }
    checkHeader(file);
    checkWal(file);
    db = new Driver(file, { timeout: BUSY_MS });
    checkOwn(db, file);
    setUp(db, file);
    migrate(db, file);
    if (options.maxBytes !== undefined) {
      const pageBytes = db.pragma("page_size", { simple: true }) as number;
      db.pragma(`max_page_count = ${Math.max(1, Math.floor(options.maxBytes / pageBytes))}`);
    }
    return db;
  } catch (error) {
    db?.close();
    const meaning = translate(error, file);
    if (meaning instanceof StoreUnusable || meaning instanceof StoreUnavailable) throw meaning;
    throw new StoreUnusable(`The store ${file} can't be opened: ${meaning.message}.`, { cause: error });
  }
}

/** Opens the file, which is there, for reading and checkpoints. */
export function openBeside(file: string): Database.Database {
  const db = new Driver(file, { timeout: BUSY_MS, fileMustExist: true });
  setUp(db, file);
  return db;
}

function checkVersion(): void {
  const memory = new Driver(":memory:");
  const version = memory.prepare("SELECT sqlite_version()").pluck().get() as string;
  memory.close();
  const parts = version.split(".").map(Number);
  for (const [index, least] of LEAST_SQLITE.entries()) {
    const part = parts[index] ?? 0;
    if (part > least) return;
    if (part < least) {
      throw new StoreUnusable(
        `SQLite ${version} is too old: ${LEAST_SQLITE.join(".")} is needed. Update the better-sqlite3 package.`,
      );
    }
  }
}

// A new file gets its name only when it is whole, so a kill leaves either nothing or a store; of two servers that
// start at once, one gives it the name and the other opens that.
function createFile(file: string): void {
  const draft = join(
    dirname(file),
    `.${basename(file)}.${process.pid}-${Math.random().toString(36).slice(2)}`,
  );
  try {
    const db = new Driver(draft);
    db.pragma(`application_id = ${APPLICATION_ID}`);
    for (const migration of MIGRATIONS) db.exec(migration);
    db.prepare("INSERT INTO facts (name, value) VALUES ('secret', ?)").run(randomBytes(32).toString("hex"));
    db.pragma(`user_version = ${MIGRATIONS.length}`);
    db.pragma("journal_mode = WAL");
    db.close();
    // Inputs and results lie in it: they are the server's to read and nobody else's on the machine.
    chmodSync(draft, 0o600);
    linkSync(draft, file);
    syncFolder(dirname(file));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw translate(error, file);
  } finally {
    for (const ending of ["", "-wal", "-shm", "-journal"]) rmSync(draft + ending, { force: true });
  }
}

// A log without its database holds jobs that were accepted, and SQLite would write it into the new file.
function refuseLogAlone(file: string): void {
  const log = `${file}-wal`;
  // The log comes after the file: where both appeared just now, another server made them.
  if (!existsSync(log) || statSync(log, { throwIfNoEntry: false })?.size === 0 || existsSync(file)) return;
  throw new StoreUnusable(
    `The store ${file} is not there, but its write-ahead log ${log} is. Restore the store from a backup, or delete the log to begin anew.`,
  );
}

function syncFolder(folder: string): void {
  const handle = openSync(folder, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

function checkHeader(file: string): void {
  const bytes = Buffer.alloc(16);
  const handle = openSync(file, "r");
  try {
    readSync(handle, bytes, 0, 16, 0);
  } finally {
    closeSync(handle);
  }
  if (statSync(file).size === 0) {
    throw new StoreUnusable(
      `The store ${file} is an empty file, so what it held is gone. Restore it from a backup, or delete it (with ${basename(file)}-wal) to begin anew.`,
    );
  }
  if (bytes.toString("latin1") !== "SQLite format 3\0") {
    throw new StoreUnusable(
      `The file ${file} is not an SQLite database, or its beginning is damaged. Restore it from a backup, or name another file.`,
    );
  }
}

// synchronous comes after journal_mode and is read back: better-sqlite3 is compiled to fall to NORMAL in WAL mode,
// which loses acknowledged commits at a power cut.
function setUp(db: Database.Database, file: string): void {
  const mode = db.pragma("journal_mode = WAL", { simple: true });
  db.pragma("synchronous = FULL");
  db.pragma(`cache_size = -${PAGE_CACHE_KIB}`);
  db.pragma("temp_store = MEMORY");
  // Checkpoints are the other thread's, off the path of commits.
  db.pragma("wal_autocheckpoint = 0");
  const synchronous = db.pragma("synchronous", { simple: true });
  if (mode !== "wal" || synchronous !== 2) {
    throw new StoreUnusable(
      `The store ${file} can't keep its promise: journal_mode is ${mode} and synchronous ${synchronous}, where wal and 2 (FULL) are needed. Is it on a network file system?`,
    );
  }
}

// Before anything is changed: another application's file stays as it is.
function checkOwn(db: Database.Database, file: string): void {
  const application = db.pragma("application_id", { simple: true });
  if (application !== APPLICATION_ID) {
    throw new StoreUnusable(`The database ${file} is not a store of Coatcheck. Name another file.`);
  }
  const version = db.pragma("user_version", { simple: true }) as number;
  if (version > MIGRATIONS.length) {
    throw new StoreUnusable(
      `The store ${file} is of version ${version}, made by a newer Coatcheck; this one knows ${MIGRATIONS.length}. Update Coatcheck.`,
    );
  }
}

function migrate(db: Database.Database, file: string): void {
  const version = () => db.pragma("user_version", { simple: true }) as number;
  // IMMEDIATE: of many servers one migrates, the rest wait here and then find it done.
  db.transaction(() => {
    checkOwn(db, file);
    for (let next = version(); next < MIGRATIONS.length; next++) {
      db.exec(MIGRATIONS[next] as string);
      db.pragma(`user_version = ${next + 1}`);
    }
  }).immediate();
}

/** What an error of SQLite or the file system means for whoever asked. */
export function translate(error: unknown, file: string): Error {
  if (error instanceof StoreUnusable || error instanceof StoreUnavailable) return error;
  const { code = "", message } = error as { code?: string; message: string };
  if (/^SQLITE_(CORRUPT|NOTADB)/.test(code)) {
    return new StoreUnusable(
      `The store ${file} is damaged (${message}). Restore it from a backup; nothing was changed.`,
      { cause: error },
    );
  }
  if (
    /^(SQLITE_(FULL|IOERR|READONLY|BUSY|CANTOPEN|PERM|NOMEM|LOCKED)|ENOSPC|EROFS|EIO|EACCES|EDQUOT|EMFILE)/.test(
      code,
    )
  ) {
    return new StoreUnavailable(`The store ${file} can't be written: ${message} (${code}).`, {
      cause: error,
    });
  }
  return error as Error;
}
