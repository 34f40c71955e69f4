-- Looks at streams and their entries, and at what somebody else may have written. Included after _streams.lua.
-- A fixed order to go through the streams in, so that a script does the same on every server: oldest work first.
local LETTERS = {'x', 'f', 's'}

-- A count out of a key or a record, which somebody else may have written: the default for what is none.
local function count_of(text, default)
  local n = text and tonumber(text)
  return n and n >= 0 and n < 9007199254740992 and math.floor(n) or default
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

-- Pending entries of a stream: none if there is no group yet, or the key has another type.
local function pending_of(letter, ...)
  return check(redis.pcall('XPENDING', STREAMS[letter], GROUP, ...), 'NOGROUP', 'WRONGTYPE') or {}
end

-- The beginning of the page that follows an entry; '' after the greatest id, from which no server takes a range.
local function beyond(id)
  return id == '18446744073709551615-18446744073709551615' and '' or '(' .. id
end

-- The key in a stream entry, or nil if the entry was deleted while it was pending.
local function key_of(letter, id)
  local stream = STREAMS[letter]
  local found = stream and check(redis.pcall('XRANGE', stream, id, id), 'Invalid stream ID', 'WRONGTYPE')
  if found and found[1] then
    return found[1][2][2]
  end
  return nil
end
