-- Shared by scripts that change records. Included after _streams.lua, _entries.lua and _events.lua.
local STATES = ' scheduled queued running completed failed cancelled '
local RUN_FIELDS = {'worker', 'started_at', 'progress_phase', 'progress_current', 'progress_total', 'progress_message',
  'progress_updated_at'}

-- Keys that somebody overwrote with a value of another type: name and type of each, flat, for the caller to log. They
-- must not fail the call: what depends on them is dropped or skipped, and the rest goes on.
local broken = {}

local function note(name, kind)
  local n = #broken
  broken[n + 1], broken[n + 2] = name, kind
end

-- Stands in for the reply to a read that failed because of the key's type. Raises any other error.
local function foreign(name, failed)
  if not string.find(failed.err, 'WRONGTYPE', 1, true) then
    return error(failed.err, 0)
  end
  note(name, redis.call('TYPE', name).ok)
  return {}
end

-- What is kept of executions that have ended, in milliseconds and by number: see retention.
local TTL, KEEP_FAILED, KEEP_FAILED_MOST = 0, 0, 0
local FAILED, FAILED_RECORDS = PREFIX .. ':failed', PREFIX .. ':failed-task:'
-- Those listed, and the number above it from which the list is cut: cutting costs as much as adding.
local LISTED, SPARE, TRIMMED = 1000, 256, 64

-- Reads what a call says of it: execution_ttl (ms), keep_failed (ms), keep_failed_most. Returns the first.
local function retention(text)
  local ttl, keep, most = string.match(text, '^(%d+) (%d+) (%d+)$')
  TTL, KEEP_FAILED, KEEP_FAILED_MOST = tonumber(ttl), tonumber(keep), tonumber(most)
  return TTL
end

-- Executions that this call completed or cancelled: listed together at its end, by list_ended.
local ended_here = {}

-- Every script that ends executions calls this last: a thousand of each are listed, the newest first.
local function list_ended()
  for _, state in ipairs(next(ended_here) and {'completed', 'cancelled'} or {}) do
    local rows, name = ended_here[state], PREFIX .. ':' .. state
    local length = rows and redis.pcall('LPUSH', name, unpack(rows))
    if type(length) == 'table' then
      foreign(name, length)
    elseif length then
      redis.call('PEXPIRE', name, TTL)
      if length > LISTED + SPARE then
        redis.call('LTRIM', name, 0, LISTED - 1)
      end
    end
  end
  ended_here = {}
end

