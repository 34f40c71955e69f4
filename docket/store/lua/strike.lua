-- strike: append one strike or restore instruction, and tell all who follow them.
--
-- KEYS  1 strikes
-- ARGV  1 channel  2.. fields and values of the instruction
-- Reply its id
local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2))
redis.call('PUBLISH', ARGV[1], id)
return id
