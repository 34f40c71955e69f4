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
-- Reply {now (ms), promoted, when the next task is due, or the next pause ends (ms) | -1, broken: see _records.lua}
local now, now_text = server_now()
local promoted = promote(now, tonumber(ARGV[2]))
local ends = math.ceil(pausing(now_text).lift_ended() / 1000)
if promoted > 0 then
  wake_idle()
end
limiting().wake_for_admitted()
local head = redis.call('ZRANGE', QUEUE, 0, 0, 'WITHSCORES')
local due = math.min(head[2] and tonumber(head[2]) or math.huge, ends)
return {now, promoted, due < math.huge and due or -1, broken}
