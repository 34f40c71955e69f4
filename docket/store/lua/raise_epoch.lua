-- raise_epoch: after a lost connection, make exchanges that were sent before it do nothing if they arrive late.
--
-- KEYS  1 epochs
-- ARGV  1 consumer
-- Reply the new epoch, or 0 if the consumer was fenced
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return 0
end
return redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
