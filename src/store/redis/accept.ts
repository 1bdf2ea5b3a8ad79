// Submissions: each the job that it repeats, or what it exceeds, or a new job in its turn. One call of a script for all of a batch.
//
// The machine's answer to a submission depends on its row and turn only in these two, which the script gives: so the job is decided
// before it is sent, and once more with both when they are known.

import type { Event } from "../../core/event.ts";
import type { Job } from "../../core/job.ts";
import { decide, earlierNow, isDue, type Moment } from "../../core/machine.ts";
import type { SubmitRefusal, SubmitWrite, Written } from "../store.ts";
import type { Calls } from "./calls.ts";
import {
  encodeExtras,
  encodeHappening,
  encodeRequest,
  encodeState,
  type Happening,
  happeningOf,
  memberOf,
  Names,
  numbered,
  stampOf,
} from "./codec.ts";
import { findMembers } from "./look.ts";
import { writing } from "./script.ts";
import { type OperationFacts, operationFacts, type RawFacts, waitingFor } from "./sight.ts";

/** Jobs and bytes of one call: it holds up everybody else for a few milliseconds. */
const MOST_JOBS = 500;
const MOST_CHARACTERS = 4_000_000;

/** Arguments of what submits have in common, and of one submit. */
const GROUP = 7;
const SUBMIT = 8;

const ACCEPT = writing(
  "accept",
  `
local earlier = tonumber(ARGV[5])
local groupsAt = 9 + 2 * tonumber(ARGV[7])
local firstAt = groupsAt + ${GROUP} * tonumber(ARGV[groupsAt - 1]) + 1
local count = tonumber(ARGV[firstAt - 1])
local KINDS = { f = 'life', v = 'live' }
local events, fresh, lines, members, facts = {}, 0, {}, {}, {}
local firstRow = get('facts', 'row') + 1
local turns, operations = {}, {}

-- All keys of the batch are looked for at once.
local asked, found = {}, {}
local function ask(kind, digest)
  local list = listed(asked, bucket(kind, digest))
  list[#list + 1] = sub(digest, 2)
end
for at = firstAt, firstAt + (count - 1) * ${SUBMIT}, ${SUBMIT} do
  local kind = KINDS[sub(ARGV[at], 3, 3)]
  if kind then ask(kind, ARGV[at + 1]) end
  if sub(ARGV[at], 2, 2) == '1' then ask('at', ARGV[at + 2]) end
end
for key, fields in pairs(asked) do
  local names = {}
  for first = 1, #fields, 1000 do
    local last = math.min(#fields, first + 999)
    local values = call('HMGET', key, unpack(fields, first, last))
    for index = first, last do names[fields[index]] = values[index - first + 1] end
  end
  found[key] = names
end

-- The row that a key names; a key whose job is gone has an end.
local function named(kind, digest)
  local names = found[bucket(kind, digest)]
  local value = names and names[sub(digest, 2)]
  if not value then return false end
  local member, till = string.match(value, '^(%d+) ?(.*)$')
  if till ~= '' and earlier >= tonumber(till) then return false end
  return member
end
local function name(kind, digest, member)
  local key, field = bucket(kind, digest), sub(digest, 2)
  setLater(key, field, member)
  listed(found, key)[field] = member
end

local function lastTurn(line, owner)
  local owners = listed(turns, line)
  if not owners[owner] then owners[owner] = tonumber(call('ZSCORE', base .. 'turns:' .. line, owner) or '0') end
  return owners[owner]
end

local function accept(at, group, kind)
  local op, owner, prio = ARGV[group], ARGV[group + 1], ARGV[group + 2]
  local member = fmt('%013.0f', get('facts', 'row') + 1)
  local line = prio .. ':' .. op
  local turn = math.max(get('virtual', line), lastTurn(line, owner)) + 1 / tonumber(ARGV[group + 3])
  turns[line][owner] = turn
  local turnText = number(turn)
  local r = '[' .. turnText .. ',' .. ARGV[at + 3]
  if ARGV[at + 5] == '' then call('HSET', jobKey(member), 'r', r, 'i', ARGV[at + 4], 's', ARGV[at + 6])
  else call('HSET', jobKey(member), 'r', r, 'i', ARGV[at + 4], 's', ARGV[at + 6], 'u', ARGV[at + 5]) end
  add('facts', 'row', 1)
  name('at', ARGV[at + 2], member)
  if kind then name(kind, ARGV[at + 1], member) end
  addLater(base .. 'owner:' .. owner, member, member)
  add('active', owner, 1)
  add('queued', op, 1)
  add('facts', 'waiting', 1)
  local due, startBy, event = string.match(ARGV[at + 7], '^(%d*) (%d*) (.*)$')
  if due == '' then
    addLater(placeKey(op, prio, '0'), turnText, member)
    lines[member] = { op, prio }
  else addLater(base .. 'due', due, member) end
  if startBy ~= '' then addLater(base .. 'ends', startBy, member) end
  fresh = fresh + 1
  members[fresh] = member
  events[fresh] = '[' .. number(tonumber(member)) .. ',' .. event
  if not operations[op] then
    operations[op] = true
    facts[#facts + 1] = factsOf(op)
  end
  return member .. ' ' .. turnText .. ' '
end

local replies = {}
for index = 1, count do
  local at = firstAt + (index - 1) * ${SUBMIT}
  local head = ARGV[at]
  local kind = KINDS[sub(head, 3, 3)]
  local group = groupsAt + ${GROUP} * tonumber(sub(head, 4))
  local active = ARGV[group + 4]
  local same = kind and named(kind, ARGV[at + 1])
  if not same and sub(head, 2, 2) == '1' then same = named('at', ARGV[at + 2]) end
  local reply
  if same then reply = '=' .. same
  elseif active ~= '' and get('active', ARGV[group + 1]) >= tonumber(active) then reply = '!over-quota'
  elseif get('queued', ARGV[group]) >= tonumber(ARGV[group + 5]) then reply = '!operation-backlog-full'
  elseif get('facts', 'waiting') >= tonumber(ARGV[group + 6]) then reply = '!backlog-full'
  elseif sub(head, 1, 1) == '1' then reply = '!not-found'
  else reply = accept(at, group, kind) end
  replies[index] = reply
end

-- What repeats or is refused alone leaves nothing behind.
if fresh == 0 then return { replies, 0, facts } end
add('facts', 'jobs', fresh)
for _, member in ipairs(members) do block(member, 1) end
for index = 0, tonumber(ARGV[7]) - 1 do
  call('HSETNX', base .. 'policies', ARGV[8 + 2 * index], ARGV[9 + 2 * index])
end
for line, owners in pairs(turns) do
  local key = base .. 'turns:' .. line
  for owner, turn in pairs(owners) do addLater(key, number(turn), owner) end
  -- Turns that are past count no more; some are forgotten with each call.
  if call('ZCARD', key) > 1000 then
    local past = call('ZRANGEBYSCORE', key, '-inf', number(get('virtual', line)), 'LIMIT', 0, 500)
    if #past > 0 then call('ZREM', key, unpack(past)) end
  end
end
local first = tell(events, fresh, ARGV[6], ARGV[4])
finish(number(firstRow) .. ' ' .. fresh .. ' ' .. number(first))

-- Now that all stand in line: their places.
local before = {}
for index, reply in ipairs(replies) do
  local place = lines[sub(reply, 1, 13)]
  if place then
    local key = lineKey(place[1], place[2])
    if not before[key] then before[key] = ahead(place[1], place[2]) + 1 end
    replies[index] = reply .. (before[key] + call('ZRANK', key, sub(reply, 1, 13)))
  end
end
return { replies, number(first), facts }
`,
);

