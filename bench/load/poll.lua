-- wrk script: GETs one of the paths of a file, at random.
-- Arguments: a seed, "check" or "measure" (see submit.lua), and the file with a path on each line.
dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "report.lua")

local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

statuses = {}
local requests = {}
local random = math.random

function init(arguments)
  math.randomseed(tonumber(arguments[1]) + number * 1000003)
  for path in io.lines(arguments[3]) do
    table.insert(requests, "GET " .. path .. " HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port .. "\r\n\r\n")
  end
  if arguments[2] == "check" then
    response = function(status) statuses[status] = (statuses[status] or 0) + 1 end
  end
end

function request()
  return requests[random(1, #requests)]
end

function done(summary, latency)
  report(summary, latency, threads)
end
