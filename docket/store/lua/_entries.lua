-- The entries of a stream, one by one or by pages. Included after _streams.lua.

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