type Reply = readonly [replies: readonly string[], first: string | number, facts: readonly RawFacts[]];

/** A row that is answered by reading it: what it repeats, or, where an answer was lost, what it made itself. */
export interface Repeat {
  readonly repeats: string;
  readonly isFirst?: true;
}

export interface Accepted {
  /** In the order of the writes. */
  readonly answers: readonly (Written | Repeat)[];
  readonly events: readonly Event[];
}

/** Accepts what may be accepted of these; those that repeat a job are told by its row. */
export async function acceptAll(
  calls: Calls,
  lane: string,
  writes: readonly SubmitWrite[],
  moment: Moment,
): Promise<Accepted> {
  const answers: (Written | Repeat)[] = [];
  const events: Event[] = [];
  for (const some of portionsOf(writes)) {
    const accepted = await acceptSome(calls, lane, some, moment);
    answers.push(...accepted.answers);
    events.push(...accepted.events);
  }
  return { answers, events };
}

async function acceptSome(
  calls: Calls,
  lane: string,
  writes: readonly SubmitWrite[],
  moment: Moment,
): Promise<Accepted> {
  const names = new Names();
  const policies = new Map<string, string>();
  const jobs = writes.map((write) => jobOf(write, 0, 0, moment));
  const groups = new Names();
  const submits: string[] = [];
  for (const [index, write] of writes.entries()) {
    const digest = calls.policies.digest(write.submission.policy);
    if (!policies.has(digest)) policies.set(digest, JSON.stringify(write.submission.policy));
    const head = headOf(write, groups.number(groupOf(write)));
    submits.push(head, ...encodeSubmit(write, jobs[index] as Job, digest, calls.token(), names, moment));
  }
  const dictionary = [...policies].flat();
  const reply = await calls.numbered(ACCEPT, lane, [
    stampOf(moment),
    String(earlierNow(moment)),
    JSON.stringify(names.all),
    String(policies.size),
    ...dictionary,
    String(groups.all.length),
    ...groups.all.flatMap((group) => JSON.parse(group) as string[]),
    String(writes.length),
    ...submits,
  ]);
  if (reply[0] === "done") return await recover(calls, lane, writes, moment, String(reply[1]));
  const [replies, first, rawFacts] = reply as unknown as Reply;
  const facts = operationFacts(rawFacts);
  const happened: Happening[] = [];
  const answers = replies.map((text, index) => {
    const write = writes[index] as SubmitWrite;
    if (text.startsWith("=")) return { repeats: text.slice(1) };
    if (text.startsWith("!")) return { refused: text.slice(1) as SubmitRefusal };
    const [member, turn, position] = text.split(" ") as [string, string, string];
    const job = jobOf(write, Number(member), Number(turn), moment);
    happened.push(happeningOf("queued", job));
    return fresh(job, position === "" ? null : Number(position), facts, moment);
  });
  return { answers, events: happened.map((one, index) => numbered(one, Number(first) + index)) };
}

