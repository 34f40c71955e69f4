-- Shared by scripts whose KEYS begin: 1 stream, 2 front, 3 suspects, 4 queue, 5 bell.
-- An entry is named by the letter of its stream and its id, since ids of two streams may be equal.
local GROUP = 'workers'
local STREAMS = {s = KEYS[1], f = KEYS[2], x = KEYS[3]}
-- The order to go through them in: who has waited longest comes first, and what follows is the same on every server.
local LETTERS = {'x', 'f', 's'}
local QUEUE, BELL = KEYS[4], KEYS[5]

local function server_now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function append(letter, key)
  return letter .. redis.call('XADD', STREAMS[letter], '*', 'k', key)
end

-- Only what was read by a consumer can be acknowledged; deleting both ways is right for waiting entries too.
local function drop_entry(entry)
  local stream, id = STREAMS[string.sub(entry, 1, 1)], string.sub(entry, 2)
  redis.call('XACK', stream, GROUP, id)
  redis.call('XDEL', stream, id)
end

-- One token at most: it says that someone idle should look, not how much there is.
local function ring()
  if redis.call('LLEN', BELL) == 0 then
    redis.call('LPUSH', BELL, '1')
  end
end

-- Raises the error of a reply, if it is one, but for those expected: whose user lacks a permission must hear of it, and
-- what it may not look at is not empty.
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

-- Pending entries of a stream: none where there is no group yet, or a key of another type.
local function pending_of(letter, ...)
  return check(redis.pcall('XPENDING', STREAMS[letter], GROUP, ...), 'NOGROUP', 'WRONGTYPE') or {}
end

-- The key in a stream entry, or nil if the entry was deleted while it was pending.
local function key_of(letter, id)
  local found = redis.call('XRANGE', STREAMS[letter], id, id)
  if found[1] then
    return found[1][2][2]
  end
  return nil
end
