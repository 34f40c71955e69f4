--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
--@include _limits.lua
--@include _manual.lua
-- claim: mark one execution running, by hand.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6 record
-- ARGV  1 prefix  2 key  3 generation | 0 for whatever waits, or nothing  4 the entry of the run it belongs to | ''
--       5 worker, as a consumer is called  6 the entry that this claim is to have  7.. function, call, when (us),
--       attempt: for generation 0
-- Reply {generation, attempt, when (us), started at (us), entry}, or {} if it is not there to be claimed
local key, generation, worker, entry = ARGV[2], ARGV[3], ARGV[5], ARGV[6]
local _, now = server_now()
local record = read_sound(key)

local function reply()
  local v = redis.call('HMGET', RECORDS .. key, 'generation', 'attempt', 'when', 'started_at', 'entry')
  return {count_of(v[1], 0), count_of(v[2], 1), v[3], v[4], v[5]}
end

if generation ~= '0' and record.generation ~= generation then
  return {}
end
if record.state == 'running' then
  -- Claimed by this very call (its reply was lost), or it is the caller's already.
  local is_ours = record.entry == entry or (record.entry == ARGV[4] and worker_of(record.worker) == worker_of(worker))
  return is_ours and reply() or {}
end
if is_live(record.state) then
  take_away(key, record)
elseif generation == '0' then
  write_new(key, record, {ARGV[7], ARGV[8], ARGV[9], ARGV[10]})
else
  return {}
end
redis.call('HSET', RECORDS .. key, 'state', 'running', 'worker', worker, 'started_at', now, 'entry', entry)
publish(key, 'running', record.when, worker, now)
return reply()
