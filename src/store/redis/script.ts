// What all scripts share: counters that are read and written once a call, lines, parking, the feed, and the number of the call.
//
// A script holds no rule of a job's life: JavaScript decided, and what is written here is what it decided, with the
// indexes beside it. Redis takes nothing of a script back that fails half-way, so all reasons to refuse come before the first write,
// and no command can fail after it: Redis judges memory and disk at a script's first write only.
//
// Keys, all of them behind `{prefix}:`, so that they lie in one slot of a cluster:
//
//   job:<row>        hash: r what never changes, i the input, u upload and trace, c the checkpoint, s the rest (codec.ts)
//   at:<digit>       hash: address → row; life:<digit>, live:<digit>: the same for idempotency keys and for content, with the key's
//                    end once its job is gone. Sixteen of each by the digest's first digit: a batch asks and sets each once
//   owner:<owner>    zset: the rows of an owner that are not gone
//   line:<priority>:<operation>, suspects:<operation>   zsets by turn; prios:<operation> which priorities there are
//   due              zset by dueAt: queued, not yet in line
//   taken            zset by the server's time: stands in line, but a claim is deciding on it; `taking` counts them by owner.
//                    Both are in memory alone, neither logged nor replicated: they cost no sync, and a restart forgets them
//   parked:<class>:<operation>\0<owner>, parkers:<owner>   out of the line until one of the owner's jobs ends
//   leases, ends     zsets: when a running job, or any other, has to be looked at
//   turns:<priority>:<operation>   zset: the last turn of each owner; `virtual` hash: the line's own time
//   queued, processing, active, running, blocks   hashes of counts; blockline zset: which thousands of rows have any
//   facts, policies, durations, seen, kept hashes; paused set; feed stream; done:<engine> hash: the last call of each lane
//
// A call from a script costs more than most commands do, so what can wait until a script's end is done there, a thousand at once.

import { createHash } from "node:crypto";

export interface Script {
  readonly name: string;
  readonly text: string;
  readonly sha: string;
}

/** How long a claim may take to decide on what it took; then others may take it. */
export const TAKEN_MS = 5000;

/** Jobs that come due, or are given up, in one call. */
const WAKE_MOST = 1000;

const KEYS = `
local base, call, fmt, sub = KEYS[1], redis.call, string.format, string.sub
local function number(n) return fmt('%.17g', n) end
local function jobKey(member) return base .. 'job:' .. member end
local function lineKey(op, prio) return base .. 'line:' .. prio .. ':' .. op end
local function suspectsKey(op) return base .. 'suspects:' .. op end
local function parkedKey(class, op, owner) return base .. 'parked:' .. class .. ':' .. op .. '\\0' .. owner end
local function bucket(kind, digest) return base .. kind .. ':' .. sub(digest, 1, 1) end

local priorities = {}
local function prios(op)
  local all = priorities[op]
  if not all then
    all = call('ZREVRANGE', base .. 'prios:' .. op, 0, -1)
    priorities[op] = all
  end
  return all
end

-- How many stand before the first of this priority.
local function ahead(op, prio)
  local before = call('ZCARD', suspectsKey(op))
  for _, other in ipairs(prios(op)) do
    if tonumber(other) <= tonumber(prio) then break end
    before = before + call('ZCARD', lineKey(op, other))
  end
  return before
end

-- What JavaScript needs to say why a job of the operation waits.
local function factsOf(op)
  return {
    op,
    call('SISMEMBER', base .. 'paused', op),
    call('HGET', base .. 'seen', op) or '',
    call('HGET', base .. 'processing', op) or '0',
  }
end
`;

