--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
--@include _limits.lua
--@include _reinstate.lua
-- cancel: remove a task that waits; signal the worker of one that runs.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6 record
-- ARGV  1 prefix  2 key  3 retention (see _records.lua)  4 generation | 0 for any
-- Reply {nothing | removed | signalled | changed: it has another generation, broken: see _records.lua}
local key, ttl = ARGV[2], retention(ARGV[3])
local _, now = server_now()
local record = read_record(key)
if ARGV[4] ~= '0' and record.generation ~= ARGV[4] then
  return {'changed', broken}
end
if record.state == 'running' then
  -- One that nobody runs any more, and whose entry somebody deleted, would be signalled in vain.
  reinstate(key, record.state, record.entry, record.when, now)
  record = read_record(key)
end
if record.state == 'running' then
  -- Kept in the record as well: a worker that misses the message sees it when it renews, an adopter when it adopts.
  redis.call('HSET', KEYS[6], 'cancel', '1')
  tell('PUBLISH', PREFIX .. ':cancel', (record.entry or '') .. '\31' .. key)
  return {'signalled', broken}
end
if record.state == 'scheduled' then
  redis.call('ZREM', QUEUE, key)
  local limits = redis.call('HGET', KEYS[6], 'limits')
  if limits then
    limiting().leave(key, limits)
  end
elseif record.state == 'queued' then
  end_entry(record.entry)
else
  -- Where the task of an overwritten record waits is unknown; the queue would go on counting it.
  if broken[1] then
    redis.call('ZREM', QUEUE, key)
  end
  return {'nothing', broken}
end
finish(key, 'cancelled', now, ttl, record)
list_ended()
return {'removed', broken}
