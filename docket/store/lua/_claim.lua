-- Included by scripts whose KEYS[6] is epochs. Takes ready tasks for CONSUMER and returns them flat in `taken`: CLAIM_WIDTH values a task, in this order:
-- key, entry, generation, function, call, when, attempt, deaths, from, trace
-- deaths: of a quarantined task with the time (ms) for which it is suspect behind it, '' if that is not known.
local CLAIM_WIDTH = 10
local PAYLOAD_LIMIT = 4194304
local READ_LIMIT = 256
-- To park a task takes several times as long as to claim one: it counts for so many reads, and fewer are read at once.
local PARK_WEIGHT, PARK_STEP = 4, 32

local taken, taken_bytes, reads = {}, 0, 0
-- Set by exchange.lua while there are pauses: parks a task of a paused function and returns true. A lost claim that is
-- taken back counts as running, so reclaim.lua does not ask.
local park_paused

-- What is done with entries that are not claimed. Made on first use, as attempts() is.
local made_unclaimed
local function unclaimed()
  if made_unclaimed then
    return made_unclaimed
  end

  -- Fails a record that leads nowhere, because somebody else wrote it: it would stay for ever, and nobody would know.
  local function fail_malformed(key, v, now)
    local names_entry = string.match(v[2] or '', '^[sfx]%d+%-%d+$')
    local has_state = string.find(STATES, ' ' .. v[1] .. ' ', 1, true)
    local what = not has_state and 'state' or v[1] == 'queued' and not names_entry and 'entry'
    if what then
      note(RECORDS .. key, 'hash whose field ' .. what .. ' is none of ours')
      finish(key, 'failed', now, TTL, {when = v[6]}, nil, 'The record is malformed: ' .. what)
    end
  end

  -- An entry that is read although its run is under way: somebody has destroyed the group, and all entries are new to the
  -- next one. It goes to the worker that runs it, or to another if that is gone.
  local function return_to_owner(key, entry, now)
    local record = read_record(key)
    local worker = record.worker
    if worker and redis.call('HEXISTS', KEYS[6], worker) == 1 then
      redis.call('XCLAIM', STREAMS[string.sub(entry, 1, 1)], GROUP, worker, 0, string.sub(entry, 2), 'JUSTID')
    else
      end_entry(entry)
      attempts().requeue(key, record, worker or '', record.deaths, now, 'worker lost')
    end
  end

  -- Removes an entry that its record does not name, or names although there is nothing to run.
  local function remove(key, entry, v, now)
    if v[2] == entry and v[1] == 'running' then
      return return_to_owner(key, entry, now)
    end
    end_entry(entry)
    if v[1] then
      fail_malformed(key, v, now)
    end
  end

  -- Puts back what was read and is too much for this call, to be claimed next. Slots that it was admitted with go to the
  -- next task in line; it keeps its own place there.
  local function put_back(letter, key, entry)
    local v = redis.pcall('HMGET', RECORDS .. key, 'state', 'entry')
    if v.err then
      v = foreign(RECORDS .. key, v)
    end
    end_entry(entry)
    if v[1] == 'queued' and v[2] == entry then
      redis.call('HSET', RECORDS .. key, 'entry', append(letter == 's' and 'f' or letter, key))
    end
  end

  made_unclaimed = {remove = remove, put_back = put_back}
  return made_unclaimed
end

-- Marks one entry running if the record still names it; otherwise removes only the entry.
local function claim(consumer, key, entry, now, accepts)
  local v = redis.pcall('HMGET', RECORDS .. key,
    'state', 'entry', 'generation', 'function', 'call', 'when', 'attempt', 'deaths', 'from', 'trace')
  if v.err then
    v = foreign(RECORDS .. key, v)
  end
  if v[2] ~= entry or not accepts(v[1]) then
    unclaimed().remove(key, entry, v, now)
    return false
  end
  if park_paused and park_paused(v[4], key, entry, v[3], v[7], v[6]) then
    reads = reads + PARK_WEIGHT - 1
    return false
  end
  if v[8] and string.sub(entry, 1, 1) == 'x' then
    v[8] = v[8] .. ' ' .. count_of(redis.call('HGET', RECORDS .. key, 'suspect_for'), '')
  end
  redis.call('HSET', RECORDS .. key, 'state', 'running', 'worker', consumer, 'started_at', now)
  publish(key, 'running', v[6], consumer, now)
  local n = #taken
  taken[n + 1], taken[n + 2], taken[n + 3], taken[n + 4], taken[n + 5] = key, entry, v[3], v[4], v[5]
  taken[n + 6], taken[n + 7], taken[n + 8], taken[n + 9], taken[n + 10] = v[6], v[7], v[8], v[9], v[10]
  taken_bytes = taken_bytes + #(v[5] or '')
  return true
end

local function read_new(letter, consumer, count)
  local got = redis.pcall('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', count, 'STREAMS', STREAMS[letter], '>')
  if got and got.err then
    if not string.find(got.err, 'NOGROUP', 1, true) then
      return error(got.err, 0)
    end
    create_group(STREAMS[letter])
    got = redis.call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', count, 'STREAMS', STREAMS[letter], '>')
  end
  return got and got[1][2] or {}
end

local function is_queued(state)
  return state == 'queued'
end

-- Claims up to `want` from one stream. What is read is pending, so it is claimed or put back. How much to read at once is
-- told by the average so far; of the first ones nothing is known, so that the largest payloads are put back now and then,
-- fifteen at most: a second read is a fiftieth of what an exchange of ten tasks costs. Returns how many were claimed.
local function take(letter, consumer, want, now)
  local count, step = 0, 16
  while count < want and reads < READ_LIMIT and taken_bytes < PAYLOAD_LIMIT do
    local size = math.min(want - count, step)
    if taken_bytes > 0 then
      size = math.min(size, math.ceil((PAYLOAD_LIMIT - taken_bytes) * #taken / (taken_bytes * CLAIM_WIDTH)))
    end
    local entries = read_new(letter, consumer, size)
    reads = reads + #entries
    -- The first steps are short ones; if they bring as many as they may, there are more.
    local expected = #entries < size and #entries or want - count
--@include _listeners.lua
    for _, e in ipairs(entries) do
      if taken_bytes >= PAYLOAD_LIMIT then
        unclaimed().put_back(letter, e[2][2], letter .. e[1])
      elseif claim(consumer, e[2][2], letter .. e[1], now, is_queued) then
        count = count + 1
      end
    end
    if #entries < size then
      return count
    end
    step = park_paused and PARK_STEP or step * 8
  end
  return count
end
