// The script that changes jobs: what was decided is written where the job is still as it was when it was decided on.

import { CHANGE } from "./change.ts";
import { writing } from "./script.ts";

export const WORK = writing(
  "work",
  `
local at = 7 + 3 * tonumber(ARGV[6])
local count = tonumber(ARGV[at])
local firstAt = at + 1
local stale, events, happened = {}, {}, 0

-- Memory that is full must not keep jobs from ending, for that is what frees it: this command is never refused for memory, and
-- after the first one nothing is.
call('DEL', base .. 'nothing')

-- Only what a claim took may be begun.
local taken, wanted = {}, {}
for at = firstAt, firstAt + (count - 1) * ${CHANGE}, ${CHANGE} do
  if sub(ARGV[at], 30, 31) == 'qp' then wanted[#wanted + 1] = sub(ARGV[at], 1, 13) end
end
for first = 1, #wanted, 1000 do
  local last = math.min(#wanted, first + 999)
  local times = call('ZMSCORE', base .. 'taken', unpack(wanted, first, last))
  for index = first, last do taken[wanted[index]] = times[index - first + 1] end
end

local function endKey(text, member)
  local kind, digest, till = string.match(text, '^(%a+) (%x+) ?(.*)$')
  local key, field = bucket(kind, digest), sub(digest, 2)
  local value = call('HGET', key, field)
  if not value or sub(value, 1, 13) ~= member then return end
  if till == '' then call('HDEL', key, field) else call('HSET', key, field, member .. ' ' .. till) end
end

local begun = {}
local function leave(member, key, from, to, op, owner, prio, wasSuspect)
  if from == 'q' then
    add('queued', op, -1)
    add('facts', 'waiting', -1)
    if to ~= 'p' then return leaveQueue(member, op, owner, prio, wasSuspect) end
    local line = wasSuspect ~= '0' and suspectsKey(op) or lineKey(op, prio)
    remLater(line, member)
    begun[line] = { op, prio }
    untaken[#untaken + 1] = member
    add('taking', owner, -1)
    add('running', owner, 1)
    add('processing', op, 1)
    return false
  end
  if from ~= 'p' or to == 'p' then return false end
  add('processing', op, -1)
  add('running', owner, -1)
  remLater(base .. 'leases', member)
  return true
end

local function enter(at, member, key, from, to, op, owner, prio, suspect)
  local turn, time = ARGV[at + 3], ARGV[at + 4]
  if to == 'q' then
    add('queued', op, 1)
    add('facts', 'waiting', 1)
    if time == '' then enqueue(member, op, prio, turn, suspect) else call('ZADD', base .. 'due', time, member) end
  elseif to == 'p' then
    addLater(base .. 'leases', time, member)
    local line = prio .. ':' .. op
    if from == 'q' and tonumber(turn) > get('virtual', line) then set('virtual', line, tonumber(turn)) end
  else
    addLater(base .. 'ends', time, member)
    if from ~= 'e' then add('active', owner, -1) end
    if to == 'g' then
      call('HDEL', key, 'i', 'u', 'c')
      remLater(base .. 'owner:' .. owner, member)
    end
  end
end

local function change(at)
  local head = ARGV[at]
  local member, from, to = sub(head, 1, 13), sub(head, 30, 30), sub(head, 31, 31)
  local key = jobKey(member)
  local before = call('HGET', key, 's')
  if not before or sub(before, 1, 16) ~= sub(head, 14, 29) then return false end
  if from == 'q' and to == 'p' and not taken[member] then return false end
  local group, happens = string.match(head, '^(%d+),(%d+)$', 33)
  group = 7 + 3 * tonumber(group)
  local op, owner, prio = ARGV[group], ARGV[group + 1], ARGV[group + 2]
  local wasSuspect = sub(before, 17, 17)
  if to == 'w' then
    local stood = leaveQueue(member, op, owner, prio, wasSuspect)
    call('ZADD', base .. 'due', ARGV[at + 4], member)
    if stood then unpark(owner) end
    return true
  end
  local frees = leave(member, key, from, to, op, owner, prio, wasSuspect)
  if from == 'q' and sub(head, 32, 32) == '1' then call('ZREM', base .. 'ends', member) end
  if to == 'x' then
    local address = ARGV[at + 2]
    call('DEL', key)
    remLater(base .. 'ends', member)
    call('HDEL', bucket('at', address), sub(address, 2))
    add('facts', 'jobs', -1)
    block(member, -1)
  else
    local after, checkpoint = ARGV[at + 1], ARGV[at + 2]
    call('HSET', key, 's', after)
    if checkpoint == '-' then call('HDEL', key, 'c')
    elseif checkpoint ~= '' then call('HSET', key, 'c', sub(checkpoint, 2)) end
    enter(at, member, key, from, to, op, owner, prio, sub(after, 17, 17))
  end
  if ARGV[at + 6] ~= '' then endKey(ARGV[at + 6], member) end
  if frees then unpark(owner) end
  if happens ~= '0' then
    happened = happened + tonumber(happens)
    events[#events + 1] = ARGV[at + 5]
  end
  return true
end

at = firstAt
for index = 1, count do
  if not change(at) then stale[#stale + 1] = tostring(index - 1) end
  at = at + ${CHANGE}
end

local learned = {}
for index = 1, tonumber(ARGV[at]) do
  local op = ARGV[at + 1]
  if (call('HGET', base .. 'durations', op) or '') == ARGV[at + 2] then
    call('HSET', base .. 'durations', op, ARGV[at + 3])
    learned[index] = 1
  else
    learned[index] = 0
  end
  at = at + 3
end

local first = number(tell(events, happened, ARGV[5], ARGV[4]))
local said = table.concat(stale, ',')
finish(first .. ' ' .. said)
for _, line in pairs(begun) do forgetTurns(line[1], line[2]) end
return { 'did', first, said, learned }
`,
);
