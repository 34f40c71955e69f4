-- workers: who is registered, when it was heard of last, and what it can run.
--
-- KEYS  1 workers
-- ARGV  1 prefix
-- Reply {now (ms), then three values a consumer: name, last beat (ms), names of its functions}
local t = redis.call('TIME')
local reply = {t[1] * 1000 + math.floor(t[2] / 1000)}
local rows = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #rows, 2 do
  local n = #reply
  reply[n + 1], reply[n + 2] = rows[i], tonumber(rows[i + 1])
  reply[n + 3] = redis.call('SMEMBERS', ARGV[1] .. ':worker-tasks:' .. rows[i])
end
return reply
