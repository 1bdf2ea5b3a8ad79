-- wrk script: POSTs a 200-byte JSON body under a random UUID (version 4) as Idempotency-Key, each time another.
-- Arguments: a seed, and "check" to count the answers by their status (slower: wrk then parses each answer).
dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "report.lua")

local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

statuses = {}
local hex, version, variant = {}, {}, {}
local before, after
local random = math.random

function init(arguments)
  -- LuaJIT's generator has a period of 2^223 and takes the whole double as its seed.
  math.randomseed(tonumber(arguments[1]) + number * 1000003)
  for value = 0, 65535 do hex[value] = string.format("%04x", value) end
  for value = 0, 4095 do version[value] = string.format("-4%03x-", value) end
  for value = 0, 16383 do variant[value] = string.format("%04x-", 0x8000 + value) end
  local body = '{"text":"' .. string.rep("x", 189) .. '"}'
  before = "POST " .. wrk.path .. " HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port
    .. "\r\nContent-Type: application/json\r\nContent-Length: " .. #body .. "\r\nIdempotency-Key: "
  after = "\r\n\r\n" .. body
  if arguments[2] == "check" then
    response = function(status) statuses[status] = (statuses[status] or 0) + 1 end
  end
end

function request()
  return before .. hex[random(0, 65535)] .. hex[random(0, 65535)] .. "-" .. hex[random(0, 65535)]
    .. version[random(0, 4095)] .. variant[random(0, 16383)]
    .. hex[random(0, 65535)] .. hex[random(0, 65535)] .. hex[random(0, 65535)] .. after
end

function done(summary, latency)
  report(summary, latency, threads)
end
