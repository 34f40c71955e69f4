-- beat: record that a consumer lives.
--
-- KEYS  1 workers  2 epochs  3 worker-info  4 worker-tasks  5.. task-workers of each function
-- ARGV  1 consumer  2 lifetime of its keys without a beat (ms)  3 what it tells of its process, '' for nothing new
-- Reply 1, or 0 if it was fenced
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then
  return 0
end
local t = redis.call('TIME')
redis.call('ZADD', KEYS[1], t[1] * 1000 + math.floor(t[2] / 1000), ARGV[1])
if ARGV[3] ~= '' then
  -- Whatever somebody else has put there.
  redis.call('DEL', KEYS[3])
  redis.call('HSET', KEYS[3], 'info', ARGV[3])
end
for i = 3, #KEYS do
  redis.call('PEXPIRE', KEYS[i], ARGV[2])
end
return 1
