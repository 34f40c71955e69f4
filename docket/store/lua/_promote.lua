-- Moves up to `limit` due keys from the queue to the stream. Returns how many became ready.
local function promote(now, limit)
  local due = redis.call('ZRANGEBYSCORE', QUEUE, '-inf', due_of(now), 'LIMIT', 0, limit)
  local promoted = 0
  local expected = #due
--@include _listeners.lua
  for _, key in ipairs(due) do
    local v = redis.pcall('HMGET', RECORDS .. key, 'state', 'deaths', 'when')
    if v.err then
      v = foreign(RECORDS .. key, v)
    end
    redis.call('ZREM', QUEUE, key)
    -- Anything else left the queue by another way (a record that expired or was overwritten, a write that was rolled
    -- back): there is nothing to run.
    if v[1] == 'scheduled' then
      local entry = append(count_of(v[2], 0) > 0 and 'x' or 's', key)
      redis.call('HSET', RECORDS .. key, 'state', 'queued', 'entry', entry)
      publish(key, 'queued', v[3])
      promoted = promoted + 1
    elseif v[1] and not string.find(STATES, ' ' .. v[1] .. ' ', 1, true) then
      note(RECORDS .. key, 'hash whose field state is none of ours')
    end
  end
  return promoted, #due
end
