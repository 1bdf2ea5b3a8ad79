// What can be asked: jobs, listings, counts, the feed.

import type { Durations } from "../../core/durations.ts";
import type { Event } from "../../core/event.ts";
import type { Moment } from "../../core/machine.ts";
import type { Answer, ListFilter, Query, Sight, StoredJob } from "../store.ts";
import type { Calls } from "./calls.ts";
import { decodeEntry, memberOf, outlineOf } from "./codec.ts";
import { membersOf, outlineMembers, seeAddresses, seeMembers } from "./look.ts";
import { reading } from "./script.ts";

/** Jobs of an owner that a narrowed listing looks through before it answers with a page that is not full. */
const MOST_LOOKED = 10_000;
const LOOK_AT_ONCE = 250;

/** Rows that one block of the index stands for (script.ts). */
const BLOCK = 1000;

/** Entries of the feed read at once: each is the events of one batch. */
const ENTRIES = 16;

const OUTLOOK = reading(
  "outlook",
  `
local op, owner, prio, weight = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local line = prio .. ':' .. op
local virtual = tonumber(call('HGET', base .. 'virtual', line) or '0')
local last = tonumber(call('ZSCORE', base .. 'turns:' .. line, owner) or '0')
local turn = math.max(virtual, last) + 1 / tonumber(weight)
return {
  ahead(op, prio) + call('ZCOUNT', lineKey(op, prio), '-inf', number(turn)) + 1,
  tonumber(call('HGET', base .. 'active', owner) or '0'),
  tonumber(call('HGET', base .. 'queued', op) or '0'),
}
`,
);

const COUNTS = reading(
  "counts",
  `
return {
  call('HGETALL', base .. 'queued'),
  call('HGETALL', base .. 'processing'),
  tonumber(call('HGET', base .. 'facts', 'jobs') or '0'),
}
`,
);

const ALIVE = reading(
  "alive",
  `
local alive = {}
for index, address in ipairs(ARGV) do
  local member = call('HGET', bucket('at', address), sub(address, 2))
  local state = member and call('HGET', jobKey(member), 's')
  alive[index] = (state and sub(state, 18, 18) ~= 'g') and 1 or 0
end
return alive
`,
);

const PAIRS = reading("pairs", "return call('HGETALL', base .. ARGV[1])");

/** Answers in the order of the queries; all jobs that are asked for by their address with one call. */
export async function answerAll(
  calls: Calls,
  queries: readonly Query[],
  moment: Moment,
): Promise<readonly Answer<Query>[]> {
  const addresses = queries.flatMap((query) => (query.get === "job" ? [query.address] : []));
  const jobs = seeAddresses(calls, addresses, moment);
  let next = 0;
  const answers = queries.map(async (query): Promise<Answer<Query>> => {
    if (query.get !== "job") return await answer(calls, query, moment);
    const at = next++;
    return (await jobs)[at]?.sight ?? null;
  });
  return await Promise.all([jobs, ...answers]).then(([, ...all]) => all);
}

async function answer(
  calls: Calls,
  query: Exclude<Query, { get: "job" }>,
  moment: Moment,
): Promise<Answer<Query>> {
  switch (query.get) {
    case "list":
      return await list(calls, query.filter, moment);
    case "rows":
      return sightsOf(await seeMembers(calls, membersOf(query.rows), moment));
    case "counts":
      return await counts(calls);
    case "outlook": {
      const { operation, owner, priority, weight } = query;
      const args = [operation, owner, String(priority), String(weight)];
      const [position, active, waiting] = (await calls.read(OUTLOOK, args)) as [number, number, number];
      return { position, active, waiting };
    }
    case "durations": {
      const all = await pairs(calls, "durations");
      return Object.fromEntries(all.map(([name, text]) => [name, JSON.parse(text) as Durations]));
    }
    case "secret":
      return (await calls.command("HGET", calls.key("facts"), "secret")) as string;
    case "events":
      return await eventsAfter(calls, query.after, query.limit);
    case "alive": {
      if (query.addresses.length === 0) return [];
      return ((await calls.read(ALIVE, query.addresses)) as number[]).map((one) => one === 1);
    }
    case "stored":
      return await storedAfter(calls, query.afterRow, query.limit, moment);
    case "paused":
      return (await calls.command("SMEMBERS", calls.key("paused"))) as string[];
    case "kept": {
      const all = (await pairs(calls, "kept")).filter(([name]) => name.startsWith(query.prefix));
      return Object.fromEntries(all.sort(([one], [other]) => (one < other ? -1 : 1)));
    }
  }
}

function sightsOf(seen: readonly ({ readonly sight: Sight } | null)[]): Sight[] {
  return seen.flatMap((one) => (one === null ? [] : [one.sight]));
}

async function pairs(calls: Calls, key: string): Promise<[string, string][]> {
  return paired((await calls.read(PAIRS, [key])) as string[]);
}

