--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
--@include _limits.lua
--@include _manual.lua
-- mark: end one execution, by hand. One that still waits is taken away first, so that nobody runs it any more.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6 record
-- ARGV  1 prefix  2 key  3 generation | 0 for whatever is there, or nothing  4 the entry of the run | ''
--       5 completed | failed | cancelled  6 retention (see _records.lua)  7 error text | ''
--       8 where the result is stored | ''  9.. function, call, when (us), attempt: for generation 0
-- Reply {generation, completed at (us)}, or {} if it is not the caller's to end
local key, state, _, now = ARGV[2], ARGV[5], server_now()
local record = find(key, ARGV[3], ARGV[4])
if not record then
  return {}
end
if not is_live(record.state) and ARGV[3] ~= '0' then
  -- Sent again because its reply was lost: it gets the same answer as the first time.
  local completed_at = redis.call('HGET', KEYS[6], 'completed_at')
  completed_at = string.format('%d', count_of(completed_at, 0))
  return record.state == state and {count_of(record.generation, 0), completed_at} or {}
end
if is_live(record.state) then
  take_away(key, record)
else
  write_new(key, record, {ARGV[9], ARGV[10], ARGV[11], ARGV[12]})
end
finish(key, state, now, retention(ARGV[6]), record, nil, ARGV[7] ~= '' and ARGV[7] or nil, ARGV[8])
list_ended()
return {count_of(record.generation, 0), now}
