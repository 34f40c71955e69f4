-- Puts a live record where it waits for its next run: the queue until it is due, or the stream at once.
local function place(key, now, when, deaths, at_once)
  local rk = RECORDS .. key
  if not at_once and tonumber(microseconds_of(when)) > tonumber(now) then
    local due, head = due_of(when), redis.call('ZRANGE', QUEUE, 0, 0, 'WITHSCORES')
    redis.call('ZADD', QUEUE, due, key)
    redis.call('HSET', rk, 'state', 'scheduled', 'when', when)
    publish(key, 'scheduled', when)
    if not head[2] or due < tonumber(head[2]) then
      tell('PUBLISH', PREFIX .. ':wake', due)
    end
  else
    local entry = append(deaths > 0 and 'x' or 's', key)
    redis.call('HSET', rk, 'state', 'queued', 'entry', entry, 'when', when)
    publish(key, 'queued', when)
    wake_idle()
  end
end

local function after(instant, microseconds)
  return string.format('%d', tonumber(instant) + microseconds)
end

-- The instant of the successor of a perpetual run. spec, in microseconds: e since the epoch; s since the start of the run
-- and n from now, neither of them before now. Behind it may stand \31 and the schedule that it follows (see retime.lua).
local function successor_when(spec, now, started_at)
  local from, microseconds = string.sub(spec, 1, 1), string.match(string.sub(spec, 2), '^[^\31]+')
  if from == 'e' then
    return microseconds
  end
  local when = after(from == 's' and count_of(started_at) or now, tonumber(microseconds))
  return tonumber(when) > tonumber(now) and when or now
end

-- Ends an execution and puts its successor in its place, in one step, so that no crash comes between the two. The record
-- is the successor's from here on; of the ended execution only its event remains, and when it ended: no write takes the
-- time of the last success or failure away, since the record goes from run to run.
local function perpetuate(key, now, record, spec, reason, call)
  publish(key, reason and 'failed' or 'completed', record.when, record.worker, record.started_at, now, reason)
  local rk = RECORDS .. key
  if reason then
    attempts().keep_failed(key, now, {'state', 'failed', 'completed_at', now, 'error', reason})
  end
  redis.call('HDEL', rk, 'entry', 'from', 'deaths', 'suspect_for', 'limits', 'timed', 'attempts', 'predecessor',
    unpack(RUN_FIELDS))
  redis.call('HSET', rk, 'generation', count_of(record.generation, 0) + 1, 'attempt', 1, 'perpetual', record.generation,
    reason and 'last_failure' or 'last_success', now)
  if call ~= '' then
    redis.call('HSET', rk, 'call', call)
    redis.call('HDEL', rk, 'logged')
  end
  local schedule = string.match(spec, '\31(.+)$')
  if schedule then
    redis.call('HSET', rk, 'timed', schedule)
  end
  place(key, now, successor_when(spec, now, record.started_at), 0)
end
