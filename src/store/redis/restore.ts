// Taking over what another store kept: rows and events as they were there, and what was taken over before left alone.

import type { Moment } from "../../core/machine.ts";
import type { RestoreWrite, StoredJob, Written } from "../store.ts";
import { eventsAfter } from "./answer.ts";
import type { Calls } from "./calls.ts";
import { indexesOf } from "./change.ts";
import { encodeExtras, encodeHappening, encodeRequest, encodeState, memberOf, Names } from "./codec.ts";
import { findMembers } from "./look.ts";
import { writing } from "./script.ts";

const RESTORED = 14;

const RESTORE = writing(
  "restore",
  `
local at = 7
local restored = 0
local lines = {}
for index = 1, tonumber(ARGV[6]) do
  local member, place, op, owner, prio, turn = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5]
  local key = jobKey(member)
  if call('EXISTS', key) == 0 then
    restored = restored + 1
    local state, time, address = ARGV[at + 10], ARGV[at + 11], ARGV[at + 12]
    call('HSET', key, 'r', ARGV[at + 6], 's', state)
    if place ~= 'g' then call('HSET', key, 'i', ARGV[at + 7]) end
    if ARGV[at + 8] ~= '' then call('HSET', key, 'u', ARGV[at + 8]) end
    if ARGV[at + 9] ~= '' then call('HSET', key, 'c', ARGV[at + 9]) end
    call('HSET', bucket('at', address), sub(address, 2), member)
    local kind, digest, till = string.match(ARGV[at + 13], '^(%a+) (%x+) ?(.*)$')
    if kind then
      local value = till == '' and member or (member .. ' ' .. till)
      call('HSET', bucket(kind, digest), sub(digest, 2), value)
    end
    if place ~= 'g' then call('ZADD', base .. 'owner:' .. owner, member, member) end
    if tonumber(member) > get('facts', 'row') then set('facts', 'row', tonumber(member)) end
    add('facts', 'jobs', 1)
    block(member, 1)
    local ends, stands = string.match(time, '^(%d*) (%d*)$')
    if ends ~= '' then call('ZADD', base .. 'ends', ends, member) end
    if place == 'q' then
      add('queued', op, 1)
      add('facts', 'waiting', 1)
      add('active', owner, 1)
      call('ZADD', base .. 'turns:' .. prio .. ':' .. op, 'GT', turn, owner)
      if stands == '' then
        enqueue(member, op, prio, turn, sub(state, 17, 17))
        lines[prio .. ':' .. op] = lineKey(op, prio)
      else call('ZADD', base .. 'due', stands, member) end
    elseif place == 'p' then
      add('processing', op, 1)
      add('running', owner, 1)
      add('active', owner, 1)
      call('ZADD', base .. 'leases', stands, member)
      local line = prio .. ':' .. op
      if tonumber(turn) > get('virtual', line) then set('virtual', line, tonumber(turn)) end
    end
  end
  at = at + ${RESTORED}
end
-- The lines go on where they stood.
for line, key in pairs(lines) do
  local first = tonumber(call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or '0')
  if first - 1 > get('virtual', line) then set('virtual', line, first - 1) end
end
local count = tonumber(ARGV[at])
if count > 0 then
  set('facts', 'seq', tonumber(ARGV[at + 1]) - 1)
  tell({ ARGV[at + 2] }, count, ARGV[5], ARGV[at + 3])
end
call('HSET', base .. 'policies', unpack(ARGV, at + 4))
finish('')
return { 'did' }
`,
);

/** Commands that set or forget something, in their order. */
const NOTE = writing(
  "note",
  `
local at = 5
for index = 1, tonumber(ARGV[4]) do
  local last = at + tonumber(ARGV[at])
  call(ARGV[at + 1], base .. ARGV[at + 2], unpack(ARGV, at + 3, last))
  at = last + 1
end
finish('')
return { 'did' }
`,
);

/** Runs commands such as `["HSET", "kept", name, value]`, once each. */
export async function note(
  calls: Calls,
  lane: string,
  commands: readonly (readonly string[])[],
): Promise<void> {
  if (commands.length === 0) return;
  const args = commands.flatMap((command) => [String(command.length), ...command]);
  await calls.numbered(NOTE, lane, [String(commands.length), ...args]);
}

