--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
--@include _limits.lua
--@include _placing.lua
--@include _reinstate.lua
-- move: give tasks that wait another time, or let them run now; up to 64 a call.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6 the answer to this very request
-- ARGV  1 prefix  2 when (us) | '' for now  3 how long the answer is kept (ms)  4.. two values each: key,
--       generation | 0 for any
-- Reply for each: moved | ready: it was to run now, and no worker has come to it yet
--       waiting: for a slot of a limit | running | ended | changed: it is not there (any more)
local answered = redis.call('GET', KEYS[6])
if answered then
  -- Sent again because its reply was lost, or held up on its way: what was moved may run, or have ended, by now.
  return cmsgpack.unpack(answered)
end
local _, now = server_now()

local function move(key, generation)
  local record = read_record(key)
  if not record.state or (generation ~= '0' and record.generation ~= generation) then
    return 'changed'
  end
  if record.state == 'running' then
    reinstate(key, record.state, record.entry, record.when, now)
    return 'running'
  end
  if record.state == 'queued' then
    if ARGV[2] == '' then
      reinstate(key, record.state, record.entry, record.when, now)
      return 'ready'
    end
    end_entry(record.entry)
    redis.call('HDEL', RECORDS .. key, 'entry', 'from')
  elseif record.state == 'scheduled' then
    local limits = redis.call('HGET', RECORDS .. key, 'limits')
    if limits and limiting().limits_of(limits).w and limiting().waiter_of(key) then
      return 'waiting'
    end
    redis.call('ZREM', QUEUE, key)
  else
    return 'ended'
  end
  -- From now on it has the time that somebody chose: see retime.lua.
  redis.call('HDEL', RECORDS .. key, 'timed')
  place(key, now, ARGV[2] == '' and now or ARGV[2], record.deaths, ARGV[2] == '')
  return 'moved'
end

local reply = {}
for i = 4, #ARGV, 2 do
  reply[#reply + 1] = move(ARGV[i], ARGV[i + 1])
end
redis.call('SET', KEYS[6], cmsgpack.pack(reply), 'PX', ARGV[3])
return reply