-- What is done with attempts that failed or were cut short. Made on first use: to make functions anew in each call is what
-- a short script spends its time on, and most calls need none of these.
local made_attempts
local function attempts()
  if made_attempts then
    return made_attempts
  end

  -- A call on a key that nothing depends on: one that somebody overwrote is noted, and the rest goes on.
  local function try(command, name, ...)
    local reply = redis.pcall(command, name, ...)
    if type(reply) == 'table' and reply.err then
      foreign(name, reply)
      return nil
    end
    return reply
  end

  -- Keeps a failed execution under a name of its own, so that neither the end of its TTL nor the next execution of its key
  -- takes it away: the newest of each key. `outcome` is what its record does not say, field by field.
  local function keep_failed(key, now, outcome)
    if KEEP_FAILED == 0 then
      return
    end
    local kept, ms = FAILED_RECORDS .. key, math.floor(tonumber(now) / 1000)
    redis.call('COPY', RECORDS .. key, kept, 'REPLACE')
    redis.call('HDEL', kept, 'entry', 'from', 'limits', 'cancel')
    if outcome then
      redis.call('HSET', kept, unpack(outcome))
    end
    redis.call('PEXPIRE', kept, KEEP_FAILED)
    if not try('ZADD', FAILED, ms, key) then
      return
    end
    redis.call('PEXPIRE', FAILED, KEEP_FAILED)
    for _, old in ipairs(redis.call('ZRANGEBYSCORE', FAILED, '-inf', ms - KEEP_FAILED, 'LIMIT', 0, TRIMMED)) do
      redis.call('ZREM', FAILED, old)
    end
    local excess = redis.call('ZCARD', FAILED) - KEEP_FAILED_MOST
    if excess > 0 then
      local oldest = redis.call('ZPOPMIN', FAILED, math.min(excess, TRIMMED))
      for i = 1, #oldest, 2 do
        redis.call('DEL', FAILED_RECORDS .. oldest[i])
      end
    end
  end

  -- The attempts that a record remembers: the newest twenty, in so many bytes. Each is a line of attempt, how it ended,
  -- worker, start and end (us), and what the caller says: error \31 traceback.
  local MOST_ATTEMPTS, MOST_ATTEMPT_BYTES = 20, 65536
  local function log_attempt(key, record, now, how, says)
    local v = redis.call('HMGET', RECORDS .. key, 'attempts', 'attempt')
    local attempt = table.concat({v[2] or '1', how, record.worker or '', record.started_at or '', now, says or ''}, '\31')
    -- What is longer than ours ever is, somebody else has written: to cut it row by row would hold up the server.
    local before = v[1] and #v[1] <= 4 * MOST_ATTEMPT_BYTES and v[1] or ''
    local _, rows = string.gsub(before, '\30', '')
    local log = before ~= '' and rows < 2 * MOST_ATTEMPTS and before .. '\30' .. attempt or attempt
    local _, separators = string.gsub(log, '\30', '')
    while separators > 0 and (separators >= MOST_ATTEMPTS or #log > MOST_ATTEMPT_BYTES) do
      log, separators = string.sub(log, string.find(log, '\30', 1, true) + 1), separators - 1
    end
    redis.call('HSET', RECORDS .. key, 'attempts', log)
  end

  -- Puts an execution that ran into the redelivery stream, which a free worker reads first; one under which a process
  -- died goes into the quarantine, unless this run has outlived that. how: the way in which its run ended, for the log of
  -- its attempts.
  local function requeue(key, record, from, deaths, now, how, has_outlived)
    if record.state == 'running' then
      log_attempt(key, record, now, how)
    end
    local letter = deaths > 0 and not has_outlived and 'x' or 'f'
    local entry = append(letter, key)
    local rk = RECORDS .. key
    redis.call('HDEL', rk, unpack(RUN_FIELDS))
    redis.call('HSET', rk, 'state', 'queued', 'entry', entry, 'from', from, 'deaths', deaths)
    publish(key, 'queued', record.when)
  end

  made_attempts = {try = try, keep_failed = keep_failed, log = log_attempt, requeue = requeue}
  return made_attempts
end

-- Ends an execution: writes the terminal state, sets its TTL, publishes the event. ttl 0 keeps nothing but failures.
-- now: as text. result_key: the key of the result in the user's result storage, if it is not in the record.
local function finish(key, state, now, ttl, record, result, reason, result_key)
  local rk = RECORDS .. key
  local keeps = state == 'failed' and KEEP_FAILED > 0
  if ttl == 0 and not keeps then
    redis.call('DEL', rk)
  else
    if reason and result then
      redis.call('HSET', rk, 'state', state, 'completed_at', now, 'result', result, 'error', reason)
    elseif reason then
      redis.call('HSET', rk, 'state', state, 'completed_at', now, 'error', reason)
    elseif result then
      redis.call('HSET', rk, 'state', state, 'completed_at', now, 'result', result)
    else
      redis.call('HSET', rk, 'state', state, 'completed_at', now)
    end
    if result_key and result_key ~= '' then
      redis.call('HSET', rk, 'result_key', result_key)
    end
    if keeps then
      attempts().keep_failed(key, now)
    end
    if ttl == 0 then
      redis.call('DEL', rk)
    else
      redis.call('PEXPIRE', rk, ttl)
      if state ~= 'failed' then
        local listed = ended_here[state] or {}
        listed[#listed + 1] = now .. ' ' .. (record.generation or '') .. ' ' .. key
        ended_here[state] = listed
      end
    end
  end
  publish(key, state, record.when, record.worker, record.started_at, now, reason)
end

-- The fields that every check of ownership reads, as a table of strings (false if absent, but '' for the generation). An
-- overwritten record reads as empty, so it belongs to nobody.
local function read_record(key)
  local v = redis.pcall('HMGET', RECORDS .. key,
    'state', 'entry', 'generation', 'worker', 'when', 'started_at', 'deaths', 'cancel')
  if v.err then
    v = foreign(RECORDS .. key, v)
  end
  return {state = v[1], entry = v[2], generation = v[3] or '', worker = v[4], when = v[5], started_at = v[6],
    deaths = count_of(v[7], 0), cancel = v[8]}
end

-- A record that is queued with the same entry: a failover rolled the claim back.
local function owned(record, entry, generation, consumer)
  return record.entry == entry and record.generation == generation
    and ((record.state == 'running' and record.worker == consumer) or record.state == 'queued')
end
