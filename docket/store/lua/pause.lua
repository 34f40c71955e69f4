--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
--@include _limits.lua
--@include _pauses.lua
-- pause: let nothing of a function, or of the whole docket, be claimed any more; what runs goes on.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6 pauses  7 the answer to this very request
-- ARGV  1 prefix  2 name of the function | ''  3 until (us) | for (us) | ''  4 `at` | `for`, which of the two that is
--       5 reason  6 by  7 how many pauses there may be  8 how long the answer is kept (ms)
-- Reply {paused | past: `until` is not in the future | full: there are that many, the pause whose place it takes | ''}
local answered = redis.call('GET', KEYS[7])
if answered then
  -- Sent again because its reply was lost, or held up on its way: it must not pause what was resumed meanwhile.
  return {'paused', answered}
end
local _, now = server_now()
local name, ends = ARGV[2], ARGV[3]
if ends ~= '' and ARGV[4] == 'for' then
  ends = string.format('%d', tonumber(now) + tonumber(ends))
end
if ends ~= '' and tonumber(ends) <= tonumber(now) then
  return {'past', ''}
end
local before = redis.call('HGET', KEYS[6], name) or ''
if before == '' and redis.call('HLEN', KEYS[6]) >= tonumber(ARGV[7]) then
  return {'full', ''}
end
-- Of one that is being lifted, what is still parked stays so: the new one brings it back.
local pauses = pausing(now)
local holds = before ~= '' and pauses.holds(name)
local since = holds and pauses.read(before)[1] or now
redis.call('HSET', KEYS[6], name, cmsgpack.pack({since, ends, ARGV[5], ARGV[6]}))
if ends ~= '' then
  tell('PUBLISH', PREFIX .. ':wake', math.ceil(tonumber(ends) / 1000))
end
redis.call('SET', KEYS[7], holds and before or '', 'PX', ARGV[8])
return {'paused', holds and before or ''}
