-- Shared by scripts whose KEYS begin: 1 stream, 2 redelivery, 3 quarantine, 4 queue, 5 wakeup.
-- An entry is named by the letter of its stream and its id, since ids of two streams may be equal: s of the stream,
-- f of the redelivery stream, x of the quarantine.
local GROUP = 'workers'
local STREAMS = {s = KEYS[1], f = KEYS[2], x = KEYS[3]}
local QUEUE, WAKEUP = KEYS[4], KEYS[5]
-- The time of what waits in the queue for something else (a slot of a limit): no datetime is that late.
local NEVER = 253402300800000
-- That of what was parked by a pause: told from the others by itself, and passed over by the sweep of the limits.
local PARKED = NEVER + 1

-- The server's time: in milliseconds, for what has lapsed, and in microseconds as text, for records, events and due_of.
local function server_now()
  local t = redis.call('TIME')
  -- Without string.format, which alone takes as long as a command.
  local text = t[1] .. string.sub('00000' .. t[2], -6)
  return tonumber(string.sub(text, 1, -4)), text
end

-- The microseconds of an instant, as text. What was given in another time zone than UTC has its ISO text behind them.
local function microseconds_of(when)
  return string.match(when, '^%S+')
end

-- The milliseconds at which an instant is due, with its microseconds as the fraction: rounded up it would run half a
-- millisecond late, and rounded down before its time. The same of the server's time, as text (us), tells whether it is.
local function due_of(when)
  return math.min((tonumber(microseconds_of(when)) or 0) / 1000, NEVER - 1)
end

-- The name of a stream once its ids are used up; recover.lua delivers what it holds.
local function exhausted(letter)
  local docket = string.sub(KEYS[1], 1, -#':stream' - 1)
  return docket .. ':exhausted' .. string.sub(STREAMS[letter], #docket + 1)
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
