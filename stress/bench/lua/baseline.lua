-- baseline: hand in outcomes and take up to `want` tasks, with the state that the library keeps and no more:
-- a record a task, ownership checked twice, front before stream, the bell, expiry, a message at each change.
--
-- KEYS  1 stream  2 front  3 bell
-- ARGV  1 prefix  2 consumer  3 want  4 ttl (ms)  5.. the outcomes, four values each: stream, entry, key, result
-- Reply flat, four values a task: stream, entry, key, call
local prefix, consumer, want = ARGV[1], ARGV[2], tonumber(ARGV[3])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

for i = 5, #ARGV, 4 do
  local stream, entry, key = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2]
  local record = prefix .. ':task:' .. key
  local v = redis.call('HMGET', record, 'state', 'entry', 'generation', 'worker', 'when', 'started_at')
  redis.call('XACK', stream, 'workers', entry)
  redis.call('XDEL', stream, entry)
  if v[1] == 'running' and v[2] == entry and v[4] == consumer then
    redis.call('HSET', record, 'state', 'completed', 'completed_at', now, 'result', ARGV[i + 3])
    redis.call('PEXPIRE', record, ARGV[4])
    redis.call('PUBLISH', prefix .. ':state:' .. key,
      table.concat({'completed', v[5], consumer, v[6], now}, '\31'))
  end
end

local taken, took = {}, 0
for stream = 2, 1, -1 do
  local got = took < want and redis.call('XREADGROUP', 'GROUP', 'workers', consumer,
    'COUNT', want - took, 'STREAMS', KEYS[stream], '>')
  for _, e in ipairs(got and got[1][2] or {}) do
    local entry, key = e[1], e[2][2]
    local record = prefix .. ':task:' .. key
    local v = redis.call('HMGET', record, 'state', 'entry', 'generation', 'function', 'call', 'when', 'attempt')
    if v[1] == 'queued' and v[2] == entry then
      redis.call('HSET', record, 'state', 'running', 'worker', consumer, 'started_at', now)
      redis.call('PUBLISH', prefix .. ':state:' .. key, table.concat({'running', v[6], consumer, now}, '\31'))
      local n = #taken
      taken[n + 1], taken[n + 2], taken[n + 3], taken[n + 4] = stream, entry, key, v[5]
      took = took + 1
    end
  end
end
if took == want and redis.call('LLEN', KEYS[3]) == 0 then
  redis.call('LPUSH', KEYS[3], '1')
end
return taken
