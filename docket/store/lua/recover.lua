--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
--@include _limits.lua
-- recover: find the entries of the streams that nobody is ever given, and deliver them: those behind the last one that
-- the group has delivered which no consumer holds. Only somebody else makes such: by XGROUP SETID or CREATE, by XACK, or
-- by restoring one key without the others. A group that claims to have delivered what is not there yet, and a stream
-- whose ids are used up, are mended first. Looks at 500 entries a call, a page at a time, and moves 100 of them.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6 epochs
-- ARGV  1 prefix  2 number of the source (see SOURCES) to go on with, 1 to begin  3 retention (see _records.lua)
--       4 id in it to go on from, '-' to begin
-- Reply {how many were delivered, number of the source to go on with | 0, id to go on from, mended: the letter of each
--        stream and 'group' | 'ids', flat, broken: see _records.lua}
local PAGE, LOOKS, MOVES = 100, 500, 100
-- What is looked through, in this order: letters of the streams, each followed by the exhausted one (see _streams.lua),
-- which the look at the stream itself may make.
local SOURCES = {'s', 's', 'f', 'f', 'x', 'x'}
local number, ttl, cursor = tonumber(ARGV[2]), retention(ARGV[3]), ARGV[4]
-- Those of the source that is looked at.
local letter, is_exhausted, stream, source
local _, now = server_now()
local moved, looked, mended = 0, 0, {}

local function open_source()
  letter, is_exhausted = SOURCES[number], number % 2 == 0
  stream = STREAMS[letter]
  source = is_exhausted and exhausted(letter) or stream
end

local function note_mended(what)
  mended[#mended + 1] = letter
  mended[#mended + 1] = what
end

local function fields_of(reply)
  local fields = {}
  for i = 1, #reply, 2 do
    fields[reply[i]] = reply[i + 1]
  end
  return fields
end

-- Numbers of 64 bits: more than a number of Lua holds.
local function is_less(a, b)
  return #a < #b or (#a == #b and a < b)
end

local function is_before(a, b)
  local a_time, a_sequence = string.match(a, '^(%d+)-(%d+)$')
  local b_time, b_sequence = string.match(b, '^(%d+)-(%d+)$')
  return is_less(a_time, b_time) or (a_time == b_time and is_less(a_sequence, b_sequence))
end

-- The id up to which the entries count as delivered, or nil if there is nothing to look at.
local function delivered_up_to()
  local found = check(redis.pcall('XINFO', 'STREAM', source), 'no such key', 'WRONGTYPE')
  if not found or is_exhausted then
    return found and '+'
  end
  local last = fields_of(found)['last-generated-id']
  -- Of 20 digits are those of the last times that there are: nothing could be added behind them soon.
  if #string.match(last, '^%d+') >= 20 then
    redis.call('RENAME', stream, exhausted(letter))
    note_mended('ids')
    return nil
  end
  for _, reply in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local group = fields_of(reply)
    if group.name == GROUP then
      if is_before(last, group['last-delivered-id']) then
        redis.call('XGROUP', 'SETID', stream, GROUP, last)
        note_mended('group')
        return last
      end
      return group['last-delivered-id']
    end
  end
  return nil
end

local function deliver(key, entry)
  local record = read_record(key)
  local is_known = record.entry == entry
  if is_known and record.state == 'running' then
    -- Its worker still owes the outcome, unless it is gone; and if so, nobody would look for this run.
    if not record.worker or redis.call('HEXISTS', KEYS[6], record.worker) == 1 then
      return
    end
  end
  if is_exhausted then
    redis.call('XDEL', source, string.sub(entry, 2))
  else
    end_entry(entry)
  end
  if not is_known or (record.state ~= 'queued' and record.state ~= 'running') then
    return
  end
  moved = moved + 1
  if record.cancel then
    finish(key, 'cancelled', now, ttl, record)
  elseif record.state == 'running' then
    attempts().requeue(key, record, record.worker, record.deaths, now, 'worker lost')
  else
    redis.call('HSET', RECORDS .. key, 'entry', append(letter == 's' and 'f' or letter, key))
  end
end

local function held(first, last)
  local holders = {}
  for _, p in ipairs(is_exhausted and {} or pending_of(letter, first, last, PAGE)) do
    holders[p[1]] = true
  end
  return holders
end

-- Returns where to go on; '' after the last page.
local function page_from(start, up_to)
  local page = redis.call('XRANGE', source, start, up_to, 'COUNT', PAGE)
  if #page == 0 then
    return ''
  end
  local holders = held(page[1][1], page[#page][1])
  for _, e in ipairs(page) do
    if moved == MOVES then
      return e[1]
    end
    if not holders[e[1]] then
      deliver(e[2][2], letter .. e[1])
    end
  end
  looked = looked + #page
  return #page == PAGE and beyond(page[PAGE][1]) or ''
end

-- True once the source is through, false where another call has to go on with it.
local function look_through()
  local up_to = delivered_up_to()
  while up_to and cursor ~= '' do
    if moved == MOVES or looked >= LOOKS then
      return false
    end
    cursor = page_from(cursor, up_to)
  end
  if is_exhausted and up_to and redis.call('XLEN', source) == 0 then
    redis.call('DEL', source)
  end
  return true
end

while number > 0 do
  open_source()
  if not look_through() then
    break
  end
  number, cursor = number < #SOURCES and number + 1 or 0, '-'
end
if moved > 0 then
  wake_idle()
end
list_ended()
return {moved, number, cursor, mended, broken}
