-- Shared by scripts whose KEYS begin: 1 stream, 2 redelivery, 3 quarantine, 4 queue, 5 wakeup.
-- An entry is named by the letter of its stream and its id, since ids of two streams may be equal: s of the stream,
-- f of the redelivery stream, x of the quarantine.
local GROUP = 'workers'
local STREAMS = {s = KEYS[1], f = KEYS[2], x = KEYS[3]}
-- A fixed order to go through the streams in, so that a script does the same on every server: oldest work first.
local LETTERS = {'x', 'f', 's'}
local QUEUE, WAKEUP = KEYS[4], KEYS[5]
-- The time of what waits in the queue for something else (a slot of a limit): no datetime is that late.
local NEVER = 253402300800000
-- That of what was parked by a pause: told from the others by itself, and passed over by the sweep of the limits.
local PARKED = NEVER + 1

-- A count out of a key or a record, which somebody else may have written: the default for what is none.
local function count_of(text, default)
  local n = text and tonumber(text)
  return n and n >= 0 and n < 9007199254740992 and math.floor(n) or default
end

-- The server's time: in milliseconds, for what is due or has lapsed, and in microseconds as text, for records and events.
local function server_now()
  local t = redis.call('TIME')
  -- Without string.format, which alone takes as long as a command.
  local text = t[1] .. string.sub('00000' .. t[2], -6)
  return tonumber(string.sub(text, 1, -4)), text
end

-- The name of a stream once its ids are used up; recover.lua delivers what it holds.
local function exhausted(letter)
  return (string.gsub(STREAMS[letter], ':[^:]*$', ':exhausted%0'))
end

-- A stream whose ids somebody has used up takes nothing more, ever: the docket goes on with an empty one at once, since
-- the caller may have taken the task from where it was.
local function append(letter, key)
  local id = redis.pcall('XADD', STREAMS[letter], '*', 'k', key)
  if type(id) == 'table' and id.err then
    if not string.find(id.err, 'exhausted', 1, true) then
      return error(id.err, 0)
    end
    redis.call('RENAME', STREAMS[letter], exhausted(letter))
    id = redis.call('XADD', STREAMS[letter], '*', 'k', key)
  end
  return letter .. id
end

-- Wakes one idle worker. One token at most: it says that there is something to look for, not how much.
local function wake_idle()
  if redis.call('LLEN', WAKEUP) == 0 then
    redis.call('LPUSH', WAKEUP, '1')
  end
end

-- Raises the error of a reply, if it is one, except those expected: a user without the permission must learn of it, and
-- must not take what it may not read for empty.
local function check(reply, ...)
  if type(reply) ~= 'table' or not reply.err then
    return reply
  end
  for _, expected in ipairs({...}) do
    if string.find(reply.err, expected, 1, true) then
      return nil
    end
  end
  return error(reply.err, 0)
end

local function create_group(stream)
  check(redis.pcall('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM'), 'BUSYGROUP', 'WRONGTYPE')
end
