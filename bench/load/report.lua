-- Prints what wrk measured as one line of JSON.
function report(summary, latency, threads)
  local byStatus = {}
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("statuses")) do
      byStatus[status] = (byStatus[status] or 0) + count
    end
  end
  local fields = {}
  for status, count in pairs(byStatus) do
    table.insert(fields, string.format('"%d":%d', status, count))
  end
  local errors = summary.errors
  print(string.format(
    'report {"requests":%d,"seconds":%.6f,"p50Ms":%.3f,"p99Ms":%.3f,"maxMs":%.3f,'
      .. '"failures":{"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d},"statuses":{%s}}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3, errors.status, errors.connect, errors.read, errors.write, errors.timeout,
    table.concat(fields, ",")
  ))
end
