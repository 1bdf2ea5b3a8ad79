// What can be asked: each batch of queries is one text, answered by one round trip, and each query by one snapshot.

import type { Durations } from "../../core/durations.ts";
import { STATUSES } from "../../core/job.ts";
import type { Answer, ListFilter, Query } from "../store.ts";
import { type Columns, decodeEvents, decodeStored, SIGHT, STAND } from "./codec.ts";
import type { Connection } from "./connection.ts";
import type { Policies } from "./policies.ts";
import { decodeSights, sights } from "./sight.ts";
import { decodeDigest, decodeName, encodeName, list, quote } from "./sql.ts";
import { COUNTED, placeBefore } from "./tally.ts";
import { alone } from "./transaction.ts";

type Rows = readonly (readonly unknown[])[];

interface Asked {
  readonly text: string;
  /** How many statements the text has; default 1. */
  readonly statements?: number;
  read(results: Rows): Promise<Answer<Query>> | Answer<Query>;
}

export async function answerAll(
  connection: Connection,
  searchPath: string,
  queries: readonly Query[],
  policies: Policies,
  now: number,
): Promise<readonly Answer<Query>[]> {
  // Jobs are the many: all of a batch are one statement.
  const addresses = queries.flatMap((query) => (query.get === "job" ? [query.address] : []));
  const jobs = new Map<string, Answer<Query>>();
  const asked = queries.map((query) => (query.get === "job" ? null : ask(query, policies, now)));
  const texts = asked.flatMap((one) => (one === null ? [] : [one.text]));
  const text = [
    ...(addresses.length === 0 ? [] : [sights(`r.address = ANY (${list(addresses, "uuid")})`)]),
    ...texts,
  ].join(";\n");
  const results = await alone(connection, searchPath, text, true);
  let at = 0;
  if (addresses.length > 0) {
    const rows = results[at++]?.rows ?? [];
    const seen = await decodeSights(rows, policies, now);
    for (const [index, sight] of seen.entries())
      jobs.set(decodeDigest((rows[index] as Columns).address), sight);
  }
  const answers: Answer<Query>[] = [];
  for (const [index, query] of queries.entries()) {
    const one = asked[index];
    if (query.get === "job") answers.push(jobs.get(query.address) ?? null);
    else if (one) {
      const count = one.statements ?? 1;
      answers.push(await one.read(results.slice(at, at + count).map(({ rows }) => rows)));
      at += count;
    }
  }
  return answers;
}

function ask(query: Exclude<Query, { get: "job" }>, policies: Policies, now: number): Asked {
  switch (query.get) {
    case "rows":
      return {
        text: sights(`r.row = ANY (${list(query.rows, "bigint")})`),
        async read([rows = []]) {
          const seen = await decodeSights(rows, policies, now);
          const byRow = new Map(seen.map((sight) => [sight.job.row, sight]));
          return query.rows.flatMap((row) => byRow.get(row) ?? []);
        },
      };
    case "list":
      return {
        text: sights(whereOf(query.filter), `ORDER BY r.row DESC LIMIT ${query.filter.limit + 1}`),
        async read([rows = []]) {
          const seen = await decodeSights(rows, policies, now);
          const page = seen.slice(0, query.filter.limit);
          return { sights: page, nextRow: seen.length > page.length ? (page.at(-1)?.job.row ?? null) : null };
        },
      };
    case "counts":
      return {
        text: `SELECT operation, stand, sum(n)::bigint AS n FROM tally WHERE stand IN (${Object.values(COUNTED).join(", ")}) GROUP BY 1, 2`,
        read: ([rows = []]) => readCounts(rows as readonly Counted[]),
      };
    case "outlook":
      return outlook(query);
    case "durations":
      return {
        text: "SELECT name, value FROM fact WHERE name LIKE 'durations:%'",
        read: ([rows = []]) =>
          Object.fromEntries(
            facts(rows, "durations:").map(([name, value]) => [
              decodeName(name),
              JSON.parse(value) as Durations,
            ]),
          ),
      };
    case "secret":
      return {
        text: "SELECT name, value FROM fact WHERE name = 'secret'",
        read: ([rows = []]) => (rows[0] as { value: string }).value,
      };
    case "paused":
      return {
        text: "SELECT name, value FROM fact WHERE name LIKE 'paused:%'",
        read: ([rows = []]) => facts(rows, "paused:").map(([name]) => decodeName(name)),
      };
    case "kept":
      return {
        text: `SELECT name, value FROM fact WHERE starts_with(name, ${quote(`kept:${encodeName(query.prefix)}`)})`,
        read: ([rows = []]) =>
          Object.fromEntries(
            facts(rows, "kept:")
              .map(([name, value]) => [decodeName(name), JSON.parse(value) as string] as const)
              .sort(([a], [b]) => (a < b ? -1 : 1)),
          ),
      };
    case "events":
      return {
        // An entry holds all events of a commit: entries up to the one that completes the page.
        text: `SELECT last, entries FROM event WHERE last > ${query.after} AND last <= coalesce((SELECT last FROM event
          WHERE last >= ${query.limit} + (SELECT min(last) FROM event WHERE last > ${query.after}) ORDER BY last LIMIT 1), ${Number.MAX_SAFE_INTEGER}) ORDER BY last LIMIT ${query.limit}`,
        read: ([rows = []]) =>
          (rows as readonly { last: number; entries: string }[])
            .flatMap(({ last, entries }) => decodeEvents(last, entries))
            .filter(({ seq }) => seq > query.after)
            .slice(0, query.limit),
      };
    case "alive":
      return {
        text: `SELECT r.address FROM request r JOIN job j USING (row) WHERE r.address = ANY (${list(query.addresses, "uuid")}) AND NOT j.is_gone`,
        read: ([rows = []]) => {
          const there = new Set(
            (rows as readonly { address: string }[]).map(({ address }) => decodeDigest(address)),
          );
          return query.addresses.map((address) => there.has(address));
        },
      };
    case "stored":
      return {
        text: `SELECT ${SIGHT} FROM request r JOIN job j USING (row) WHERE r.row > ${query.afterRow} ORDER BY r.row LIMIT ${query.limit}`,
        async read([rows = []]) {
          const all = rows as readonly Columns[];
          await policies.read(all.map(({ policy }) => policy));
          return all.map((columns) => decodeStored(columns, policies.policy(columns.policy)));
        },
      };
  }
}

