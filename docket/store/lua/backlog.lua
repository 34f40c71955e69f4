--@include _streams.lua
--@include _entries.lua
-- backlog: count what waits, and tell for how long the first of it has. Reads only.
-- A key that somebody overwrote counts as empty here: whoever works with it tells of it.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6 workers
-- ARGV  1 prefix  2 time without a heartbeat after which a worker counts as dead (ms)
-- Reply {queued, running, age of the oldest ready entry (ms) | -1, scheduled, waiting for a slot, paused,
--        lateness of the first that is scheduled (ms) | -1, pauses, failed kept, workers, docket paused (0 | 1)}
local PREFIX = ARGV[1]
local now, now_text = server_now()

local function counted(reply)
  return check(reply, 'WRONGTYPE') or 0
end

-- Claimed entries of a stream, and the id of the last one that was delivered: what follows it is ready.
local function delivered(stream)
  local groups = check(redis.pcall('XINFO', 'GROUPS', stream), 'no such key', 'WRONGTYPE') or {}
  for _, group in ipairs(groups) do
    local fields = {}
    for i = 1, #group, 2 do
      fields[group[i]] = group[i + 1]
    end
    if fields.name == GROUP then
      return fields.pending, fields['last-delivered-id']
    end
  end
  return 0, '0-0'
end

local queued, running, oldest = 0, 0, -1
for _, letter in ipairs(LETTERS) do
  local stream = STREAMS[letter]
  local claimed, last = delivered(stream)
  running = running + claimed
  queued = queued + math.max(0, counted(redis.pcall('XLEN', stream)) - claimed)
  local after = beyond(last)
  local first = after ~= '' and check(redis.pcall('XRANGE', stream, after, '+', 'COUNT', 1), 'WRONGTYPE')
  if first and first[1] then
    oldest = math.max(oldest, now - tonumber(string.match(first[1][1], '^%d+')), 0)
  end
end

-- What a pause has parked stands behind what waits for a slot.
local never = string.format('%d', NEVER)
local waiting = counted(redis.pcall('ZCOUNT', QUEUE, never, never))
local paused = counted(redis.pcall('ZCOUNT', QUEUE, '(' .. never, '+inf'))
local scheduled = counted(redis.pcall('ZCARD', QUEUE)) - waiting - paused
local head = check(redis.pcall('ZRANGE', QUEUE, 0, 0, 'WITHSCORES'), 'WRONGTYPE') or {}
local lateness = scheduled > 0 and math.max(0, now - tonumber(head[2])) or -1

-- A pause of the whole docket: {since (us), until (us) | '', ...}, of texts. What is none of ours holds nothing.
local function docket_paused()
  local packed = check(redis.pcall('HGET', PREFIX .. ':pauses', ''), 'WRONGTYPE')
  if not packed then
    return 0
  end
  local is_sound, pause = pcall(cmsgpack.unpack, packed)
  local ends = is_sound and type(pause) == 'table' and pause[2]
  return (ends == '' or (tonumber(ends) or 0) > tonumber(now_text)) and 1 or 0
end

local alive = counted(redis.pcall('ZCOUNT', KEYS[6], string.format('%d', now - ARGV[2]), '+inf'))
return {queued, running, oldest, scheduled, waiting, paused, lateness, counted(redis.pcall('HLEN', PREFIX .. ':pauses')),
  counted(redis.pcall('ZCARD', PREFIX .. ':failed')), alive, docket_paused()}