function paired(flat: readonly string[]): [string, string][] {
  const all: [string, string][] = [];
  for (let at = 0; at < flat.length; at += 2) all.push([flat[at] as string, flat[at + 1] as string]);
  return all;
}

async function counts(calls: Calls): Promise<Answer<{ get: "counts" }>> {
  const [queued, processing, jobs] = (await calls.read(COUNTS, [])) as [string[], string[], number];
  const operations = new Map<string, { queued: number; processing: number }>();
  for (const [operation, count] of paired(queued))
    operations.set(operation, { queued: Number(count), processing: 0 });
  for (const [operation, count] of paired(processing)) {
    const known = operations.get(operation);
    operations.set(operation, { queued: known?.queued ?? 0, processing: Number(count) });
  }
  return { operations: Object.fromEntries(operations), jobs };
}

async function list(
  calls: Calls,
  filter: ListFilter,
  moment: Moment,
): Promise<Answer<{ get: "list"; filter: ListFilter }>> {
  const matching: string[] = [];
  let below = filter.belowRow === undefined ? "+inf" : `(${filter.belowRow}`;
  let looked = 0;
  let isOver = false;
  let last: string | undefined;
  const isNarrow = filter.status ?? filter.operation ?? filter.createdFrom ?? filter.createdTo;
  while (matching.length <= filter.limit && looked < MOST_LOOKED && !isOver) {
    const most = isNarrow === undefined ? filter.limit + 1 : LOOK_AT_ONCE;
    const key = calls.key(`owner:${filter.owner}`);
    const page = (await calls.command(
      "ZREVRANGEBYSCORE",
      key,
      below,
      "-inf",
      "LIMIT",
      "0",
      String(most),
    )) as string[];
    isOver = page.length < most;
    last = page.at(-1) ?? last;
    below = `(${Number(last)}`;
    looked += page.length;
    matching.push(...(isNarrow === undefined ? page : await narrow(calls, filter, page)));
  }
  const shown = matching.slice(0, filter.limit);
  const seen = await seeMembers(calls, shown, moment);
  // One may have expired meanwhile.
  const sights = sightsOf(seen).filter(({ job }) => job.goneAt === null);
  if (matching.length > shown.length) return { sights, nextRow: Number(shown.at(-1) ?? 0) || null };
  return { sights, nextRow: isOver || last === undefined ? null : Number(last) };
}

async function narrow(calls: Calls, filter: ListFilter, page: readonly string[]): Promise<string[]> {
  if (page.length === 0) return [];
  return (await outlineMembers(calls, page)).flatMap((fields) => {
    if (fields === null) return [];
    const { status, operation, createdAt } = outlineOf(fields);
    const matches =
      (filter.status === undefined || filter.status.includes(status)) &&
      (filter.operation === undefined || filter.operation.includes(operation)) &&
      (filter.createdFrom === undefined || createdAt >= filter.createdFrom) &&
      (filter.createdTo === undefined || createdAt < filter.createdTo);
    return matches ? [fields.member] : [];
  });
}

type RawEntry = readonly [id: string, fields: readonly string[]];

export async function eventsAfter(calls: Calls, after: number, limit: number): Promise<Event[]> {
  const events: Event[] = [];
  // Redis knows no entry before 0-1.
  let from = Math.max(1, after + 1);
  while (events.length < limit) {
    const raw = await calls.command("XRANGE", calls.key("feed"), `${from}-0`, "+", "COUNT", String(ENTRIES));
    const entries = raw as RawEntry[];
    for (const [id, fields] of entries) {
      const lastSeq = Number.parseInt(id, 10);
      from = lastSeq + 1;
      const [, , , , , names = "[]", , text = ""] = fields;
      for (const event of decodeEntry(lastSeq, names, text)) if (event.seq > after) events.push(event);
    }
    if (entries.length < ENTRIES) break;
  }
  return events.slice(0, limit);
}

async function storedAfter(
  calls: Calls,
  afterRow: number,
  limit: number,
  moment: Moment,
): Promise<StoredJob[]> {
  const stored: StoredJob[] = [];
  let after = afterRow;
  while (stored.length < limit) {
    const from = String(Math.floor((after + 1) / BLOCK));
    const [block] = (await calls.command(
      "ZRANGEBYSCORE",
      calls.key("blockline"),
      from,
      "+inf",
      "LIMIT",
      "0",
      "1",
    )) as string[];
    if (block === undefined) break;
    const first = Math.max(after + 1, Number(block) * BLOCK);
    const end = (Number(block) + 1) * BLOCK;
    for (let row = first; row < end && stored.length < limit; row += LOOK_AT_ONCE) {
      const count = Math.min(LOOK_AT_ONCE, end - row);
      const members = Array.from({ length: count }, (_, index) => memberOf(row + index));
      for (const one of await seeMembers(calls, members, moment)) if (one !== null) stored.push(one.stored);
    }
    after = end - 1;
  }
  return stored.slice(0, limit);
}
