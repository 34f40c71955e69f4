--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
--@include _limits.lua
--@include _pauses.lua
--@include _promote.lua
--@include _claim.lua
-- exchange: hand in the outcomes of runs that ended and take up to `want` tasks.
-- No other script claims new tasks for a worker: reclaim.lua takes back our own, claim.lua takes one by hand.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6 epochs
-- ARGV  1 prefix  2 consumer  3 epoch  4 want  5 may take from the quarantine: 1 | 0  6 retention (see _records.lua)
--       7 census: 1 counts what is left when fewer than `want` were taken
--       8 how many outcomes  9.. of each: kind, key, entry, generation; but for N, which most are, a, b, c ('' for none)
--           N completed without a result
--           C completed: a result, b result key     F failed: a error payload, b error text, c result key
--           X cancelled                            A again: a delay (us), b attempt, c call payload
--           P perpetuated: a when the successor is due (see successor_when), b error text if it failed, c call payload
--           H requeued: a 1 if it is no suspect (any more)
--           S superseded: removes its entry only, if no record needs it
--       then two values for each attempt that failed: the index of its outcome (from 0), and how it ended with what it
--           says, for the log of its attempts (see attempts())
-- Reply {'refused'}  the consumer is not registered (it was fenced): take a new name
--       {'stale'}    an older epoch: this call came late and did nothing
--       {'ok', now (us, text), more: 1 if another call may find ready tasks, left: tasks left or -1,
--        superseded: indexes (from 0) of outcomes that were not ours any more, taken: see _claim.lua,
--        broken: see _records.lua}; false for each of these three that is empty, since a table takes as long to reply
--        with as half a command
local consumer, want, ttl = ARGV[2], tonumber(ARGV[4]), retention(ARGV[6])
local epoch = redis.call('HGET', KEYS[6], consumer)
if not epoch then
  return {'refused'}
end
if epoch ~= ARGV[3] then
  return {'stale'}
end
-- As text, made once: to format a number anew in each call is what costs most here.
local _, NOW_TEXT = server_now()

-- What is asked of the record of a run that ended well, and to which nobody listens.
local function read_briefly(key)
  local v = redis.pcall('HMGET', RECORDS .. key, 'state', 'entry', 'generation', 'worker')
  if v.err then
    v = foreign(RECORDS .. key, v)
  end
  return {state = v[1], entry = v[2], generation = v[3] or '', worker = v[4]}
end

-- Outcomes after which an execution goes on. Made on first use, as attempts() is.
local function going_on()
--@include _placing.lua
  local function again(key, record, delay, attempt, call)
    local rk = RECORDS .. key
    redis.call('HDEL', rk, 'entry', 'from', unpack(RUN_FIELDS))
    redis.call('HSET', rk, 'attempt', attempt)
    if call ~= '' then
      redis.call('HSET', rk, 'call', call)
      redis.call('HDEL', rk, 'logged')
    end
    place(key, NOW_TEXT, after(NOW_TEXT, delay), record.deaths)
  end

  return {again = again, perpetuate = perpetuate}
end
local own_going_on

-- The outcome at ARGV[i].
local function apply(i, record, failure)
  local kind, key, a = ARGV[i], ARGV[i + 1], ARGV[i + 4]
  if failure and (kind == 'F' or not record.cancel) then
    local how, says = string.match(failure, '^([^\31]*)\31(.*)$')
    attempts().log(key, record, NOW_TEXT, how, says)
  end
  if kind == 'N' then
    finish(key, 'completed', NOW_TEXT, ttl, record)
  elseif kind == 'C' then
    finish(key, 'completed', NOW_TEXT, ttl, record, a ~= '' and a, nil, ARGV[i + 5])
  elseif kind == 'F' then
    finish(key, 'failed', NOW_TEXT, ttl, record, a ~= '' and a, ARGV[i + 5], ARGV[i + 6])
  elseif kind == 'X' or record.cancel then
    finish(key, 'cancelled', NOW_TEXT, ttl, record)
  elseif kind == 'H' then
    attempts().requeue(key, record, consumer, record.deaths, NOW_TEXT, 'handed back', a == '1')
    wake_idle()
  else
    own_going_on = own_going_on or going_on()
    if kind == 'A' then
      own_going_on.again(key, record, tonumber(a), ARGV[i + 5], ARGV[i + 6])
    elseif kind == 'P' then
      own_going_on.perpetuate(key, NOW_TEXT, record, a, ARGV[i + 5] ~= '' and ARGV[i + 5] or nil, ARGV[i + 6])
    end
  end
