// Wake-up: how long after its submit on one server a job starts in another process, on each store that several share.
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { freshPostgres, freshRedis, type Measurement, takeTurns, using } from "../contestant.ts";
import { Caller, percentile } from "../load/jobs.ts";
import { sqliteIn, startOurs, startOurWorker } from "../ours.ts";
import { compare, type Row } from "../table.ts";
import type { Scenario } from "./scenario.ts";

export const wake: Scenario = async (circumstance) => {
  const { seconds, withOurs, directory } = circumstance;
  if (!withOurs) return [];
  const measure = async (store: string, dataDir: string) =>
    await using(startOurs({ work: false, dataDir, store }), async ({ url }) =>
      using(startOurWorker({ dataDir, store }), async () => {
        const caller = new Caller(url);
        const times: number[] = [];
        const end = performance.now() + (seconds + 1) * 1_000;
        while (performance.now() < end) {
          const sent = performance.timeOrigin + performance.now();
          const { status, body } = await caller.submit({ Prefer: "wait=10" });
          if (status !== 200) throw new Error(`A submit that waits was answered ${status}: ${body}`);
          times.push((JSON.parse(body) as { readonly startedAt: number }).startedAt - sent);
        }
        caller.close();
        // The first ones pay for code that was not compiled yet.
        const sorted = times.slice(50).sort((one, other) => one - other);
        return { p50Ms: percentile(sorted, 0.5), p99Ms: percentile(sorted, 0.99) };
      }),
    );
  const inFolder = async <T>(use: (dataDir: string) => Promise<T>): Promise<T> => {
    const dataDir = await mkdtemp(join(directory, "wake-"));
    const result = await use(dataDir);
    await rm(dataDir, { recursive: true });
    return result;
  };
  const on =
    (provide: typeof freshPostgres): Measurement =>
    () =>
      inFolder((dataDir) => using(provide(), ({ url }) => measure(url, dataDir)));
  const samples = await takeTurns(
    {
      PostgreSQL: on(freshPostgres),
      Redis: on(() => freshRedis({ appendonly: true })),
      SQLite: () => inFolder((dataDir) => measure(sqliteIn(dataDir), dataDir)),
    },
    circumstance,
  );
  return (["PostgreSQL", "Redis", "SQLite"] as const).flatMap((name): readonly Row[] => {
    const note = name === "SQLite" ? "two processes on one file" : "";
    const row = (figure: string, ours: readonly number[] | undefined, atMost: number) => {
      // Two processes on one file look at it twenty times a second: there is no aim for it.
      const aim = name === "SQLite" ? {} : { aim: { atMost } };
      return compare({ scenario: "wake", unit: "ms", figure: `${name}, ${figure}`, ours, note, ...aim });
    };
    return [row("p50", samples[name]?.p50Ms, 5), row("p99", samples[name]?.p99Ms, 25)];
  });
};