const COUNTERS = `
local counts = {}
local function counter(key, field)
  local fields = counts[key]
  if not fields then
    fields = {}
    counts[key] = fields
  end
  local one = fields[field]
  if not one then
    one = { tonumber(call('HGET', base .. key, field) or '0') or 0, false }
    fields[field] = one
  end
  return one
end
local function get(key, field) return counter(key, field)[1] end
local function set(key, field, value)
  local one = counter(key, field)
  one[1] = value
  one[2] = true
end
local function add(key, field, by) set(key, field, get(key, field) + by) end
local FORGETS = { active = true, running = true, taking = true, blocks = true }
-- What is in memory alone.
local function quietly(...)
  redis.set_repl(redis.REPL_NONE)
  local reply = call(...)
  redis.set_repl(redis.REPL_ALL)
  return reply
end
local function keepCounters()
  for key, fields in pairs(counts) do
    local call = key == 'taking' and quietly or call
    for field, one in pairs(fields) do
      if one[2] then
        if one[1] <= 0 and FORGETS[key] then call('HDEL', base .. key, field)
        else call('HSET', base .. key, field, number(one[1])) end
      end
    end
  end
end

-- At the script's end: what is added to sorted sets, taken from them, and set in hashes.
local adds, rems, sets, untaken = {}, {}, {}, {}
local function listed(lists, key)
  local list = lists[key]
  if not list then
    list = {}
    lists[key] = list
  end
  return list
end
local function addLater(key, score, member)
  local list = listed(adds, key)
  list[#list + 1] = score
  list[#list + 1] = member
end
local function remLater(key, member)
  local list = listed(rems, key)
  list[#list + 1] = member
end
local function setLater(key, field, value)
  local list = listed(sets, key)
  list[#list + 1] = field
  list[#list + 1] = value
end
local function inParts(call, command, key, list)
  for first = 1, #list, 1000 do call(command, key, unpack(list, first, math.min(#list, first + 999))) end
end
local function flush()
  for key, list in pairs(sets) do inParts(call, 'HSET', key, list) end
  for key, list in pairs(adds) do inParts(call, 'ZADD', key, list) end
  for key, list in pairs(rems) do inParts(call, 'ZREM', key, list) end
  inParts(quietly, 'ZREM', base .. 'taken', untaken)
  adds, rems, sets, untaken = {}, {}, {}, {}
end

local function block(member, by)
  local name = fmt('%.0f', math.floor(tonumber(member) / 1000))
  local before = get('blocks', name)
  add('blocks', name, by)
  if before == 0 then call('ZADD', base .. 'blockline', name, name)
  elseif before + by <= 0 then call('ZREM', base .. 'blockline', name) end
end
`;

