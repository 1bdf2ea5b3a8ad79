// Many servers on one PostgreSQL that get in each other's way, and what a crash of it gives away twice.

import { randomBytes } from "node:crypto";
import pg from "pg";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { openProxy } from "../../../test/proxy.ts";
import { type MortalPostgres, provideMortalPostgres } from "../../../test/servers.ts";
import { type Asked, COMPLETED, Desk, FAILED } from "../../testing/store/desk.ts";
import { createClock } from "../clock.ts";
import { type Store, StoreUnavailable } from "../store.ts";
import { openPostgres } from "./postgres.ts";

let server: MortalPostgres;
const undone: (() => unknown)[] = [];

beforeAll(async () => {
  server = await provideMortalPostgres();
  await server.start();
}, 120_000);

afterEach(async () => {
  for (const undo of undone.splice(0).reverse()) await undo();
});

afterAll(() => server?.stop());

test("eight that race meet no deadlock, keep quotas exact, begin no attempt twice and count what there is", async () => {
  const schema = name();
  const stores = await Promise.all(Array.from({ length: 8 }, () => open(schema)));
  const desks = stores.map(deskOf);
  const [first] = desks as [Desk];
  const before = await deadlocks();
  const begun: string[] = [];
  let settled = 0;
  await Promise.all(
    desks.map(async (desk, at) => {
      for (let round = 0; round < 12; round++) {
        const accepted = askedBy(at, round).map((one) => desk.submit(one));
        const slots = { "race-0": 4, "race-1": 4, "race-2": 4 };
        const { jobs } = await desk.claim({ worker: `w${at}`, slots, limit: 9 });
        begun.push(...jobs.map(({ row, attempt }) => `${row}.${attempt}`));
        const ended = jobs.map(async (job, index) => {
          if (index % 4 === 3) await desk.cancel(job);
          const written = await desk.settle(job, index % 4 === 1 ? { ...FAILED, final: true } : COMPLETED);
          if ("did" in written) settled++;
        });
        await Promise.all([...accepted, ...ended, desk.write({ do: "sweep", limit: 50 })]);
      }
    }),
  );
  expect(begun.length).toBeGreaterThan(100);
  expect(new Set(begun).size).toBe(begun.length);
  expect(settled).toBe(begun.length);
  await judge(first.store);
  await Promise.all(stores.map((store) => store.close()));
  expect(await deadlocks()).toBe(before);
}, 60_000);

test("a write whose number a crashed server gave to another is not taken for committed", async () => {
  let killed: Promise<void> | null = null;
  let isArmed = false;
  const proxy = await openProxy({
    port: Number(new URL(server.url).port),
    hear: (message) => {
      if (!isArmed || !/INSERT INTO request[\s\S]*COMMIT\0$/.test(message.toString("latin1"))) return "pass";
      isArmed = false;
      // Nothing of it is on the disk yet, not even that its number was given.
      killed = server.kill();
      proxy.cut();
      return "lose";
    },
  });
  undone.push(() => proxy.close());
  const schema = name();
  const url = new URL(server.url);
  url.port = String(proxy.port);
  const desk = deskOf(await open(schema, url.href));
  await desk.job();
  isArmed = true;
  const asked = desk.submit({ owner: "lost" }).catch((error: unknown) => error);
  await vi.waitFor(() => expect(killed).not.toBeNull());
  await killed;
  await server.start();
  await sql(Array.from({ length: 100 }, () => "SELECT txid_current()"));
  proxy.mend();
  expect(await asked).toBeInstanceOf(StoreUnavailable);
  expect((await (await open(schema)).read({ get: "counts" })).jobs).toBe(1);
}, 60_000);

test("a server that waits for standbys is class quorum, unless its commits are local", async () => {
  const schema = name();
  await open(schema);
  await alter("SET synchronous_standby_names = '*'", "*");
  undone.push(() => alter("RESET synchronous_standby_names", ""));
  expect((await open(schema)).durability).toBe("quorum");
  await sql(["SET synchronous_commit = local", "ALTER DATABASE postgres SET synchronous_commit = local"]);
  undone.push(() =>
    sql(["SET synchronous_commit = local", "ALTER DATABASE postgres RESET synchronous_commit"]),
  );
  expect((await open(schema)).durability).toBe("power");
});

/** Owners, operations and keys that all ask for, in an order of one's own. */
function askedBy(at: number, round: number): readonly Asked[] {
  return Array.from({ length: 12 }, (_, index) => {
    const n = (index * (2 * at + 1) + round) % 12;
    return {
      ...{ owner: `owner ${n % 5}`, operation: `race-${n % 3}`, key: `${round} ${n}` },
      ...{ policy: { running: 3, priority: n % 2 }, limits: { active: 12 } },
    };
  });
}

/** Plays the feed: at no moment had an owner more than it may; and the counts are those of the rows. */
async function judge(store: Store): Promise<void> {
  const events = await store.read({ get: "events", after: 0, limit: 1_000_000 });
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
  const active = new Map<string, number>();
  const running = new Map<string, number>();
  const add = (counts: Map<string, number>, owner: string, by: number) => {
    counts.set(owner, (counts.get(owner) ?? 0) + by);
    return counts.get(owner) ?? 0;
  };
  for (const { kind, owner } of events) {
    if (kind === "queued") expect(add(active, owner, 1)).toBeLessThanOrEqual(12);
    if (kind === "started") expect(add(running, owner, 1)).toBeLessThanOrEqual(3);
    if (kind !== "completed" && kind !== "failed" && kind !== "canceled") continue;
    add(active, owner, -1);
    add(running, owner, -1);
  }
  const stored = await store.read({ get: "stored", afterRow: 0, limit: 1_000_000 });
  const counts = await store.read({ get: "counts" });
  expect(counts.jobs).toBe(stored.length);
  const queued = stored.map(({ job }) => job).filter(({ status }) => status === "queued");
  for (const operation of ["race-0", "race-1", "race-2"])
    expect(counts.operations[operation] ?? { queued: 0, processing: 0 }).toEqual({
      queued: queued.filter((job) => job.operation === operation).length,
      processing: 0,
    });
  for (const [owner, had] of active) expect(had).toBe(queued.filter((job) => job.owner === owner).length);
}

async function open(schema: string, url = server.url): Promise<Store> {
  const store = await openPostgres({ url, schema });
  undone.push(() => store.close());
  return store;
}

function deskOf(store: Store): Desk {
  const desk = new Desk(store, createClock(), undefined);
  undone.push(() => desk.end());
  return desk;
}

function name(): string {
  return `races_${randomBytes(6).toString("hex")}`;
}

async function sql(statements: readonly string[]): Promise<readonly Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  try {
    let rows: Record<string, unknown>[] = [];
    for (const statement of statements) rows = (await client.query(statement)).rows;
    return rows;
  } finally {
    await client.end();
  }
}

async function alter(change: string, now: string): Promise<void> {
  // It must not wait for the standby that it names.
  await sql(["SET synchronous_commit = local", `ALTER SYSTEM ${change}`, "SELECT pg_reload_conf()"]);
  await vi.waitFor(async () => {
    const [row] = await sql(["SHOW synchronous_standby_names"]);
    expect(row?.synchronous_standby_names).toBe(now);
  });
}

async function deadlocks(): Promise<unknown> {
  const [row] = await sql(["SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"]);
  return row?.deadlocks;
}
