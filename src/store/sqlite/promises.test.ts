import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { defineOperation } from "../../core/operation.ts";
import type { Store, SubmitWrite } from "../store.ts";
import { StoreUnavailable } from "../store.ts";
import { Database } from "./driver.ts";
import { openSqlite } from "./sqlite.ts";

const { policy } = defineOperation({ name: "empty" });

let folder: string;
let file: string;
let open: Store[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "coatcheck-promises-"));
  file = join(folder, "coatcheck.db");
  open = [];
});

afterEach(async () => {
  await Promise.all(open.map((store) => store.close()));
  await rm(folder, { recursive: true });
});

async function start(): Promise<Store> {
  const store = await openSqlite({ file });
  open.push(store);
  return store;
}

function submission(id = randomBytes(16).toString("hex")): SubmitWrite {
  return {
    do: "submit",
    submission: {
      id,
      owner: "acme",
      operation: "empty",
      policy,
      input: "{}",
      upload: null,
      trace: null,
      delayMs: 0,
      startWithinMs: null,
    },
    sameness: null,
    address: id,
    idFingerprint: null,
    limits: { active: null, operationBacklog: 1e9, backlog: 1e9 },
  };
}

it("A2: an accept is answered only once another connection can read it", async () => {
  const store = await start();
  const beside = new Database(file);
  const count = beside.prepare("SELECT count(*) FROM jobs").pluck();
  // Nothing can commit while this connection holds the lock.
  beside.exec("BEGIN IMMEDIATE");
  let isAnswered = false;
  const accepted = store.write(submission()).then((written) => {
    isAnswered = true;
    return { written, readable: count.get() };
  });
  // That nothing happens has no event: this is many times what an accept takes.
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(isAnswered).toBe(false);
  beside.exec("COMMIT");
  expect(await accepted).toMatchObject({ written: { did: "submit" }, readable: 1 });
  beside.close();
});

it("A5: what one server accepted, another on the same store can read at once", async () => {
  const one = await start();
  const other = await start();
  for (let round = 0; round < 50; round++) {
    const write = submission();
    await one.write(write);
    const seen = await other.read({ get: "job", address: write.address });
    expect(seen?.job.id).toBe(write.submission.id);
  }
});

it("G2: a server works on while a newer one adds to the schema", async () => {
  const store = await start();
  const before = submission();
  await store.write(before);
  const newer = new Database(file);
  newer.exec("ALTER TABLE jobs ADD COLUMN added_later TEXT; CREATE TABLE also_later (name TEXT) STRICT");
  newer.pragma("user_version = 3");
  const after = submission();
  expect(await store.write(after)).toMatchObject({ did: "submit", position: 2 });
  const claimed = await store.write({
    do: "claim",
    worker: "w",
    slots: { empty: 2 },
    limit: 2,
    running: 0,
    held: false,
  });
  if (!("did" in claimed)) throw new Error("The claim was refused.");
  expect(claimed.jobs.map(({ id }) => id)).toEqual([before.submission.id, after.submission.id]);
  for (const { row, attempt } of claimed.jobs) {
    const outcome = { kind: "completed", result: { json: "1" }, files: [] } as const;
    expect(await store.write({ do: "settle", row, attempt, outcome })).toMatchObject({ status: "completed" });
  }
  newer.close();
});

it("G4: writes past what may wait are refused at once, and those that wait are kept", async () => {
  const store = await start();
  const beside = new Database(file);
  beside.exec("BEGIN IMMEDIATE");
  const waiting: Promise<unknown>[] = [];
  let refused: unknown = null;
  // The first batch is under way and waits for the lock; the rest gathers behind it.
  for (let count = 0; refused === null && count < 200_000; count++) {
    const write = store.write(submission());
    waiting.push(write.catch((error: unknown) => (refused = error)));
    if (count % 5000 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.resolve();
  expect(refused).toBeInstanceOf(StoreUnavailable);
  beside.exec("COMMIT");
  const answers = await Promise.all(waiting);
  const kept = answers.filter((answer) => !(answer instanceof Error)).length;
  expect(beside.prepare("SELECT count(*) FROM jobs").pluck().get()).toBe(kept);
  beside.close();
});
