--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
--@include _limits.lua
--@include _claim.lua
-- reclaim: after a lost reply, take our own pending entries that we do not run.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6 epochs
-- ARGV  1 prefix  2 consumer  3 epoch  4 letter of the stream  5 id to go on from, '-' to begin
--       6 retention (see _records.lua)  7.. entries we run
-- Reply {'refused'} | {'stale'} | {'ok', now (us), id to go on from | '', taken: see _claim.lua,
--        broken: see _records.lua}
local consumer = ARGV[2]
local epoch = redis.call('HGET', KEYS[6], consumer)
if not epoch then
  return {'refused'}
end
if epoch ~= ARGV[3] then
  return {'stale'}
end
local letter, ttl, _, now = ARGV[4], retention(ARGV[6]), server_now()
local running = {}
for i = 7, #ARGV do
  running[ARGV[i]] = true
end
local pending = pending_of(letter, ARGV[5], '+', READ_LIMIT, consumer)

local function take_back(key, entry)
  local record = read_record(key)
  if record.cancel and record.entry == entry then
    end_entry(entry)
    return finish(key, 'cancelled', now, ttl, record)
  end
  -- queued: a failover rolled our claim back, and the record names this very entry again.
  local is_ours = claim(consumer, key, entry, now, function(state)
    return state == 'queued' or (state == 'running' and record.worker == consumer)
  end)
  if is_ours then
    -- Its lease begins now: the rest of the lost claim's lease may end before it is renewed.
    redis.call('XCLAIM', STREAMS[letter], GROUP, consumer, 0, string.sub(entry, 2), 'JUSTID')
  end
end

local cursor = ''
for i, p in ipairs(pending) do
  local id = p[1]
  local entry = letter .. id
  if taken_bytes >= PAYLOAD_LIMIT then
    cursor = id
    break
  end
  if not running[entry] then
    local key = key_of(letter, id)
    if not key then
      end_entry(entry)
    else
      take_back(key, entry)
    end
  end
  if i == READ_LIMIT then
    cursor = beyond(id)
  end
end
list_ended()
return {'ok', tonumber(now), cursor, taken, broken}
