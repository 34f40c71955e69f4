-- strike: append one strike or restore instruction, and tell all who follow them. Only the newest one about the same
-- thing says anything: whoever has not read the older ones yet, or begins anew, need not.
--
-- KEYS  1 strikes
-- ARGV  1 channel  2 how many entries it makes needless  3.. their ids  then fields and values of the instruction
-- Reply its id
local needless = tonumber(ARGV[2])
local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3 + needless))
if needless > 0 then
  redis.call('XDEL', KEYS[1], unpack(ARGV, 3, 2 + needless))
end
redis.call('PUBLISH', ARGV[1], id)
return id
