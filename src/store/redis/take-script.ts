// The script that takes the next jobs out of the line for claims, and tells a sweep what it has to look at. What it takes is
// noted in memory alone, so that a claim waits for no sync until its jobs are begun.

import { moving, TAKEN_MS } from "./script.ts";

/** Jobs of owners who run as many as they may that one claim puts aside; then it is asked again. */
const MOST_PARKED = 1000;

/** What one call may take, in characters. */
const MOST_CHARACTERS = 8_000_000;

/** Entries of the feed that one sweep forgets. */
const FORGET = 200;

/** How often it is noted that somebody asks for work of an operation. */
const SEEN_EVERY_MS = 1000;

export const TAKE = moving(
  "take",
  `
local now = ARGV[1]
-- Full memory must not keep jobs from ending.
call('DEL', base .. 'nothing')
local real = wake(now)
local sizes, parked, full = 0, 0, false

local function slim(members)
  local rows = {}
  for index, member in ipairs(members) do
    local job = call('HMGET', jobKey(member), 'r', 's')
    rows[index] = { member, job[1], job[2] }
  end
  return rows
end

local lapsed, ended = {}, {}
if ARGV[2] ~= '' then
  lapsed = slim(call('ZRANGEBYSCORE', base .. 'leases', '-inf', now, 'LIMIT', 0, ARGV[2]))
  ended = slim(call('ZRANGEBYSCORE', base .. 'ends', '-inf', now, 'LIMIT', 0, ARGV[2]))
  local last = false
  for _, entry in ipairs(call('XRANGE', base .. 'feed', '-', '+', 'COUNT', ${FORGET})) do
    if tonumber(entry[2][2]) >= tonumber(ARGV[3]) then break end
    last = entry[1]
  end
  if last then
    call('XTRIM', base .. 'feed', 'MINID', fmt('%.0f', tonumber(string.match(last, '^%d+')) + 1))
  end
end

-- Takes a job for a claim, or parks it; either way it is no more the claim's next one.
local function takeOne(member, key, jobs, mine)
  local job = call('HMGET', jobKey(member), 'r', 's', 'i', 'u', 'c')
  if not job[1] then
    call('ZREM', key, member)
    return false
  end
  local r = cjson.decode(job[1])
  local owner, limit = r[4], r[3]
  if limit ~= cjson.null and get('running', owner) + get('taking', owner) >= limit then
    call('ZREM', key, member)
    park(member, r[5], owner, r[2], number(r[1]), sub(job[2], 17, 17))
    parked = parked + 1
    return false
  end
  add('taking', owner, 1)
  sizes = sizes + #(job[3] or '') + #(job[5] or '')
  full = sizes >= ${MOST_CHARACTERS}
  mine[#mine + 1] = real + ${TAKEN_MS}
  mine[#mine + 1] = member
  jobs[#jobs + 1] = { member, job[1], job[2], job[3], job[4], job[5] }
  return true
end

-- Goes along a line, past those that other claims decide on.
local function takeFrom(key, most, jobs, mayTake)
  local from = 0
  while #jobs < most and parked < ${MOST_PARKED} and not full do
    local members = call('ZRANGE', key, from, from + math.min(most - #jobs, 100) - 1)
    if #members == 0 then return end
    local times = call('ZMSCORE', base .. 'taken', unpack(members))
    local mine = {}
    for index, member in ipairs(members) do
      if full then break end
      if times[index] then from = from + 1
      elseif mayTake and not mayTake(member) then return
      elseif takeOne(member, key, jobs, mine) then from = from + 1 end
    end
    inParts(quietly, 'ZADD', base .. 'taken', mine)
  end
end

-- One job that lost a worker at a time; before the loss that would condemn it, it runs alone.
local function takeSuspect(operations, running, jobs)
  local drain = false
  local function mayTake(member)
    local state = call('HGET', jobKey(member), 's') or ''
    drain = (tonumber(sub(state, 17, 17)) or 0) >= tonumber(ARGV[4])
    return not drain or running == 0
  end
  for _, one in ipairs(operations) do
    if one[2] > 0 and call('SISMEMBER', base .. 'paused', one[1]) == 0 then
      takeFrom(suspectsKey(one[1]), 1, jobs, mayTake)
      if #jobs > 0 then
        one[2] = one[2] - 1
        return drain
      end
      if drain then return true end
    end
  end
  return false
end

local claims, at = {}, 5
for index = 1, tonumber(ARGV[at]) do
  local limit, running, suspects = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local operations, jobs, drain = {}, {}, false
  for position = 1, tonumber(ARGV[at + 4]) do
    local op = ARGV[at + 3 + 2 * position]
    operations[position] = { op, math.min(limit, tonumber(ARGV[at + 4 + 2 * position])) }
    local seen = tonumber(call('HGET', base .. 'seen', op) or '0')
    if tonumber(now) - seen > ${SEEN_EVERY_MS} or seen > tonumber(now) then call('HSET', base .. 'seen', op, now) end
  end
  at = at + 4 + 2 * #operations
  parked = 0
  if limit > 0 and suspects == 0 then drain = takeSuspect(operations, running, jobs) end
  if not drain then
    for _, one in ipairs(operations) do
      if one[2] > 0 and call('SISMEMBER', base .. 'paused', one[1]) == 0 then
        local most = math.min(limit, #jobs + one[2])
        for _, prio in ipairs(prios(one[1])) do
          takeFrom(lineKey(one[1], prio), most, jobs, nil)
          if parked > 0 then forgetTurns(one[1], prio) end
        end
      end
    end
  end
  claims[index] = { drain and 1 or 0, (full or parked >= ${MOST_PARKED}) and 1 or 0, jobs }
end
local nextAt = call('ZRANGE', base .. 'due', 0, 0, 'WITHSCORES')[2] or ''
keepCounters()
return { lapsed, ended, nextAt, claims }
`,
);
