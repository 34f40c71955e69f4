--@include _streams.lua
--@include _records.lua
-- sweep: put runs whose lease ended to the front, up to 100 a stream. Nobody is blamed.
--
-- KEYS  1 stream  2 front  3 suspects  4 queue  5 bell
-- ARGV  1 prefix  2 redelivery timeout (ms)  3 execution_ttl (ms)
-- Reply how many were moved
local now, ttl, moved = server_now(), tonumber(ARGV[3]), 0

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

for letter, stream in pairs(STREAMS) do
  local pending = redis.pcall('XPENDING', stream, GROUP, 'IDLE', ARGV[2], '-', '+', 100)
  for _, p in ipairs(pending.err and {} or pending) do
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
return moved
