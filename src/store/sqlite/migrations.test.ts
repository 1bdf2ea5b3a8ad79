import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import type { Policy } from "../../core/job.ts";
import type { Store } from "../store.ts";
import { MIGRATIONS } from "./database.ts";
import { Database } from "./driver.ts";
import { openSqlite } from "./sqlite.ts";

const folder = mkdtempSync(join(tmpdir(), "coatcheck-migrations-"));
let store: Store | undefined;
afterEach(async () => {
  await store?.close();
  rmSync(folder, { recursive: true, force: true });
});

const POLICY: Policy = {
  maxAttempts: 3,
  backoff: { kind: "exponential", baseMs: 1000, maxMs: 60_000, jitter: 0.5 },
  timeoutMs: 60_000,
  leaseMs: 30_000,
  graceMs: 5000,
  retentionMs: 86_400_000,
  priority: 0,
  weight: 1,
  running: null,
  isolated: false,
};

const digest = (number: number) => number.toString(16).padStart(32, "0");

/** A store of version 1, as it was made: a waiting job, one with a long input, a completed one, and one that failed once. */
function makeFirst(file: string, now: number): void {
  const db = new Database(file);
  db.pragma(`application_id = ${0x436f6174}`);
  db.exec(MIGRATIONS[0] as string);
  db.prepare("INSERT INTO policies VALUES (1, ?)").run(JSON.stringify(POLICY));
  db.prepare("INSERT INTO facts VALUES ('secret', ?)").run("5e".repeat(32));
  const insert = (columns: Readonly<Record<string, string | number | null>>) => {
    const all = {
      ...{ owner: "anna", operation: "work", policy: 1, turn: 1, created_at: now, due_at: now },
      ...{ status: "queued", revision: 1, attempt: 0, failures: 0, crashes: 0, updated_at: now, ...columns },
    };
    const names = Object.keys(all);
    db.prepare(`INSERT INTO jobs (${names.join(", ")}) VALUES (${names.map(() => "?").join(", ")})`).run(
      Object.values(all),
    );
  };
  insert({ row: 1, id: "waits", address: digest(1), input: '{"n":1}', turn: 1.5, trace: "00-a" });
  insert({ row: 2, id: "long", address: digest(2), turn: 2 });
  db.prepare("INSERT INTO inputs VALUES (2, ?)").run(JSON.stringify("x".repeat(5000)));
  insert({
    ...{ row: 4, id: "done", address: digest(4), key: digest(40), fingerprint: digest(41), reach: "life" },
    ...{ status: "completed", revision: 3, attempt: 1, started_at: now + 1, updated_at: now + 2 },
    ...{ finished_at: now + 2, expires_at: now + 86_400_000, progress: 100, result: '{"ok":true}' },
    ...{ input: "null", start_by: now + 5 },
  });
  insert({
    ...{ row: 5, id: "again", address: digest(5), revision: 3, attempt: 1, failures: 1, input: "2" },
    ...{ due_at: now + 3_600_000, started_at: now + 1, updated_at: now + 3, turn: 3 },
    ...{ problem: JSON.stringify({ type: "attempt-failed", title: "No", status: 500 }) },
  });
  const entries = [
    ...[1, "queued", now, 1, "waits", "anna", "work", "queued", 0, 1],
    ...[2, "completed", now + 2, 4, "done", "anna", "work", "completed", 1, 3],
    ...[3, "cancel-requested", now + 1, 5, "again", "anna", "work", "processing", 1, 2],
  ];
  db.prepare("INSERT INTO events VALUES (1, 3, ?, ?)").run(now, JSON.stringify(entries));
  db.prepare("INSERT INTO events VALUES (4, 4, ?, ?)").run(
    now + 3,
    JSON.stringify([4, "retrying", now + 3, 5, "again", "anna", "work", "queued", 1, 3]),
  );
  db.pragma("user_version = 1");
  db.close();
}

test("a store of the first version is read as it was: jobs, keys, places and the feed", async () => {
  const file = join(folder, "store.db");
  const now = Date.now();
  makeFirst(file, now);
  store = await openSqlite({ file });
  const stored = await store.read({ get: "stored", afterRow: 0, limit: 10 });
  const common = { owner: "anna", operation: "work", policy: POLICY, createdAt: now };
  expect(stored.map(({ job }) => job)).toMatchObject([
    { ...common, row: 1, id: "waits", status: "queued", input: '{"n":1}', trace: "00-a", turn: 1.5 },
    { ...common, row: 2, id: "long", status: "queued", input: JSON.stringify("x".repeat(5000)) },
    {
      ...{ ...common, row: 4, id: "done", status: "completed", revision: 3, input: "null", startBy: now + 5 },
      ...{ result: { json: '{"ok":true}' }, finishedAt: now + 2, progress: 100, startedAt: now + 1 },
    },
    { ...common, row: 5, id: "again", failures: 1, dueAt: now + 3_600_000, problem: { title: "No" } },
  ]);
  expect(stored[2]).toMatchObject({
    address: digest(4),
    key: digest(40),
    fingerprint: digest(41),
    reach: "life",
  });
  expect(await store.read({ get: "job", address: digest(2) })).toMatchObject({ position: 2 });
  expect(await store.read({ get: "secret" })).toBe("5e".repeat(32));
  const named = { owner: "anna", operation: "work" };
  expect(await store.read({ get: "events", after: 0, limit: 10 })).toEqual([
    {
      ...{ ...named, seq: 1, kind: "queued", at: now, row: 1, id: "waits" },
      ...{ status: "queued", attempt: 0, revision: 1 },
    },
    {
      ...{ ...named, seq: 2, kind: "completed", at: now + 2, row: 4, id: "done" },
      ...{ status: "completed", attempt: 1, revision: 3 },
    },
    {
      ...{ ...named, seq: 3, kind: "cancel-requested", at: now + 1, row: 5, id: "again" },
      ...{ status: "processing", attempt: 1, revision: 2 },
    },
    {
      ...{ ...named, seq: 4, kind: "retrying", at: now + 3, row: 5, id: "again" },
      ...{ status: "queued", attempt: 1, revision: 3 },
    },
  ]);
  // It goes on from there: the next row and sequence, and work on what was there.
  const claimed = await store.write({
    ...{ do: "claim", worker: "w", slots: { work: 9 }, limit: 9, running: 0, held: false },
  });
  if (!("did" in claimed)) throw new Error("The claim was refused.");
  expect(claimed.jobs.map(({ id, revision }) => [id, revision])).toEqual([
    ["waits", 2],
    ["long", 2],
  ]);
  expect((await store.read({ get: "events", after: 4, limit: 10 })).map(({ seq }) => seq)).toEqual([5, 6]);
});