const LINES = `
local known = {}
-- The line that a job stands in.
local function placeKey(op, prio, suspect)
  if suspect ~= '0' then return suspectsKey(op) end
  local key = lineKey(op, prio)
  if not known[key] then
    if call('ZADD', base .. 'prios:' .. op, prio, prio) == 1 then priorities[op] = nil end
    known[key] = true
  end
  return key
end
local function enqueue(member, op, prio, turn, suspect)
  call('ZADD', placeKey(op, prio, suspect), turn, member)
end

-- With nobody waiting there is nothing to be fair about: what owners had before counts no more.
local function forgetTurns(op, prio)
  if call('EXISTS', lineKey(op, prio)) == 0 then call('DEL', base .. 'turns:' .. prio .. ':' .. op) end
end

local function unparked(op, owner)
  add('facts', 'parked', -1)
  if call('HINCRBY', base .. 'parkers:' .. owner, op, -1) <= 0 then call('HDEL', base .. 'parkers:' .. owner, op) end
end

local function park(member, op, owner, prio, turn, suspect)
  call('ZADD', parkedKey(suspect ~= '0' and 's' or prio, op, owner), turn, member)
  call('HINCRBY', base .. 'parkers:' .. owner, op, 1)
  add('facts', 'parked', 1)
end

-- One ended, so one may start: of each operation the one of its owner whose turn is first. Those that are too many
-- are parked again.
local function unpark(owner)
  if get('facts', 'parked') <= 0 then return end
  for _, op in ipairs(call('HKEYS', base .. 'parkers:' .. owner)) do
    local first = call('ZPOPMIN', parkedKey('s', op, owner))
    if first[1] then
      enqueue(first[1], op, '0', first[2], '1')
      unparked(op, owner)
    else
      for _, prio in ipairs(prios(op)) do
        first = call('ZPOPMIN', parkedKey(prio, op, owner))
        if first[1] then
          enqueue(first[1], op, prio, first[2], '0')
          unparked(op, owner)
          break
        end
      end
    end
  end
end

-- Takes a queued job from wherever it stands; whether it stood where others wait behind it.
local function leaveQueue(member, op, owner, prio, suspect)
  if call('ZREM', suspect ~= '0' and suspectsKey(op) or lineKey(op, prio), member) == 1 then
    if suspect == '0' then forgetTurns(op, prio) end
    if quietly('ZREM', base .. 'taken', member) == 1 then add('taking', owner, -1) end
    return true
  end
  if call('ZREM', base .. 'due', member) == 1 then return false end
  if call('ZREM', parkedKey(suspect ~= '0' and 's' or prio, op, owner), member) == 1 then unparked(op, owner) end
  return false
end

-- What is told of a job without JavaScript: turn, priority, running limit, owner, operation, suspect.
local function standing(member)
  local job = call('HMGET', jobKey(member), 'r', 's')
  if not job[1] then return nil end
  local r = cjson.decode(job[1])
  return { turn = number(r[1]), prio = r[2], owner = r[4], op = r[5], suspect = sub(job[2], 17, 17) }
end

-- Jobs whose time has come join their lines, and what claims took and never began can be taken again.
local function wake(now)
  local due = call('ZRANGEBYSCORE', base .. 'due', '-inf', now, 'LIMIT', 0, ${WAKE_MOST})
  for _, member in ipairs(due) do
    local job = standing(member)
    call('ZREM', base .. 'due', member)
    if job then enqueue(member, job.op, job.prio, job.turn, job.suspect) end
  end
  local time = call('TIME')
  local real = time[1] * 1000 + math.floor(time[2] / 1000)
  local lapsed = call('ZRANGEBYSCORE', base .. 'taken', '-inf', real, 'LIMIT', 0, ${WAKE_MOST})
  for _, member in ipairs(lapsed) do
    local job = standing(member)
    quietly('ZREM', base .. 'taken', member)
    if job then add('taking', job.owner, -1) end
  end
  return real
end
`;

const NUMBERED = `
-- Appends the call's events as one entry; gives the sequence of the first. The entry is forgotten by its stamp.
local function tell(events, count, names, stamp)
  if count == 0 then return 0 end
  local last = get('facts', 'seq') + count
  set('facts', 'seq', last)
  call('XADD', base .. 'feed', number(last) .. '-0', 'a', stamp, 'n', count, 'd', names, 'e', table.concat(events, ','))
  call('PUBLISH', base .. 'feed', number(last))
  return last - count + 1
end

-- A call that is sent again, for its answer was lost, is done once: what it answered is kept until the lane's next one.
-- One that arrives after the next one has no effect.
local lane, serial = ARGV[2], tonumber(ARGV[3])
local done = call('HGET', base .. 'done:' .. ARGV[1], lane)
if done then
  local last, said = string.match(done, '^(%d+) (.*)$')
  if tonumber(last) == serial then return { 'done', said } end
  if tonumber(last) > serial then return { 'late' } end
end
local function finish(said)
  flush()
  keepCounters()
  local key = base .. 'done:' .. ARGV[1]
  if call('HSET', key, lane, ARGV[3] .. ' ' .. said) == 1 then call('EXPIRE', key, 86400) end
end
`;

/** A script that only reads. */
export function reading(name: string, text: string): Script {
  return script(name, KEYS + text);
}

/** A script that moves jobs between lines, which may be done again. */
export function moving(name: string, text: string): Script {
  return script(name, KEYS + COUNTERS + LINES + text);
}

/** A script that writes: its first arguments are the engine, the lane, and the call's number. */
export function writing(name: string, text: string): Script {
  return script(name, KEYS + COUNTERS + LINES + NUMBERED + text);
}

function script(name: string, text: string): Script {
  return { name, text, sha: createHash("sha1").update(text).digest("hex") };
}
