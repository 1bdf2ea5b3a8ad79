import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { Desk, FAILED, HOUR_MS, refusalOf } from "../testing/store/desk.ts";
import { createClock } from "./clock.ts";
import { openMemory } from "./memory.ts";
import { MoveRefused, moveStore } from "./move.ts";
import { openSqlite } from "./sqlite/sqlite.ts";
import type { Store, StoredJob } from "./store.ts";

const endings: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
});

const clock = createClock();

async function openFile(): Promise<Store> {
  const folder = mkdtempSync(join(tmpdir(), "coatcheck-move-"));
  const store = await openSqlite({ file: join(folder, "store.db"), clock });
  endings.push(() => rmSync(folder, { recursive: true }));
  endings.push(() => store.close());
  return store;
}

function openDesk(store: Store): Desk {
  const desk = new Desk(store, clock, undefined);
  endings.push(() => desk.end());
  return desk;
}

/** A store in the middle of its life: jobs in every status, keys, a pause, what was learned. */
async function live(store: Store): Promise<Desk> {
  const desk = openDesk(store);
  await desk.done({ key: "done", input: '{"a":"é"}' });
  await desk.done({ key: "failed" }, { ...FAILED, final: true });
  const backoff = { kind: "fixed", baseMs: HOUR_MS, maxMs: HOUR_MS, jitter: 0 } as const;
  const retried = await desk.job({ policy: { backoff } });
  await desk.settle(await desk.attempt(), FAILED);
  await desk.cancel(await desk.job());
  await desk.jobs(1200, { policy: { weight: 2 } });
  await desk.job({ delayMs: HOUR_MS, key: "late" });
  await desk.job({ owner: "other" });
  expect(await desk.get(retried)).toMatchObject({ status: "queued", failures: 1 });
  await store.write({ do: "pause", operation: "held", paused: true });
  await store.write({ do: "keep", name: "note/1", value: "one" });
  return desk;
}

async function everything(store: Store) {
  const stored: StoredJob[] = [];
  for (;;) {
    const page = await store.read({ get: "stored", afterRow: stored.at(-1)?.job.row ?? 0, limit: 400 });
    if (page.length === 0) break;
    stored.push(...page);
  }
  const addresses = stored.map(({ address }) => address);
  const sights = await Promise.all(addresses.map((address) => store.read({ get: "job", address })));
  // Which workers were seen of late is no fact of the store's.
  const positions = sights.map((sight) => sight?.position);
  const events = await store.read({ get: "events", after: 0, limit: 100_000 });
  const secret = await store.read({ get: "secret" });
  const paused = await store.read({ get: "paused" });
  const kept = await store.read({ get: "kept", prefix: "" });
  return {
    stored,
    positions,
    events,
    secret,
    paused,
    kept,
    durations: await store.read({ get: "durations" }),
  };
}

describe("a move", () => {
  for (const [name, openFrom, openTo] of [
    ["from memory to a file", async () => openMemory({ clock }), openFile],
    ["from a file to another", openFile, openFile],
  ] as const) {
    test(`${name} carries every job, key, event and fact over, and work goes on in the same order`, async () => {
      const [from, to] = [await openFrom(), await openTo()];
      const desk = await live(from);
      const told: number[] = [];
      const { jobs } = await moveStore(from, to, { onProgress: (moved) => told.push(moved) });
      expect(await everything(to)).toEqual(await everything(from));
      expect([told[0], told.at(-1)]).toEqual([0, jobs]);

      const there = openDesk(to);
      expect(await to.write(desk.submitting({ key: "done", input: '{"a":"é"}' }))).toMatchObject({
        replayed: true,
      });
      expect(refusalOf(await to.write(desk.submitting({ key: "done", input: "2" })))).toBe("key-reused");
      const asked = { operation: desk.operation, limit: 50 };
      const rows = async (one: Desk) => (await one.claim(asked)).jobs.map(({ row }) => row);
      expect(await rows(there)).toEqual(await rows(desk));
    });
  }

  test("that was interrupted goes on, and one that is done can be done again", async () => {
    const [from, to] = [openMemory({ clock }), await openFile()];
    await live(from);
    let parts = 0;
    const interrupted: Store = {
      ...to,
      name: to.name,
      durability: to.durability,
      read: (query) => to.read(query),
      write(write) {
        if (write.do === "restore" && write.jobs.length > 0 && ++parts === 2) throw new Error("cut");
        return to.write(write);
      },
    };
    await expect(moveStore(from, interrupted)).rejects.toThrow("cut");
    expect(await everything(to)).not.toEqual(await everything(from));
    await moveStore(from, to);
    await moveStore(from, to);
    expect(await everything(to)).toEqual(await everything(from));
  });

  test("into a store with jobs of its own is refused, and changes nothing there", async () => {
    const [from, to] = [openMemory({ clock }), await openFile()];
    await live(from);
    await openDesk(to).jobs(3);
    const before = await everything(to);
    await expect(moveStore(from, to)).rejects.toThrow(MoveRefused);
    expect(await everything(to)).toEqual(before);
  });

  test("of a store that someone works in is refused", async () => {
    const [from, to] = [openMemory({ clock }), await openFile()];
    const desk = await live(from);
    await desk.claim({ limit: 1 });
    await expect(moveStore(from, to, { now: () => desk.now })).rejects.toThrow(/is being worked on/);
  });

  test("of a store that went on after an interrupted move is refused", async () => {
    const [from, to] = [openMemory({ clock }), await openFile()];
    const desk = await live(from);
    await moveStore(from, to);
    await desk.job();
    await expect(moveStore(from, to)).rejects.toThrow(/was written after this move began/);
  });
});
