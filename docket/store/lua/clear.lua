--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
--@include _limits.lua
-- clear: cancel up to 64 of the tasks that wait in one place; what runs is left alone.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup
-- ARGV  1 prefix  2 retention (see _records.lua)  3 place: q | s | f | x
--       4 where to go on and  5 where to end: of the queue, - and how many are left to look at; of a stream, ids.
--         Both '' in the first call, which finds the end: what is added from then on is not cleared.
-- Reply {how many were cancelled, where to go on, where to end}; where to go on is '' when that was all
local LIMIT = 64
local ttl, place, start, stop = retention(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local _, now = server_now()
local cleared = 0

-- The queue and the streams may hold entries that no record names any more; those are removed when they are met.
local function cancel(key, state, entry)
  local record = read_record(key)
  if record.state == state and (not entry or record.entry == entry) then
    if entry then
      end_entry(entry)
    else
      local limits = redis.call('HGET', RECORDS .. key, 'limits')
      if limits then
        limiting().leave(key, limits)
      end
    end
    finish(key, 'cancelled', now, ttl, record)
    cleared = cleared + 1
  end
end

if place == 'q' then
  local left = stop == '' and redis.call('ZCARD', QUEUE) or tonumber(stop)
  local keys = left > 0 and redis.call('ZRANGE', QUEUE, 0, math.min(left, LIMIT) - 1) or {}
  local expected = #keys
--@include _listeners.lua
  for _, key in ipairs(keys) do
    redis.call('ZREM', QUEUE, key)
    cancel(key, 'scheduled')
  end
  list_ended()
  left = left - #keys
  return {cleared, #keys > 0 and left > 0 and '-' or '', string.format('%d', left)}
end

local stream = STREAMS[place]
if stop == '' then
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  if not last[1] then
    return {0, '', ''}
  end
  start, stop = '-', last[1][1]
end
local entries = redis.call('XRANGE', stream, start, stop, 'COUNT', LIMIT)
local expected = #entries
--@include _listeners.lua
for _, e in ipairs(entries) do
  cancel(e[2][2], 'queued', place .. e[1])
end
list_ended()
return {cleared, #entries == LIMIT and beyond(entries[LIMIT][1]) or '', stop}
