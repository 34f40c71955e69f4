-- beat: record that a consumer lives.
--
-- KEYS  1 workers  2 epochs  3 worker-info  4 worker-tasks  5.. task-workers of each function
-- ARGV  1 consumer  2 lifetime of its keys without a beat (ms)  3 what it tells of its process, '' for nothing new
--       4 1: tell the beats of all, too, which saves a steward its look at them | 0
-- Reply 0 if it was fenced; 1; with the beats {now (ms), the name and the last beat (ms) of each, flat}
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then
  return 0
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
if ARGV[3] ~= '' then
  -- Whatever somebody else has put there.
  redis.call('DEL', KEYS[3])
  redis.call('HSET', KEYS[3], 'info', ARGV[3])
end
for i = 3, #KEYS do
  redis.call('PEXPIRE', KEYS[i], ARGV[2])
end
return ARGV[4] == '1' and {now, redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')} or 1