function whereOf(filter: ListFilter): string {
  const where = [`r.owner = ${quote(encodeName(filter.owner))}`, "NOT j.is_gone"];
  if (filter.belowRow !== undefined) where.push(`r.row < ${filter.belowRow}`);
  if (filter.createdFrom !== undefined) where.push(`r.created_at >= ${filter.createdFrom}`);
  if (filter.createdTo !== undefined) where.push(`r.created_at < ${filter.createdTo}`);
  if (filter.status !== undefined)
    where.push(
      `j.status = ANY (${list(
        filter.status.map((status) => STATUSES.indexOf(status)),
        "smallint",
      )})`,
    );
  if (filter.operation !== undefined)
    where.push(`r.operation = ANY (${list(filter.operation.map(encodeName), "text")})`);
  return where.join(" AND ");
}

interface Counted {
  readonly operation: string;
  readonly stand: number;
  readonly n: number;
}

function readCounts(rows: readonly Counted[]): Answer<Extract<Query, { get: "counts" }>> {
  const operations: Record<string, { queued: number; processing: number }> = {};
  let jobs = 0;
  for (const { operation, stand, n } of rows) {
    if (stand === COUNTED.jobs) {
      jobs += n;
      continue;
    }
    const name = decodeName(operation);
    const known = Object.hasOwn(operations, name) ? operations[name] : undefined;
    const counts = known ?? { queued: 0, processing: 0 };
    counts[stand === COUNTED.queued ? "queued" : "processing"] += n;
    Object.defineProperty(operations, name, {
      value: counts,
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return { operations, jobs };
}

function outlook({ owner, operation, priority, weight }: Extract<Query, { get: "outlook" }>): Asked {
  const [who, what] = [quote(encodeName(owner)), quote(encodeName(operation))];
  const inLine = `operation = ${what} AND priority = ${priority}`;
  const isLong = `coalesce((SELECT sum(n) FROM tally t WHERE t.stand = ${STAND.line} AND t.level = 0 AND t.${inLine.replace(" AND ", " AND t.")}), 0) > 0`;
  // With nobody waiting there is nothing to be fair about: what owners had before counts no more.
  const turn = `(greatest(coalesce((SELECT virtual FROM line WHERE ${inLine}), 0),
    CASE WHEN ${isLong} THEN coalesce((SELECT last FROM turn WHERE ${inLine} AND owner = ${who}), 0) ELSE 0 END) + ${1 / weight})::float8`;
  return {
    text: `SELECT 1 + ${placeBefore(what, `${priority}`, "n.turn", `${Number.MAX_SAFE_INTEGER}`)} AS position,
      coalesce((SELECT active FROM owner WHERE owner = ${who}), 0)::bigint AS active,
      coalesce((SELECT sum(n) FROM tally WHERE stand = ${COUNTED.queued} AND operation = ${what}), 0)::bigint AS waiting
      FROM (SELECT ${turn} AS turn) n`,
    read([rows = []]) {
      const { position, active, waiting } = rows[0] as { position: number; active: number; waiting: number };
      return { position, active, waiting };
    },
  };
}

function facts(rows: readonly unknown[], prefix: string): (readonly [name: string, value: string])[] {
  return (rows as readonly { name: string; value: string }[]).map(({ name, value }) => [
    name.slice(prefix.length),
    value,
  ]);
}
