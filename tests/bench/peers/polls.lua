-- Requests of a file in turn, each of wrk's threads to an address of its own. Arguments: the file, then host:port each.
-- The file is a Lua table of whole requests; a thread begins at a place of its own, so that no two ask the same at a time.

local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  local addresses = {}
  for place = 2, #args do
    local host, port = args[place]:match("^(.*):(%d+)$")
    addresses[#addresses + 1] = wrk.lookup(host, port)[1]
  end
  wrk.thread.addr = addresses[number % #addresses + 1]
  requests = dofile(args[1])
  sent = math.floor(#requests * number / #addresses)
end

function request()
  sent = sent % #requests + 1
  return requests[sent]
end

function done(summary, latency)
  local failed = summary.errors
  io.write(string.format(
    "\nsummary {\"requests\": %d, \"seconds\": %.6f, \"p50_ms\": %.4f, \"p99_ms\": %.4f, \"statuses\": %d, \"lost\": %d}\n",
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    failed.status, failed.connect + failed.read + failed.write + failed.timeout))
end
