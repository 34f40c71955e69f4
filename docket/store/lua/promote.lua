--@include _streams.lua
--@include _records.lua
--@include _promote.lua
-- promote: move due tasks from the queue to the stream. Steward only; exchanges promote a few on their way.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup
-- ARGV  1 prefix  2 limit
-- Reply {now (ms), promoted, next due (ms) | -1, broken: see _records.lua}
local now = server_now()
local promoted = promote(now, tonumber(ARGV[2]))
if promoted > 0 then
  wake_idle()
end
local head = redis.call('ZRANGE', QUEUE, 0, 0, 'WITHSCORES')
return {now, promoted, head[2] and tonumber(head[2]) or -1, broken}
