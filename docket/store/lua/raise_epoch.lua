-- raise_epoch: after a lost connection, make exchanges that were sent before it do nothing if they arrive late.
--
-- KEYS  1 epochs
-- ARGV  1 consumer
-- Reply the new epoch, or 0 if the consumer was fenced
local epoch = redis.call('HGET', KEYS[1], ARGV[1])
if not epoch then
  return 0
end
if #epoch < 15 and string.match(epoch, '^[1-9]%d*$') then
  return redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
end
-- Somebody else wrote it. The time is no earlier epoch of ours.
local time = redis.call('TIME')[1]
redis.call('HSET', KEYS[1], ARGV[1], time)
return tonumber(time)
