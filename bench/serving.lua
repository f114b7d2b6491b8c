-- Asks for the paths of a file in random order, and says at the end how that went.
local requests = {}

function init(arguments)
  math.randomseed(tonumber(arguments[2]))
  local headers = { ["Accept"] = arguments[3] }
  for path in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("GET", path, headers)
  end
end

function request()
  return requests[math.random(#requests)]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    "\nfound %d %d %d %d %d\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status + errors.connect + errors.read + errors.write
  ))
end
