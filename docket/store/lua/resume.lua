--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
--@include _limits.lua
--@include _pauses.lua
-- resume: end a pause, and bring back up to `limit` of the tasks that it has parked, in order. The pause stays, ended,
-- until all are back: the steward goes on if the caller does not come again.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6 pauses  7 the answer to this very request
-- ARGV  1 prefix  2 name of the function | ''  3 limit  4 how long the answer is kept (ms)
-- Reply {1 if the request has ended a pause | 0, 1 if there are more to bring back | 0, broken: see _records.lua}
local _, now = server_now()
local name, limit = ARGV[2], tonumber(ARGV[3])
local pauses = pausing(now)
local held, answered = pauses.holds(name), redis.call('GET', KEYS[7])
if held and answered then
  -- The second batch of the request, or its repetition: what was paused anew meanwhile stays so.
  return {tonumber(answered), 0, broken}
end
if held then
  local pause = pauses.read(redis.call('HGET', KEYS[6], name))
  redis.call('HSET', KEYS[6], name, cmsgpack.pack({pause[1], now, pause[3], pause[4]}))
end
answered = answered or (held and '1' or '0')
redis.call('SET', KEYS[7], answered, 'PX', ARGV[4])
local looked = pauses.lift(name, limit)
limiting().wake_for_admitted()
return {tonumber(answered), looked == limit and 1 or 0, broken}
