--@include _streams.lua
--@include _entries.lua
-- consumers: list the consumers in the groups of the three streams, and those that are registered. Reads only.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6 workers
-- ARGV  none
-- Reply {the name and the number of pending entries of each in each group, flat; the names of those registered}
local found = {}
for _, letter in ipairs(LETTERS) do
  -- No stream or no group yet: nobody has registered.
  local rows = check(redis.pcall('XINFO', 'CONSUMERS', STREAMS[letter], GROUP), 'no such key', 'NOGROUP') or {}
  for _, row in ipairs(rows) do
    local n = #found
    for i = 1, #row, 2 do
      if row[i] == 'name' then
        found[n + 1] = row[i + 1]
      elseif row[i] == 'pending' then
        found[n + 2] = row[i + 1]
      end
    end
  end
end
return {found, redis.call('ZRANGE', KEYS[6], 0, -1)}
