--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
--@include _limits.lua
-- adopt: fence a consumer and redeliver what it ran, 64 entries a call, until none is left.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6 workers  7 epochs  8 worker-tasks
-- ARGV  1 prefix  2 the consumer that is gone  3 blame, see below  4 max deliveries
--       5 retention (see _records.lua)  6 error payload and  7 error text of a task that is poison
-- Reply {moved, more: 1 if entries are left, keys failed as poison, broken: see _records.lua}
local gone, blame, ttl = ARGV[2], ARGV[3], retention(ARGV[5])
local _, now = server_now()

-- Blame: everyone | nobody | key:KEY | functions:NAME NAME..., which is for the only task that ran of these
-- functions, or at all, and for nobody if there were several or too many to look at in one call.
local function only_one_of(names)
  local wanted, matching, all = {}, {}, {}
  for name in string.gmatch(names, '%S+') do
    wanted[name] = true
  end
  for letter in pairs(STREAMS) do
    local pending = pending_of(letter, '-', '+', 256, gone)
    if #pending == 256 then
      return 'nobody'
    end
    for _, p in ipairs(pending) do
      local key = key_of(letter, p[1])
      local v = key and redis.pcall('HMGET', RECORDS .. key, 'state', 'entry', 'worker', 'function')
      v = v and check(v, 'WRONGTYPE') or {}
      if v[1] == 'running' and v[2] == letter .. p[1] and v[3] == gone then
        all[#all + 1] = key
        if wanted[v[4]] then
          matching[#matching + 1] = key
        end
      end
    end
  end
  local found = #matching > 0 and matching or all
  return #found == 1 and 'key:' .. found[1] or 'nobody'
end
local names = string.match(blame, '^functions:(.*)$')
if names then
  blame = only_one_of(names)
end

redis.call('ZREM', KEYS[6], gone)
redis.call('HDEL', KEYS[7], gone)
redis.call('HDEL', PREFIX .. ':leases', gone)
for _, name in ipairs(redis.call('SMEMBERS', KEYS[8])) do
  check(redis.pcall('SREM', PREFIX .. ':task-workers:' .. name, gone), 'WRONGTYPE')
end
redis.call('DEL', KEYS[8], PREFIX .. ':worker-info:' .. gone)

local moved, poisoned = 0, {}

-- The time (ms) for which the next run of a task may end like the one that died: as long as that one lasted, and a quarter
-- more, since the next process may be slower, and two seconds.
local function suspect_for(record)
  local lasted = (tonumber(now) - count_of(record.started_at, tonumber(now))) / 1000
  return string.format('%d', math.max(0, lasted) * 1.25 + 2000)
end

-- has_outlived: its process claimed another quarantined task later, so this one had outlived the run before.
local function move(key, entry, has_outlived)
  local record = read_record(key)
  local ours = record.entry == entry
    and ((record.state == 'running' and record.worker == gone) or record.state == 'queued')
  end_entry(entry)
  if not ours then
    return
  end
  if record.cancel then
    return finish(key, 'cancelled', now, ttl, record)
  end
  local deaths = record.deaths
  if record.state == 'running' and (blame == 'everyone' or blame == 'key:' .. key) then
    if blame ~= 'everyone' or not has_outlived then
      deaths = deaths + 1
    end
    redis.call('HSET', RECORDS .. key, 'suspect_for', suspect_for(record))
  end
  if deaths >= tonumber(ARGV[4]) then
    redis.call('HSET', RECORDS .. key, 'deaths', deaths, 'poison', 1)
    attempts().log(key, record, now, 'process died')
    finish(key, 'failed', now, ttl, record, ARGV[6], ARGV[7])
    poisoned[#poisoned + 1] = key
    return
  end
  attempts().requeue(key, record, gone, deaths, now, deaths > record.deaths and 'process died' or 'worker lost')
  moved = moved + 1
end

local room = 64
for _, letter in ipairs(LETTERS) do
  if room > 0 then
    -- One more than is moved, to see if it is the last.
    local pending = pending_of(letter, '-', '+', room + 1, gone)
    for i = 1, math.min(#pending, room) do
      local p = pending[i]
      room = room - 1
      local key = key_of(letter, p[1])
      if key then
        move(key, letter .. p[1], letter == 'x' and i < #pending)
      else
        end_entry(letter .. p[1])
      end
    end
  end
end
list_ended()
-- Deleting a consumer deletes its pending list: only a call that found fewer entries than it could take may do so.
if room > 0 then
  for _, stream in pairs(STREAMS) do
    check(redis.pcall('XGROUP', 'DELCONSUMER', stream, GROUP, gone), 'NOGROUP', 'WRONGTYPE', 'requires the key to exist')
  end
end
-- Even if it ran nothing: it may have taken the wake-up token and died before it looked.
wake_idle()
return {moved, room > 0 and 0 or 1, poisoned, broken}
