--@include _streams.lua
--@include _entries.lua
-- register: announce a consumer, so that it may exchange.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6 workers  7 epochs  8 worker-tasks
--       9.. task-workers of each function
-- ARGV  1 prefix  2 consumer  3 lifetime of its keys without a beat (ms)  4 its leases (ms), or '' for the sweeper's own
--        5.. function names
-- Reply now (ms)
local now = server_now()
for _, stream in pairs(STREAMS) do
  create_group(stream)
end
-- It has claimed nothing yet. A user that may not claim learns of it here, before the worker is called ready.
check(redis.pcall('XREADGROUP', 'GROUP', GROUP, ARGV[2], 'COUNT', 1, 'STREAMS', STREAMS.s, '0'), 'WRONGTYPE')
redis.call('ZADD', KEYS[6], now, ARGV[2])
redis.call('HSET', KEYS[7], ARGV[2], '1')
if ARGV[4] ~= '' then
  redis.call('HSET', ARGV[1] .. ':leases', ARGV[2], ARGV[4])
end
for i = 5, #ARGV do
  redis.call('SADD', KEYS[8], ARGV[i])
  redis.call('SADD', KEYS[4 + i], ARGV[2])
  redis.call('PEXPIRE', KEYS[4 + i], ARGV[3])
end
redis.call('PEXPIRE', KEYS[8], ARGV[3])
return now
