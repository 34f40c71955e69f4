--@include _messages.lua
-- progress: change what is reported of an execution.
--
-- It is kept with the phase that it was reported in, and means nothing in any other: so neither the claim of a task nor
-- its end has to remove it. The phase is the entry of a run while it runs, else `waiting` or `ended`.
--
-- KEYS  1 record
-- ARGV  1 progress channel  2 entry and  3 generation of the run that reports, refused if it was superseded; '' and 0 for
--         whatever is there, or nothing  4 operation: total | increment | message | all  5 value ('' clears a message);
--         of all: current  6 execution_ttl (ms), of what is reported where there is no record  7 total and  8 message of all
-- Reply {current, total, message | false, updated at (us)}, or {} if the run was superseded
local v = redis.pcall('HMGET', KEYS[1], 'state', 'entry', 'generation', 'progress_phase', 'progress_current',
  'progress_total', 'progress_message')
if v.err and not string.find(v.err, 'WRONGTYPE', 1, true) then
  return v
end
-- A record that was overwritten is nobody's any more.
if v.err or (ARGV[3] ~= '0' and (v[2] ~= ARGV[2] or v[3] ~= ARGV[3])) then
  return {}
end
local t = redis.call('TIME')
local now = t[1] .. string.format('%06d', t[2])
local phase = v[1] == 'running' and v[2] or (v[1] == 'scheduled' or v[1] == 'queued') and 'waiting' or 'ended'
local current, total, message = 0, 100, false
if v[4] == phase then
  current, total, message = tonumber(v[5] or 0) or 0, tonumber(v[6] or 100) or 100, v[7]
end
if ARGV[4] == 'total' then
  total = tonumber(ARGV[5])
elseif ARGV[4] == 'increment' then
  current = current + tonumber(ARGV[5])
elseif ARGV[4] == 'all' then
  current, total, message = tonumber(ARGV[5]), tonumber(ARGV[7]), ARGV[8] ~= '' and ARGV[8] or false
else
  message = ARGV[5] ~= '' and ARGV[5] or false
end
redis.call('HSET', KEYS[1], 'progress_phase', phase, 'progress_current', current, 'progress_total', total,
  'progress_updated_at', now)
if message then
  redis.call('HSET', KEYS[1], 'progress_message', message)
else
  redis.call('HDEL', KEYS[1], 'progress_message')
end
if not v[1] then
  -- Never scheduled, or gone. By the generation schedule.lua sees that there is something to remove.
  redis.call('HSET', KEYS[1], 'generation', 0)
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
end
tell('PUBLISH', ARGV[1], table.concat({current, total, now, message or ''}, '\31'))
return {current, total, message, now}
