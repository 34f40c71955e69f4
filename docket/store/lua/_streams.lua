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

local function create_group(stream)
  redis.pcall('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
end

-- The key in a stream entry, or nil if the entry was deleted while it was pending.
local function key_of(letter, id)
  local found = redis.call('XRANGE', STREAMS[letter], id, id)
  if found[1] then
    return found[1][2][2]
  end
  return nil
end
