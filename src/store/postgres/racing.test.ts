// Many engines on the same rows: nobody waits for somebody who waits for them, nothing is counted wrong, nothing begins twice.

import { randomBytes } from "node:crypto";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ProvidedServer, providePostgres } from "../../../test/servers.ts";
import type { Event } from "../../core/event.ts";
import type { Job } from "../../core/job.ts";
import { COMPLETED, CRASHED, Desk, FAILED } from "../../testing/store/desk.ts";
import { createClock } from "../clock.ts";
import type { Store } from "../store.ts";
import { openPostgres } from "./postgres.ts";

let server: ProvidedServer;
let admin: pg.Client;

beforeAll(async () => {
  server = await providePostgres({ own: true });
  admin = new pg.Client({ connectionString: server.url });
  await admin.connect();
});

afterAll(async () => {
  await admin?.end();
  await server?.stop();
});

test("eight servers that race accept a key once, keep each quota, begin no job twice, and leave every count right", async () => {
  const schema = `racing_${randomBytes(6).toString("hex")}`;
  const clock = createClock();
  const stores = await Promise.all(
    Array.from({ length: 8 }, () => openPostgres({ url: server.url, schema, clock })),
  );
  const desks = stores.map((store) => new Desk(store, clock, undefined));
  const heard: readonly Event[][] = stores.map(hearsAll);
  const [first] = desks as [Desk];
  const deskAt = (n: number) => desks[n % desks.length] as Desk;
  const dice = dealer(7);
  const operations = ["a", "b", "c"];
  const begun = new Set<string>();
  const running = new Map<string, number>();
  const accepted: Job[] = [];

  const caller = async (n: number) => {
    for (let round = 0; round < 60; round++) {
      const owner = `owner ${dice(5)}`;
      const written = await deskAt(n).submit({
        owner,
        operation: operations[dice(3)] as string,
        policy: { running: 2, maxAttempts: 2, priority: dice(2), weight: 1 + dice(3), backoff: BACKOFF },
        limits: { active: 12 },
        delayMs: dice(4) === 0 ? dice(60) : 0,
        ...(dice(3) === 0 ? { key: `key ${owner} ${dice(20)}` } : {}),
      });
      if ("did" in written) accepted.push(written.job);
      else expect(written.refused).toMatch(/over-quota|key-reused/);
      const some = accepted[dice(accepted.length)];
      if (dice(4) === 0 && some !== undefined) await deskAt(n + 1).cancel(some);
    }
  };
  const worker = async (n: number, isOver: () => boolean) => {
    while (!isOver()) {
      const { jobs } = await deskAt(n).claim({ slots: { a: 4, b: 4, c: 4 }, limit: 6, worker: `w${n}` });
      for (const job of jobs) {
        const attempt = `${job.row}.${job.attempt}`;
        expect(begun).not.toContain(attempt);
        begun.add(attempt);
        running.set(job.owner, (running.get(job.owner) ?? 0) + 1);
        expect(running.get(job.owner)).toBeLessThanOrEqual(2);
      }
      await Promise.all(
        jobs.map(async (job) => {
          const outcome = [COMPLETED, FAILED, CRASHED, COMPLETED][dice(4)] as typeof COMPLETED;
          running.set(job.owner, (running.get(job.owner) ?? 0) - 1);
          const settles = await Promise.all([
            deskAt(n).settle(job, outcome),
            deskAt(n + 3).settle(job, outcome),
          ]);
          expect(settles.filter((one) => "did" in one)).toHaveLength(1);
        }),
      );
      await deskAt(n).write({ do: "sweep", limit: 50 });
    }
  };
  let isOver = false;
  const workers = Array.from({ length: 8 }, (_, n) => worker(n, () => isOver));
  await Promise.all(Array.from({ length: 8 }, (_, n) => caller(n)));
  // While nothing stands still the counts are those of the rows.
  expect(await recount(schema)).toEqual([]);
  await first.until(async () => {
    const { rows } = await admin.query(`SELECT count(*)::int AS n FROM ${schema}.job WHERE status < 2`);
    expect(rows).toEqual([{ n: 0 }]);
  });
  isOver = true;
  await Promise.all(workers);
  expect(await recount(schema)).toEqual([]);
  const events = await first.store.read({ get: "events", after: 0, limit: 1_000_000 });
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
  await first.until(() => {
    for (const one of heard) expect(one).toEqual(events);
  });
  expect(await deadlocks()).toBe(0);
  for (const desk of desks) await desk.end();
  await Promise.all(stores.map((store) => store.close()));
}, 60_000);

const BACKOFF = { kind: "exponential", baseMs: 1, maxMs: 5, jitter: 0 } as const;

function hearsAll(store: Store): Event[] {
  const events: Event[] = [];
  store.listen((some) => events.push(...some));
  return events;
}

/** What is counted otherwise than the rows say. */
async function recount(schema: string): Promise<unknown[]> {
  const { rows } = await admin.query(`
    WITH told AS (
      SELECT 'tally' AS what, operation || ' ' || stand || ' ' || priority || ' ' || level || ' ' || block AS which, sum(n)::int AS n
        FROM ${schema}.tally GROUP BY 2
      UNION ALL SELECT 'active', owner, active::int FROM ${schema}.owner UNION ALL SELECT 'running', owner, running::int FROM ${schema}.owner),
    line AS (SELECT * FROM ${schema}.job, (VALUES (0, 1024), (1, 32), (2, 4)) AS b(level, size) WHERE stand = 2),
    counted AS (
      SELECT 'tally' AS what, operation || ' 2 ' || priority || ' ' || level || ' ' || floor(turn / size) AS which, count(*)::int AS n FROM line GROUP BY 2
      UNION ALL SELECT 'tally', operation || ' ' || stand || ' 0 0 0', count(*)::int FROM ${schema}.job WHERE stand IN (1, 3, 4) GROUP BY 2
      UNION ALL SELECT 'tally', operation || ' 5 0 0 0', count(*)::int FROM ${schema}.job WHERE status = 1 GROUP BY 2
      UNION ALL SELECT 'tally', operation || ' 7 0 0 0', count(*)::int FROM ${schema}.job WHERE status = 0 GROUP BY 2
      UNION ALL SELECT 'tally', ' 6 0 0 0', count(*)::int FROM ${schema}.job
      UNION ALL SELECT 'active', owner, count(*)::int FROM ${schema}.job WHERE status < 2 GROUP BY 2
      UNION ALL SELECT 'running', owner, count(*)::int FROM ${schema}.job WHERE status = 1 GROUP BY 2)
    SELECT what, which, told.n AS told, counted.n AS counted FROM told FULL JOIN counted USING (what, which)
      WHERE coalesce(told.n, 0) <> coalesce(counted.n, 0)`);
  return rows;
}

async function deadlocks(): Promise<number> {
  const { rows } = await admin.query(
    "SELECT deadlocks::int AS n FROM pg_stat_database WHERE datname = 'postgres'",
  );
  return rows[0].n;
}

// The same numbers in each run.
function dealer(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * Math.max(below, 1));
  };
}
