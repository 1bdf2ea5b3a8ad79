// Transactions of several servers that meet, and one whose end a crash of PostgreSQL leaves in doubt.

import { randomBytes } from "node:crypto";
import pg from "pg";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { type MortalPostgres, provideMortalPostgres } from "../../../test/mortal-postgres.ts";
import { openProxy } from "../../../test/proxy.ts";
import { Desk } from "../../testing/store/desk.ts";
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
  await giveNumbers(100);
  proxy.mend();
  expect(await asked).toBeInstanceOf(StoreUnavailable);
  expect((await (await open(schema)).read({ get: "counts" })).jobs).toBe(1);
}, 60_000);

test("servers that accept for different owners at once pass no backlog, neither an operation's nor that of all", async () => {
  const schema = name();
  const desks = (await Promise.all(Array.from({ length: 4 }, () => open(schema)))).map(deskOf);
  const submit = (limits: object, operation: (n: number) => string) =>
    Promise.all(
      Array.from({ length: 64 }, (_, n) =>
        (desks[n % 4] as Desk).submit({ owner: `owner ${n}`, operation: operation(n), limits }),
      ),
    );
  const one = await submit({ operationBacklog: 10 }, () => "one");
  expect(one.filter((written) => "did" in written)).toHaveLength(10);
  expect(one.filter((written) => "refused" in written)[0]).toEqual({ refused: "operation-backlog-full" });
  const all = await submit({ backlog: 30 }, (n) => `operation-${n % 7}`);
  expect(all.filter((written) => "did" in written)).toHaveLength(20);
  expect(all.filter((written) => "refused" in written)[0]).toEqual({ refused: "backlog-full" });
});

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
  return `transaction_${randomBytes(6).toString("hex")}`;
}

/** Lets the server give so many transactions a number. */
async function giveNumbers(count: number): Promise<void> {
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  for (let n = 0; n < count; n++) await client.query("SELECT txid_current()");
  await client.end();
}
