--@include _streams.lua
--@include _messages.lua
--@include _events.lua
-- schedule: add or replace many tasks in one call.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6.. the record of each request, in order
-- ARGV  1 prefix
--       2.. groups of requests that follow one another and have the same terms. Eight values a group: how many requests,
--           function, at once: 1 (due whatever the server's time) | 0, attempt, replace: 1 | 0, expected generation | 0,
--           further fields as a map (cmsgpack, '' for none), perpetual: 1 a task that runs again and again | 2 the same,
--           seeded by a worker: a record of poison is kept | 0; then three values a request: call, when (us), token
-- Reply a flat array, four values for each request whose answer is not the usual one: its index (from 0), disposition,
--       generation, state
--       disposition: scheduled | already | superseded (a newer generation exists) | error (state says why)
--       usual: scheduled, as the first generation of its key; queued if it is at once, else scheduled
local reply = {}
local is_ready, earliest, head = false, nil, nil
-- The server's time, asked for once, and only where it matters: in a call whose tasks are all due at once it does not.
local now, now_text, present
local function tell_time()
  if not now then
    now, now_text = server_now()
    present = due_of(now_text)
  end
  return now
end

-- The answer to request n, which is not the usual one.
local function answer(n, disposition, generation, state)
  local at = #reply
  reply[at + 1], reply[at + 2], reply[at + 3], reply[at + 4] = n, disposition, generation, state
end

-- The place of a request: an entry, or '' and when it is due. Taken before what was there is forgotten: a stream may
-- refuse the entry, and then nothing is lost.
local function place_of(key, when, at_once)
  if not at_once then
    local due = due_of(when)
    tell_time()
    if due > present then
      return '', due
    end
  end
  is_ready = true
  return append('s', key)
end

-- The further fields of a request, by their names.
local function extend(rk, extras)
  for field, value in pairs(cmsgpack.unpack(extras)) do
    redis.call('HSET', rk, field, value)
    if field == 'timed' then
      -- In this very step: written later, it might meet a run that has chosen its own time.
      redis.call('HSET', rk, 'schedules', value .. '@' .. tell_time())
    end
  end
end

-- The record of the request whose values are at ARGV[i].
local function write(rk, key, terms, i, generation, entry, due)
  local when, state = ARGV[i + 1], 'queued'
  if due then
    state = 'scheduled'
    head = head or redis.call('ZRANGE', QUEUE, 0, 0, 'WITHSCORES')
    redis.call('ZADD', QUEUE, due, key)
    if not earliest or due < earliest then
      earliest = due
    end
  end
  redis.call('HSET', rk, 'state', state, 'when', when, 'entry', entry, 'generation', generation,
    'function', terms.name, 'call', ARGV[i], 'attempt', terms.attempt, 'token', ARGV[i + 2])
  if terms.extras ~= '' then
    extend(rk, terms.extras)
  end
  if terms.perpetual ~= '0' then
    redis.call('HSET', rk, 'perpetual', 0)
  end
  publish(key, state, when)
  return state
end

-- A request whose key has no record: nothing is compared, taken out or remembered.
local function schedule_first(n, rk, key, terms, i)
  local entry, due = place_of(key, ARGV[i + 1], terms.at_once)
  -- As text: to format a number takes half as long as to write a field.
  local state = write(rk, key, terms, i, '1', entry, due)
  if (state == 'queued') ~= terms.at_once then
    answer(n, 'scheduled', 1, state)
  end
end

-- What a request needs whose key has a record already. Made on first use: making functions anew in each call is what a
-- short script spends its time on.
local schedule_known
local function compared()
--@include _entries.lua
--@include _records.lua
--@include _limits.lua
--@include _reinstate.lua
  -- How much a record remembers of the tokens of requests that were answered under its key before, each between two
  -- spaces, the newest first: the first sending of one of them may have been held up on its way and arrive after all.
  local REMEMBERED = 200

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

  -- When runs of a task that recurs succeeded and failed last, field by field: whoever schedules it anew takes over what its
  -- record knows, and how its last execution ended.
  local function last_ends(rk, state)
    local v, ends = redis.call('HMGET', rk, 'completed_at', 'last_success', 'last_failure'), {}
    for i, ended in ipairs({'completed', 'failed'}) do
      local at = state == ended and v[1] or v[i + 1]
      if at then
        ends[#ends + 1], ends[#ends + 2] = i == 1 and 'last_success' or 'last_failure', at
      end
    end
    return ends
  end

  return function(n, rk, key, terms, i)
    local v = redis.pcall('HMGET', rk, 'state', 'generation', 'when', 'token', 'entry', 'limits', 'tokens')
    if v.err then
      if not string.find(v.err, 'WRONGTYPE', 1, true) then
        return error(v.err, 0)
      end
      return answer(n, 'error', 0, v.err)
    end
    local generation, token = count_of(v[2], 0), ARGV[i + 2]
    if v[4] == token or (v[7] and string.find(v[7], ' ' .. token .. ' ', 1, true)) then
      -- Sent again because its reply was lost: it gets the same answer as the first time.
      return answer(n, 'scheduled', generation, v[1] or 'scheduled')
    end
    if is_live(v[1]) and not terms.replaces then
      tell_time()
      reinstate(key, v[1], v[5], v[3] and instant_in(v[3]) or '0', now_text)
      return answer(n, 'already', generation, v[1])
    end
    if terms.expected > 0 and generation > terms.expected then
      return answer(n, 'superseded', generation, v[1] or '')
    end
    if terms.perpetual == '2' and v[1] == 'failed' and redis.call('HEXISTS', rk, 'poison') == 1 then
      return answer(n, 'already', generation, v[1])
    end
    local entry, due = place_of(key, ARGV[i + 1], terms.at_once)
    local ends
    if v[1] or v[2] then
      ends = terms.perpetual ~= '0' and last_ends(rk, v[1])
      forget(key, v[1], v[5], v[6])
      -- A TTL of the previous execution, and its fields, would survive the HSET.
      redis.call('DEL', rk)
    end
    local state = write(rk, key, terms, i, generation + 1, entry, due)
    if ends and #ends > 0 then
      redis.call('HSET', rk, unpack(ends))
    end
    if v[4] then
      redis.call('HSET', rk, 'tokens', string.sub(' ' .. v[4] .. (v[7] or ' '), 1, REMEMBERED))
    end
    answer(n, 'scheduled', generation + 1, state)
  end
end

local function schedule_again(...)
  schedule_known = schedule_known or compared()
  return schedule_known(...)
end

-- Mostly none of the records is there, and one look tells: a look at each costs an eighth of all. But a key may come
-- twice in one call.
local are_new, written = redis.call('EXISTS', unpack(KEYS, 6)) == 0, {}
local expected = #KEYS - 5
--@include _listeners.lua
local n, i = 0, 2
while i <= #ARGV do
  local terms = {
    name = ARGV[i + 1],
    at_once = ARGV[i + 2] == '1',
    attempt = ARGV[i + 3],
    replaces = ARGV[i + 4] == '1',
    expected = tonumber(ARGV[i + 5]),
    extras = ARGV[i + 6],
    perpetual = ARGV[i + 7],
  }
  local last = n + tonumber(ARGV[i])
  i = i + 8
  while n < last do
    local rk = KEYS[6 + n]
    local key = string.sub(rk, #RECORDS + 1)
    if are_new and not written[rk] then
      schedule_first(n, rk, key, terms, i)
      written[rk] = true
    else
      schedule_again(n, rk, key, terms, i)
    end
    n, i = n + 1, i + 3
  end
end
if is_ready then
  wake_idle()
end
if earliest and (not head[2] or earliest < tonumber(head[2])) then
  tell('PUBLISH', PREFIX .. ':wake', earliest)
end
return reply
