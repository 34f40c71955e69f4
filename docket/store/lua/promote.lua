--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
--@include _limits.lua
--@include _pauses.lua
--@include _promote.lua
-- promote: move due tasks from the queue to the stream, and bring back what pauses have parked whose end has passed.
-- Steward only; exchanges promote a few on their way.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup
-- ARGV  1 prefix  2 how many to promote
-- Reply {promoted, the time until the next task is due, or the next pause ends (us) | -1, broken: see _records.lua}
local _, now = server_now()
local promoted = promote(now, tonumber(ARGV[2]))
local ends = pausing(now).lift_ended()
if promoted > 0 then
  wake_idle()
end
limiting().wake_for_admitted()
local head = redis.call('ZRANGE', QUEUE, 0, 0, 'WITHSCORES')
-- The fraction of a score is not exact, but nearer to its microsecond than to the next one.
local due = math.min(head[2] and math.floor(tonumber(head[2]) * 1000 + 0.5) or math.huge, ends)
return {promoted, due < math.huge and math.max(0, due - tonumber(now)) or -1, broken}
