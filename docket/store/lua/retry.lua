--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
--@include _placing.lua
-- retry: run executions again that failed or were cancelled, with their stored calls; up to 64 a call.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup
-- ARGV  1 prefix  2.. three values each: key, token, when it ended (us) | '' for the last one of the key
-- Reply for each: retried | live: something waits or runs under the key | changed: it is not there (any more)
--       and its generation, which is 0 unless it was retried
local _, now = server_now()

local function fields_of(name)
  local flat, fields = redis.call('HGETALL', name), {}
  for i = 1, #flat, 2 do
    fields[flat[i]] = flat[i + 1]
  end
  return fields
end

-- The newest of those that ended at that time, or at any: the record, if it says so, or a failure that was kept.
local function source_of(key, record, ended_at)
  local found
  for _, name in ipairs({RECORDS .. key, FAILED_RECORDS .. key}) do
    local v = attempts().try('HMGET', name, 'state', 'completed_at', 'call') or {}
    local has_ended = (v[1] == 'failed' or v[1] == 'cancelled') and v[2] and v[3]
    if has_ended and (ended_at == '' or v[2] == ended_at) and (not found or tonumber(v[2]) > found.at) then
      found = {name = name, at = tonumber(v[2])}
    end
  end
  return found and fields_of(found.name)
end

local function retry(key, token, ended_at)
  local record = read_record(key)
  if broken[1] then
    return 'changed', 0
  end
  local v = redis.call('HMGET', RECORDS .. key, 'token', 'tokens')
  if v[1] == token then
    -- Sent again because its reply was lost.
    return 'retried', count_of(record.generation, 0)
  end
  if record.state == 'scheduled' or record.state == 'queued' or record.state == 'running' then
    return 'live', 0
  end
  local old = source_of(key, record, ended_at)
  if not old then
    return 'changed', 0
  end
  local generation = math.max(count_of(record.generation, 0), count_of(old.generation, 0)) + 1
  local fields = {'generation', generation, 'function', old['function'] or '', 'call', old.call, 'attempt', 1,
    'token', token, 'predecessor', (old.generation or '') .. ' ' .. old.completed_at .. ' ' .. old.state}
  if old.perpetual and old.state == 'failed' then
    old.last_failure = old.completed_at
  end
  for _, name in ipairs({'attempts', 'logged', 'trace', 'last_success', 'last_failure'}) do
    if old[name] then
      fields[#fields + 1], fields[#fields + 2] = name, old[name]
    end
  end
  if old.perpetual then
    fields[#fields + 1], fields[#fields + 2] = 'perpetual', 0
  end
  if v[1] then
    fields[#fields + 1], fields[#fields + 2] = 'tokens', string.sub(' ' .. v[1] .. (v[2] or ' '), 1, 200)
  end
  redis.call('DEL', RECORDS .. key, FAILED_RECORDS .. key)
  attempts().try('ZREM', FAILED, key)
  redis.call('HSET', RECORDS .. key, unpack(fields))
  place(key, now, now, 0, true)
  return 'retried', generation
end

local reply = {}
for i = 2, #ARGV, 3 do
  broken = {}
  reply[#reply + 1], reply[#reply + 2] = retry(ARGV[i], ARGV[i + 1], ARGV[i + 2])
end
return reply
