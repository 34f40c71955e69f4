--@include _streams.lua
--@include _records.lua
--@include _limits.lua
--@include _reinstate.lua
-- schedule: add or replace many tasks in one call.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6.. the record of each request, in order
-- ARGV  1 prefix
--       2.. eleven values a request: key, function, call, when (us), at once: 1 (due whatever the server's time) | 0,
--           attempt, token, replace: 1 | 0, expected generation | 0, further fields as a map (cmsgpack, '' for none),
--           perpetual: 1 a task that runs again and again | 2 the same, seeded by a worker: a record of poison is
--           kept | 0
-- Reply a flat array, four values a request: disposition, generation, when (us), state
--       disposition: scheduled | already | superseded (a newer generation exists) | error (state says why)
local now, now_text = server_now()
local reply = {}
-- How much a record remembers of the tokens of requests that were answered under its key before, each between two
-- spaces, the newest first: the first sending of one of them may have been held up on its way and arrive after all.
local REMEMBERED = 200
local is_ready, earliest = false, nil
local head = redis.call('ZRANGE', QUEUE, 0, 0, 'WITHSCORES')

local function answer(disposition, generation, when, state)
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = disposition, generation, when, state
end

-- The microseconds in what a record says; somebody else may have written it.
local function instant_in(text)
  return string.sub(string.match(text, '^%-?%d+') or '0', 1, 18)
end

local function is_live(state)
  return state == 'scheduled' or state == 'queued' or state == 'running'
end

-- Takes a waiting task out of its queue. One that runs keeps its entry: its worker, or an adopter, still owes an outcome.
local function forget(key, record_state, entry, limits)
  if record_state == 'scheduled' then
    redis.call('ZREM', QUEUE, key)
    if limits then
      limiting().leave(key, limits)
    end
  elseif record_state == 'queued' and entry then
    end_entry(entry)
  end
end

-- The place of the request at ARGV[i]: an entry, or '' and when it is due. Taken before what was there is forgotten: a
-- stream may refuse the entry, and then nothing is lost.
local function place_of(i)
  local due = ARGV[i + 4] == '1' and 0 or due_of(ARGV[i + 3])
  if due > now then
    return '', due
  end
  is_ready = true
  return append('s', ARGV[i])
end

-- The request at ARGV[i].
local function write(rk, i, generation, entry, due)
  local key, when, state = ARGV[i], ARGV[i + 3], 'queued'
  if due then
    state = 'scheduled'
    redis.call('ZADD', QUEUE, due, key)
    if not earliest or due < earliest then
      earliest = due
    end
  end
  redis.call('HSET', rk, 'state', state, 'when', when, 'entry', entry, 'generation', generation,
    'function', ARGV[i + 1], 'call', ARGV[i + 2], 'attempt', ARGV[i + 5], 'token', ARGV[i + 6])
  if ARGV[i + 9] ~= '' then
    for field, value in pairs(cmsgpack.unpack(ARGV[i + 9])) do
      redis.call('HSET', rk, field, value)
      if field == 'timed' then
        -- In this very step: written later, it might meet a run that has chosen its own time.
        redis.call('HSET', rk, 'schedules', value .. '@' .. now)
      end
    end
  end
  if ARGV[i + 10] ~= '0' then
    redis.call('HSET', rk, 'perpetual', 0)
  end
  publish(key, state, when)
  return state
end

local function schedule(rk, i)
  local v = redis.pcall('HMGET', rk, 'state', 'generation', 'when', 'token', 'entry', 'limits', 'tokens')
  if v.err then
    if not string.find(v.err, 'WRONGTYPE', 1, true) then
      return error(v.err, 0)
    end
    return answer('error', 0, '0', v.err)
  end
  local generation, when = count_of(v[2], 0), v[3] and instant_in(v[3]) or '0'
  local expected = tonumber(ARGV[i + 8])
  if v[4] == ARGV[i + 6] or (v[7] and string.find(v[7], ' ' .. ARGV[i + 6] .. ' ', 1, true)) then
    -- Sent again because its reply was lost: it gets the same answer as the first time.
    return answer('scheduled', generation, when, v[1] or 'scheduled')
  end
  if is_live(v[1]) and ARGV[i + 7] == '0' then
    reinstate(ARGV[i], v[1], v[5], when, now_text)
    return answer('already', generation, when, v[1])
  end
  if expected > 0 and generation > expected then
    return answer('superseded', generation, when, v[1] or '')
  end
  if ARGV[i + 10] == '2' and v[1] == 'failed' and redis.call('HEXISTS', rk, 'poison') == 1 then
    return answer('already', generation, when, v[1])
  end
  local entry, due = place_of(i)
  if v[1] or v[2] then
    forget(ARGV[i], v[1], v[5], v[6])
    -- A TTL of the previous execution, and its fields, would survive the HSET.
    redis.call('DEL', rk)
  end
  local state = write(rk, i, generation + 1, entry, due)
  if v[4] then
    redis.call('HSET', rk, 'tokens', string.sub(' ' .. v[4] .. (v[7] or ' '), 1, REMEMBERED))
  end
  answer('scheduled', generation + 1, ARGV[i + 3], state)
end

for n = 1, #KEYS - 5 do
  schedule(KEYS[5 + n], 2 + (n - 1) * 11)
end
if is_ready then
  wake_idle()
end
if earliest and (not head[2] or earliest < tonumber(head[2])) then
  redis.call('PUBLISH', PREFIX .. ':wake', earliest)
end
return reply