export async function restore(
  calls: Calls,
  lane: string,
  write: RestoreWrite,
  moment: Moment,
): Promise<{ readonly written: Written; readonly events: RestoreWrite["events"] }> {
  const there = await findMembers(
    calls,
    write.jobs.map(({ job }) => memberOf(job.row)),
  );
  const isOther = write.jobs.some(({ address }, at) => (there[at]?.stored.address ?? address) !== address);
  if (isOther || !(await isSameFeed(calls, write))) return { written: { refused: "not-empty" }, events: [] };
  const lastSeq = await lastSeqOf(calls);
  const news = write.events.filter(({ seq }) => seq > lastSeq);
  const fresh = write.jobs.filter((_, at) => (there[at] ?? null) === null);
  if (fresh.length > 0 || news.length > 0) await writeAll(calls, lane, fresh, news, moment);
  if (write.facts !== undefined) await note(calls, lane, factsOf(write.facts));
  return { written: { did: "nothing" }, events: news };
}

export async function lastSeqOf(calls: Calls): Promise<number> {
  return Number((await calls.command("HGET", calls.key("facts"), "seq")) ?? 0);
}

// What is in the feed already must be the same, and what is new must follow it.
async function isSameFeed(calls: Calls, { events }: RestoreWrite): Promise<boolean> {
  const lastSeq = await lastSeqOf(calls);
  const [first] = events;
  if (first === undefined) return true;
  const known = first.seq > lastSeq ? [] : await eventsAfter(calls, first.seq - 1, events.length);
  const bySeq = new Map(known.map((event) => [event.seq, event]));
  const isOther = events.some(({ seq, row, id }) => {
    const event = bySeq.get(seq);
    return event !== undefined && (event.row !== row || event.id !== id);
  });
  const next = events.find(({ seq }) => seq > lastSeq);
  return !isOther && (next === undefined || lastSeq === 0 || next.seq === lastSeq + 1);
}

async function writeAll(
  calls: Calls,
  lane: string,
  jobs: readonly StoredJob[],
  events: RestoreWrite["events"],
  moment: Moment,
): Promise<void> {
  const names = new Names();
  const policies = new Map<string, string>();
  const encoded = jobs.flatMap((stored) => {
    const policy = calls.policies.digest(stored.job.policy);
    policies.set(policy, JSON.stringify(stored.job.policy));
    return encodeStored(stored, policy, calls.token(), moment);
  });
  const texts = events.map((event) => `[${event.row},${encodeHappening(event, names)}`);
  const dictionary = policies.size === 0 ? ["", ""] : [...policies].flat();
  await calls.numbered(RESTORE, lane, [
    String(moment.now),
    JSON.stringify(names.all),
    String(jobs.length),
    ...encoded,
    String(events.length),
    String(events[0]?.seq ?? 0),
    texts.join(","),
    String(events.at(-1)?.at ?? 0),
    ...dictionary,
  ]);
}

function encodeStored(stored: StoredJob, policy: string, token: string, moment: Moment): string[] {
  const { job } = stored;
  const { place, time, ends, key } = indexesOf(stored, moment);
  return [
    memberOf(job.row),
    place,
    job.operation,
    job.owner,
    String(job.policy.priority),
    String(job.turn),
    `[${job.turn},${encodeRequest(stored, policy)}`,
    job.input,
    encodeExtras(job),
    job.checkpoint ?? "",
    encodeState(job, token, job.checkpoint !== null),
    `${ends} ${time}`,
    stored.address,
    key,
  ];
}

function factsOf({ secret, durations, paused, kept }: NonNullable<RestoreWrite["facts"]>): string[][] {
  return [
    ["HSET", "facts", "secret", secret],
    ...Object.entries(durations).map(([name, known]) => ["HSET", "durations", name, JSON.stringify(known)]),
    ...paused.map((operation) => ["SADD", "paused", operation]),
    ...Object.entries(kept).map(([name, value]) => ["HSET", "kept", name, value]),
  ];
}