// The answer was lost, and the call was done: what it made lies in these rows. The others are asked for once more, for they repeat
// a job or were refused, and left nothing.
async function recover(
  calls: Calls,
  lane: string,
  writes: readonly SubmitWrite[],
  moment: Moment,
  said: string,
): Promise<Accepted> {
  const [firstRow, count, first] = said.split(" ").map(Number) as [number, number, number];
  const rows = Array.from({ length: count }, (_, index) => firstRow + index);
  const found = await findMembers(calls, rows.map(memberOf));
  const made = new Map(found.flatMap((one) => (one === null ? [] : [[one.stored.address, one.stored.job]])));
  const others = writes.filter(({ address }) => !made.has(address));
  const rest = others.length === 0 ? NONE : await acceptSome(calls, lane, others, moment);
  const left = [...rest.answers];
  const happened: Happening[] = [];
  const answers = writes.map((write) => {
    const there = made.get(write.address);
    if (there === undefined) return left.shift() as Accepted["answers"][number];
    // A second one of the same id in this batch is a repeat of the first.
    made.delete(write.address);
    happened.push(happeningOf("queued", jobOf(write, there.row, there.turn, moment)));
    return { repeats: memberOf(there.row), isFirst: true as const };
  });
  const events = happened.map((one, index) => numbered(one, first + index));
  return { answers, events: [...events, ...rest.events] };
}

const NONE: Accepted = { answers: [], events: [] };

function jobOf({ submission }: SubmitWrite, row: number, turn: number, moment: Moment): Job {
  const decision = decide(null, { do: "submit", submission, row, turn }, moment);
  if ("refused" in decision) throw new Error(`A submission was refused as ${decision.refused}.`);
  return decision.job;
}

function fresh(
  job: Job,
  position: number | null,
  facts: ReadonlyMap<string, OperationFacts>,
  moment: Moment,
): Written {
  return {
    did: "submit",
    replayed: false,
    job,
    position,
    waitingFor: waitingFor(job, false, facts, moment.now),
  };
}

/** What many submits have in common. */
function groupOf({ submission, limits }: SubmitWrite): string {
  const { operation, owner, policy } = submission;
  return JSON.stringify([
    operation,
    owner,
    String(policy.priority),
    String(policy.weight),
    limits.active === null ? "" : String(limits.active),
    String(limits.operationBacklog),
    String(limits.backlog),
  ]);
}

/** Three signs and a number: only a repeat is answered; the caller made the id; how far the key reaches; the group. */
function headOf({ onlyRepeat, idFingerprint, sameness }: SubmitWrite, group: number): string {
  const reach = sameness === null ? "n" : sameness.reach === "life" ? "f" : "v";
  return `${onlyRepeat === true ? 1 : 0}${idFingerprint === null ? 0 : 1}${reach}${group}`;
}

function encodeSubmit(
  write: SubmitWrite,
  job: Job,
  policy: string,
  token: string,
  names: Names,
  moment: Moment,
): string[] {
  const { sameness, address, idFingerprint } = write;
  const stored = {
    job,
    address,
    key: sameness?.key ?? null,
    fingerprint: sameness?.fingerprint ?? null,
    reach: sameness?.reach ?? null,
    idFingerprint,
  };
  const dueAt = isDue(job, moment.now) ? "" : job.dueAt;
  return [
    sameness?.key ?? "",
    address,
    encodeRequest(stored, policy),
    job.input,
    encodeExtras(job),
    encodeState(job, token, false),
    `${dueAt} ${job.startBy ?? ""} ${encodeHappening(happeningOf("queued", job), names)}`,
  ];
}

function* portionsOf(writes: readonly SubmitWrite[]): Generator<readonly SubmitWrite[]> {
  let from = 0;
  let characters = 0;
  for (const [at, { submission }] of writes.entries()) {
    if (at > from && (at - from >= MOST_JOBS || characters + submission.input.length > MOST_CHARACTERS)) {
      yield writes.slice(from, at);
      from = at;
      characters = 0;
    }
    characters += submission.input.length;
  }
  if (from < writes.length) yield writes.slice(from);
}
