--@include _streams.lua
--@include _records.lua
--@include _limits.lua
--@include _pauses.lua
-- resume: end a pause, and bring back up to `limit` of the tasks that it has parked, in order. The pause stays, ended,
-- until all are back: the steward goes on if the caller does not come again.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6 pauses
-- ARGV  1 prefix  2 name of the function | ''  3 limit  4 first: ends a pause | next: goes on, unless it was paused anew
-- Reply {1 if a pause was ended by this call | 0, 1 if there are more to bring back | 0, broken: see _records.lua}
local _, now = server_now()
local name, limit = ARGV[2], tonumber(ARGV[3])
local pauses = pausing(now)
local held = pauses.holds(name)
if held and ARGV[4] == 'next' then
  return {0, 0, broken}
end
if held then
  local pause = pauses.read(redis.call('HGET', KEYS[6], name))
  redis.call('HSET', KEYS[6], name, cmsgpack.pack({pause[1], now, pause[3], pause[4]}))
end
local looked = pauses.lift(name, limit)
limiting().wake_for_admitted()
return {held and 1 or 0, looked == limit and 1 or 0, broken}
