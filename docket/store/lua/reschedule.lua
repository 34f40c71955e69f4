--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
--@include _limits.lua
--@include _placing.lua
--@include _manual.lua
-- reschedule: give up a run and let the same execution wait again, in one step, so that it is neither lost nor run twice.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6 record
-- ARGV  1 prefix  2 key  3 generation | 0  4 the entry of the run, with or without the letter of its stream
--       5 when (us)  6 attempt  7 call  8 token  9 retention (see _records.lua)
--       10 at once: 1 | 0
-- Reply {scheduled | superseded | cancelled, generation, state}
local key, message, _, now = ARGV[2], ARGV[4], server_now()
local record = find(key, ARGV[3], '')

local function answer(disposition)
  local v = redis.call('HMGET', KEYS[6], 'generation', 'state')
  return {disposition, count_of(v[1], 0), v[2] or ''}
end

if record and redis.call('HGET', KEYS[6], 'token') == ARGV[8] then
  return answer('scheduled')
end
local is_ours = record and record.entry and record.entry ~= ''
  and (record.entry == message or string.sub(record.entry, 2) == message)
if not is_ours or (record.state ~= 'running' and record.state ~= 'queued') then
  return answer('superseded')
end
take_away(key, record)
if record.cancel then
  finish(key, 'cancelled', now, retention(ARGV[9]), record)
  list_ended()
  return answer('cancelled')
end
redis.call('HDEL', KEYS[6], 'entry', 'from', unpack(RUN_FIELDS))
local before = redis.call('HMGET', KEYS[6], 'token', 'tokens')
redis.call('HSET', KEYS[6], 'attempt', ARGV[6], 'call', ARGV[7], 'token', ARGV[8])
if before[1] then
  -- As in schedule.lua: the request that this one follows may arrive once more.
  redis.call('HSET', KEYS[6], 'tokens', string.sub(' ' .. before[1] .. (before[2] or ' '), 1, 200))
end
place(key, now, ARGV[5], record.deaths, ARGV[10] == '1')
return answer('scheduled')
