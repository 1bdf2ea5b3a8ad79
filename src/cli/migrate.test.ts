import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ProvidedServer, providePostgres, provideRedis } from "../../test/servers.ts";
import { openStore } from "../server/open-store.ts";
import { createClock } from "../store/clock.ts";
import type { Store } from "../store/store.ts";
import { addressOf, Desk } from "../testing/store/desk.ts";

const path = (file: string) => fileURLToPath(new URL(file, import.meta.url));

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs `coatcheck migrate …`. */
function migrate(...words: readonly string[]): Promise<Ran> {
  const program = ["--import", path("../../scripts/typescript.js"), path("./main.ts"), "migrate", ...words];
  return new Promise((resolve) => {
    execFile(process.execPath, program, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

let folder: string;
let postgres: ProvidedServer;
let redis: ProvidedServer;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "coatcheck-migrate-"));
  [postgres, redis] = await Promise.all([providePostgres(), provideRedis({ own: true, appendonly: true })]);
});
afterAll(async () => {
  await Promise.all([postgres.stop(), redis.stop()]);
  await rm(folder, { recursive: true });
});

async function using<T>(url: string, use: (store: Store) => Promise<T>): Promise<T> {
  const { store } = await openStore(url, { onBroken: () => {} });
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

describe("coatcheck migrate", () => {
  test("carries everything from a file to PostgreSQL, from there to Redis, and back to a file", async () => {
    const stores = [
      `sqlite:${join(folder, "from.db")}`,
      `${postgres.url}?schema=moved_${process.pid}`,
      `${redis.url}?prefix=moved`,
      `sqlite:${join(folder, "to.db")}`,
    ];
    const [done, waiting] = await using(stores[0] as string, async (store) => {
      const desk = new Desk(store, createClock(), undefined);
      const jobs = [
        await desk.done({ key: "k" }),
        ...(await desk.jobs(700)),
        await desk.job({ owner: "å\0\ud800" }),
      ];
      await desk.end();
      return [jobs[0], jobs[1]];
    });
    if (done === undefined || waiting === undefined) throw new Error("There are no jobs.");
    for (const [at, to] of stores.entries()) {
      const from = stores[at - 1];
      if (from === undefined) continue;
      const { code, out, err } = await migrate("--from", from, "--to", to);
      expect({ code, err: err.split("\n").at(-2) }).toEqual({ code: 0, err: "702 of 702 jobs (100 %)" });
      expect(out).toContain("702 jobs are in ");
      await using(to, async (store) => {
        const see = async ({ owner, id }: typeof done) =>
          (await store.read({ get: "job", address: addressOf(owner, id) }))?.job;
        expect(await see(done)).toEqual(done);
        expect(await see(waiting)).toEqual(waiting);
        expect((await store.read({ get: "events", after: 0, limit: 1000 })).at(-1)?.seq).toBe(704);
      });
    }
    // What is there already is left alone.
    expect((await migrate("--from", stores[0] as string, "--to", stores[1] as string)).code).toBe(0);
  });

  test.each([
    [["--to", "sqlite:a.db"], "coatcheck: Say where the jobs are: --from STORE.\n", 2],
    [["--from", "sqlite:a.db"], "coatcheck: Say where the jobs go: --to STORE.\n", 2],
    [
      ["--from", "sqlite:a.db", "--to", "mysql://x"],
      /^coatcheck: --to can't be mysql: a store is `sqlite:`/,
      2,
    ],
    [
      ["--from", "sqlite:/nowhere/a.db", "--to", "sqlite:/nowhere/b.db"],
      "coatcheck: There is no store to move: /nowhere/a.db does not exist.\n",
      1,
    ],
  ])("%j is answered by one sentence", async (words, sentence, code) => {
    const ran = await migrate(...words);
    expect(ran).toMatchObject({ code, out: "" });
    if (typeof sentence === "string") expect(ran.err).toBe(sentence);
    else expect(ran.err).toMatch(sentence);
  });

  test("a store with jobs of its own is left as it is", async () => {
    const [from, to] = [`sqlite:${join(folder, "one.db")}`, `sqlite:${join(folder, "two.db")}`];
    for (const url of [from, to])
      await using(url, async (store) => {
        const desk = new Desk(store, createClock(), undefined);
        await desk.jobs(3);
        await desk.end();
      });
    const { code, err } = await migrate("--from", from, "--to", to);
    expect(code).toBe(1);
    expect(err).toContain("coatcheck: The destination has jobs of its own");
    expect(await using(to, async (store) => (await store.read({ get: "counts" })).jobs)).toBe(3);
  });
});
