-- progress: change what a run reports of itself, if it is still that run's to change.
--
-- KEYS  1 record
-- ARGV  1 progress channel  2 entry  3 generation  4 operation: total | increment | message  5 value ('' clears a message)
-- Reply {current, total, message | false, updated at (us)}, or {} if the run was superseded
local v = redis.pcall('HMGET', KEYS[1], 'state', 'entry', 'generation', 'progress_current', 'progress_total',
  'progress_message')
if v.err and not string.find(v.err, 'WRONGTYPE', 1, true) then
  return v
end
-- A record that was overwritten is nobody's run any more.
if v[1] ~= 'running' or v[2] ~= ARGV[2] or v[3] ~= ARGV[3] then
  return {}
end
local t = redis.call('TIME')
local now = t[1] .. string.format('%06d', t[2])
local current, total, message = tonumber(v[4] or 0), tonumber(v[5] or 100), v[6]
if ARGV[4] == 'total' then
  total = tonumber(ARGV[5])
elseif ARGV[4] == 'increment' then
  current = current + tonumber(ARGV[5])
else
  message = ARGV[5] ~= '' and ARGV[5] or false
end
redis.call('HSET', KEYS[1], 'progress_current', current, 'progress_total', total, 'progress_updated_at', now)
if message then
  redis.call('HSET', KEYS[1], 'progress_message', message)
else
  redis.call('HDEL', KEYS[1], 'progress_message')
end
redis.call('PUBLISH', ARGV[1], table.concat({current, total, now, message or ''}, '\31'))
return {current, total, message, now}
