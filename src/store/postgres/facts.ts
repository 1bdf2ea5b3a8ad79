// What a store keeps besides its jobs: pauses, what was learned, small texts under names; and all of it at once, taken over from
// another store.

import { type Durations, mergeDurations } from "../../core/durations.ts";
import type { KeepWrite, LearnWrite, PauseWrite, RestoreWrite, Written } from "../store.ts";
import { Changes, reachOf } from "./changes.ts";
import { decodeEvents, encodeEvents } from "./codec.ts";
import { first } from "./connection.ts";
import type { Policies } from "./policies.ts";
import { decodeDigest, encodeName, list, quote, table } from "./sql.ts";
import type { Transaction } from "./transaction.ts";

export async function keepFact(
  transaction: Transaction,
  write: KeepWrite | LearnWrite | PauseWrite,
): Promise<Written> {
  const changes = new Changes();
  if (write.do === "learn") {
    const name = `durations:${encodeName(write.operation)}`;
    // Two that learn at once wait for each other here, also where there is nothing yet to lock.
    const [, found] = await transaction.run(
      `INSERT INTO fact VALUES (${quote(name)}, '') ON CONFLICT DO NOTHING;
       SELECT value FROM fact WHERE name = ${quote(name)} FOR NO KEY UPDATE`,
    );
    const { value } = first<{ value: string }>(found);
    const known = value === "" ? null : (JSON.parse(value) as Durations);
    const merged = known === null ? write.durations : mergeDurations(known, write.durations);
    changes.also(set(name, JSON.stringify(merged)));
  } else if (write.do === "pause") {
    const name = `paused:${encodeName(write.operation)}`;
    changes.also(write.paused ? set(name, "true") : `DELETE FROM fact WHERE name = ${quote(name)};`);
  } else {
    const name = `kept:${encodeName(write.name)}`;
    const { value } = write;
    changes.also(
      value === null ? `DELETE FROM fact WHERE name = ${quote(name)};` : set(name, JSON.stringify(value)),
    );
  }
  await transaction.commit(changes);
  return { did: "nothing" };
}

export async function restore(
  transaction: Transaction,
  write: RestoreWrite,
  policies: Policies,
  now: number,
): Promise<Written> {
  await policies.learn(write.jobs.map(({ job }) => job.policy));
  const rows = list(
    write.jobs.map(({ job }) => job.row),
    "bigint",
  );
  const from = write.events[0]?.seq ?? 0;
  const [locked, there, known] = await transaction.run(`SELECT seq FROM feed FOR UPDATE;
    SELECT row, address FROM request WHERE row = ANY (${rows});
    SELECT last, entries FROM event WHERE last >= ${from} ORDER BY last LIMIT 1`);
  const addresses = new Map(
    ((there?.rows ?? []) as { row: number; address: string }[]).map((one) => [
      one.row,
      decodeDigest(one.address),
    ]),
  );
  const { seq } = first<{ seq: number }>(locked);
  const news = write.events.filter((event) => event.seq > seq);
  const changes = new Changes();
  const isTaken = write.jobs.some(
    ({ job, address }) => addresses.has(job.row) && addresses.get(job.row) !== address,
  );
  if (
    isTaken ||
    (news.length > 0 && seq > 0 && news[0]?.seq !== seq + 1) ||
    !isSame(write, seq, known?.rows[0])
  ) {
    await transaction.commit(changes);
    return { refused: "not-empty" };
  }
  const fresh = write.jobs.filter(({ job }) => !addresses.has(job.row));
  for (const stored of fresh) changes.insert(stored, policies.number(stored.job.policy), now);
  const named = fresh.filter(({ key, reach }) => key !== null && reach !== null);
  if (named.length > 0)
    changes.name(
      `INSERT INTO sameness (key, reach, row) SELECT * FROM ${table([
        ["key", "uuid", named.map(({ key }) => key)],
        ["reach", "smallint", named.map(({ reach }) => reachOf(reach))],
        ["row", "bigint", named.map(({ job }) => job.row)],
      ])} ORDER BY 3 ON CONFLICT (key, reach) DO UPDATE SET row = greatest(sameness.row, excluded.row);`,
    );
  if (fresh.length > 0)
    changes.also(
      `SELECT setval('job_row', greatest((SELECT last_value FROM job_row), ${fresh.at(-1)?.job.row ?? 1}));`,
    );
  if (news.length > 0) {
    const last = news.at(-1)?.seq ?? 0;
    changes.also(`UPDATE feed SET seq = ${last};
      INSERT INTO event (last, at, entries) VALUES (${last}, ${news[0]?.at ?? 0}, ${quote(encodeEvents(news))});`);
  }
  if (write.facts !== undefined) for (const statement of factsOf(write.facts)) changes.also(statement);
  await transaction.commit(changes);
  return { did: "nothing" };
}

// Whether what was moved before is what comes again: the first event tells.
function isSame(write: RestoreWrite, seq: number, there: unknown): boolean {
  const [begin] = write.events;
  if (begin === undefined || begin.seq > seq || there === undefined) return true;
  const { last, entries } = there as { last: number; entries: string };
  const found = decodeEvents(last, entries).find((event) => event.seq === begin.seq);
  return found === undefined || (found.row === begin.row && found.id === begin.id);
}

function factsOf({ secret, durations, paused, kept }: NonNullable<RestoreWrite["facts"]>): string[] {
  return [
    set("secret", secret),
    ...Object.entries(durations).map(([name, value]) =>
      set(`durations:${encodeName(name)}`, JSON.stringify(value)),
    ),
    ...paused.map((name) => set(`paused:${encodeName(name)}`, "true")),
    ...Object.entries(kept).map(([name, value]) => set(`kept:${encodeName(name)}`, JSON.stringify(value))),
    // The lines go on where they stood.
    `INSERT INTO line (operation, priority, virtual) SELECT operation, priority, greatest(min(turn) - 1, 0) FROM job
      WHERE stand = 2 GROUP BY 1, 2 ON CONFLICT (operation, priority) DO UPDATE SET virtual = greatest(line.virtual, excluded.virtual);`,
  ];
}

function set(name: string, value: string): string {
  return `INSERT INTO fact (name, value) VALUES (${quote(name)}, ${quote(value)}) ON CONFLICT (name) DO UPDATE SET value = excluded.value;`;
}