end

local COUNT, after_last = tonumber(ARGV[8]), 9
-- Of each outcome: where it begins in ARGV, its record, and how an attempt failed.
local begins, records, failures = {}, {}, {}
for n = 1, COUNT do
  begins[n] = after_last
  after_last = after_last + (ARGV[after_last] == 'N' and 4 or 7)
end
-- A worker that hands in outcomes takes as many tasks, mostly.
local expected = COUNT + math.min(COUNT, want)
--@include _listeners.lua
for i = after_last, #ARGV, 2 do
  failures[tonumber(ARGV[i]) + 1] = ARGV[i + 1]
end
-- All are read and checked before the first write: an error half way leaves nothing half done.
for n = 1, COUNT do
  local kind, key = ARGV[begins[n]], ARGV[begins[n] + 1]
  local ended_well = (kind == 'N' or kind == 'C') and not failures[n]
  records[n] = (ended_well and heard and not heard[key]) and read_briefly(key) or read_record(key)
end

-- Entries leave their stream together: two calls a stream instead of two a task.
local ended, ours = {s = {}, f = {}, x = {}}, {}
for n = 1, COUNT do
  local i, record = begins[n], records[n]
  local entry = ARGV[i + 2]
  ours[n] = ARGV[i] ~= 'S' and owned(record, entry, ARGV[i + 3], consumer)
  -- A live execution is found again by the entry that its record names. Of those, only our own are removed: a fenced
  -- worker hands in outcomes under its new name before the adoption of its old one is complete.
  local is_found = record.entry == entry and (record.state == 'running' or record.state == 'queued')
  if ours[n] or not is_found then
    local ids = ended[string.sub(entry, 1, 1)]
    ids[#ids + 1] = string.sub(entry, 2)
  end
end
for letter, ids in pairs(ended) do
  if #ids > 0 then
    redis.call('XACK', STREAMS[letter], GROUP, unpack(ids))
    redis.call('XDEL', STREAMS[letter], unpack(ids))
  end
end
local superseded = {}
for n = 1, COUNT do
  if ours[n] then
    apply(begins[n], records[n], failures[n])
  else
    superseded[#superseded + 1] = n - 1
  end
end

list_ended()

-- Mostly there are neither slots nor pauses, and one look tells that of both.
local has_any = redis.call('EXISTS', HOLDS, PAUSES) > 0
-- After the outcomes, so that the tasks admitted here are in the redelivery stream before we take from it.
if has_any and COUNT > 0 and redis.call('EXISTS', HOLDS) == 1 then
  for _, letter in ipairs(LETTERS) do
    for _, id in ipairs(ended[letter]) do
      limiting().release(letter .. id)
    end
  end
end

local promoted = promote(NOW_TEXT, 16)
local took, is_quarantined, is_paused = 0, false, false
if has_any and want > 0 and redis.call('EXISTS', PAUSES) == 1 then
  local pauses = pausing(NOW_TEXT)
  is_paused, park_paused = pauses.holds(''), pauses.park
end
-- While the whole docket is paused, all stays in its streams: nothing has to be parked, or brought back.
if want > 0 and not is_paused then
  if ARGV[5] == '1' and redis.call('XLEN', KEYS[3]) > 0 then
    took = take('x', consumer, 1, NOW_TEXT)
    is_quarantined = took == 1
  end
  -- A quarantined task comes alone: what blocked its last process would hold up whatever came with it.
  if not is_quarantined then
    -- Mostly there is nothing, and to read that takes twice as long as to count it.
    took = redis.call('XLEN', KEYS[2]) > 0 and take('f', consumer, want, NOW_TEXT) or 0
    took = took + take('s', consumer, want - took, NOW_TEXT)
  end
end
-- A worker that got all it asked for, or a quarantined task, or asked for nothing, leaves the rest to the next idle one.
if (want > 0 and took == want) or is_quarantined or (promoted + admitted > 0 and want == 0) then
  wake_idle()
end
local more = want > took and (is_quarantined or reads >= READ_LIMIT or taken_bytes >= PAYLOAD_LIMIT)
local left = -1
if ARGV[7] == '1' and took < want then
  left = redis.call('XLEN', KEYS[1]) + redis.call('XLEN', KEYS[2]) + redis.call('XLEN', KEYS[3])
    + redis.call('ZCARD', QUEUE)
end
return {'ok', NOW_TEXT, more and 1 or 0, left, #superseded > 0 and superseded, #taken > 0 and taken, #broken > 0 and broken}
