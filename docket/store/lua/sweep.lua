--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
--@include _limits.lua
-- sweep: redeliver the runs of one stream whose lease ended. Nobody is blamed. Looks at 500 entries a call, a page at
-- a time, and moves 100 of them: a server asked for the idle ones goes through the whole list at once if there are none.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6 watch
-- ARGV  1 prefix  2 redelivery timeout (ms)  3 retention (see _records.lua)  4 letter of the stream
--       5 id to go on from, '-' to begin
-- Reply {how many were moved, id to go on from | '', broken: see _records.lua}
local PAGE, LOOKS, MOVES = 100, 500, 100
local now, now_text = server_now()
local timeout, ttl, letter = tonumber(ARGV[2]), retention(ARGV[3]), ARGV[4]
local moved = 0

-- The instant since which sweeps have followed each other without a gap. After an outage, or with a server that stood
-- still, every lease looks lost: live workers get half the timeout to renew theirs, twice what they need.
local since = count_of(redis.call('GET', KEYS[6]), now)
redis.call('SET', KEYS[6], since, 'PX', math.max(1000, math.ceil(timeout / 2)))
if now - since < timeout / 2 then
  return {0, '', broken}
end

-- The owner decides how long its leases are, and renews them accordingly; pools of one docket need not agree.
local leases = {}
local function lease_of(consumer)
  if not leases[consumer] then
    leases[consumer] = count_of(redis.call('HGET', PREFIX .. ':leases', consumer), timeout)
  end
  return leases[consumer]
end

local function has_ended(consumer, idle)
  local lease = lease_of(consumer)
  return idle >= lease and now - since >= lease / 2
end

local function move(key, entry, consumer)
  local record = read_record(key)
  local held = record.entry == entry and ((record.state == 'running' and record.worker == consumer)
    or record.state == 'queued')
  end_entry(entry)
  if not held then
    return
  end
  if record.cancel then
    return finish(key, 'cancelled', now_text, ttl, record)
  end
  attempts().requeue(key, record, consumer, record.deaths, now_text, 'lease lost')
  moved = moved + 1
end

local ended, looked, cursor = 0, 0, ARGV[5]

-- Returns where to go on; '' after the last page.
local function page_from(start)
  local pending = pending_of(letter, start, '+', PAGE)
  for _, p in ipairs(pending) do
    if has_ended(p[2], p[3]) then
      if ended == MOVES then
        return p[1]
      end
      ended = ended + 1
      local key = key_of(letter, p[1])
      if key then
        move(key, letter .. p[1], p[2])
      else
        end_entry(letter .. p[1])
      end
    end
  end
  looked = looked + #pending
  return #pending == PAGE and beyond(pending[PAGE][1]) or ''
end

repeat
  cursor = page_from(cursor)
until cursor == '' or ended == MOVES or looked >= LOOKS
list_ended()
if moved > 0 then
  wake_idle()
end
return {moved, cursor, broken}
