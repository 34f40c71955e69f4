-- Shared by scripts that change records. PREFIX and RECORDS are the docket's prefix and that of its records.
local PREFIX = ARGV[1]
local RECORDS = PREFIX .. ':task:'
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

-- Instants are texts here, in microseconds: Lua writes numbers of more than 14 digits with an exponent.
local function publish(key, state, when, worker, started_at, completed_at, reason)
  redis.call('PUBLISH', PREFIX .. ':state:' .. key,
    state .. '\31' .. (when or '') .. '\31' .. (worker or '') .. '\31' .. (started_at or '') .. '\31'
      .. (completed_at or '') .. '\31' .. (reason or ''))
end

-- Ends an execution: writes the terminal state, sets its TTL, publishes the event. ttl 0 keeps nothing.
-- now: as text. result_key: the key of the result in the user's result storage, if it is not in the record.
local function finish(key, state, now, ttl, record, result, reason, result_key)
  local rk = RECORDS .. key
  if ttl == 0 then
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
    redis.call('PEXPIRE', rk, ttl)
  end
  publish(key, state, record.when, record.worker, record.started_at, now, reason)
end

-- Puts an execution that ran into the redelivery stream, which a free worker reads first; one under which a process died
-- goes into the quarantine, unless this run has outlived that.
local function requeue(key, record, from, deaths, has_outlived)
  local letter = deaths > 0 and not has_outlived and 'x' or 'f'
  local entry = append(letter, key)
  local rk = RECORDS .. key
  redis.call('HDEL', rk, unpack(RUN_FIELDS))
  redis.call('HSET', rk, 'state', 'queued', 'entry', entry, 'from', from, 'deaths', deaths)
  publish(key, 'queued', record.when)
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
