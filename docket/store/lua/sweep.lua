--@include _streams.lua
--@include _records.lua
--@include _limits.lua
-- sweep: put runs whose lease ended to the front, up to 100 a stream. Nobody is blamed.
--
-- KEYS  1 stream  2 front  3 suspects  4 queue  5 bell  6 watch
-- ARGV  1 prefix  2 redelivery timeout (ms)  3 execution_ttl (ms)
-- Reply {how many were moved, broken: see _records.lua}
local now, timeout, ttl, moved = server_now(), tonumber(ARGV[2]), tonumber(ARGV[3]), 0

-- Since when sweeps follow each other without a gap. After an outage, or a server that stood still, every lease looks
-- lost: whoever lives is given half the timeout to renew its own, twice what it needs.
local since = tonumber(redis.call('GET', KEYS[6]) or now)
redis.call('SET', KEYS[6], since, 'PX', math.max(1000, math.ceil(timeout / 2)))
if now - since < timeout / 2 then
  return {0, broken}
end

local function move(key, entry, consumer)
  local record = read_record(key)
  local held = record.entry == entry and ((record.state == 'running' and record.worker == consumer)
    or record.state == 'queued')
  drop_entry(entry)
  if not held then
    return
  end
  if record.cancel then
    return finish(key, 'cancelled', now, ttl, record)
  end
  requeue(key, now, record, consumer, record.deaths)
  moved = moved + 1
end

for _, letter in ipairs(LETTERS) do
  for _, p in ipairs(pending_of(letter, 'IDLE', timeout, '-', '+', 100)) do
    local key = key_of(letter, p[1])
    if key then
      move(key, letter .. p[1], p[2])
    else
      drop_entry(letter .. p[1])
    end
  end
end
if moved > 0 then
  ring()
end
return {moved, broken}
