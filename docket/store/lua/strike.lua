--@include _messages.lua
-- strike: append one strike or restore instruction and publish it. Older ones about the same thing are removed, since only
-- the newest counts, for readers that have not read them yet too.
--
-- KEYS  1 strikes
-- ARGV  1 channel  2 how many entries it makes needless  3.. their ids  then fields and values of the instruction
-- Reply its id
local needless = tonumber(ARGV[2])
local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3 + needless))
if needless > 0 then
  redis.call('XDEL', KEYS[1], unpack(ARGV, 3, 2 + needless))
end
tell('PUBLISH', ARGV[1], id)
return id
