-- add_statistics: add what a worker has counted since it last did to the sums of this minute and this quarter of an hour.
--
-- KEYS  1 stats
-- ARGV  1 how long to keep a minute (ms)  2 how long to keep a quarter of an hour (ms)
--       3 fields of a hash from which on other functions are counted together  4 their name
--       5.. for each function: its name, how many counters, then code and amount of each
-- Reply {broken: names and types of keys that somebody overwrote, flat}
local now = tonumber(redis.call('TIME')[1])
local broken = {}

-- Names come with the tasks, so whoever adds tasks could invent any number of them.
local function counted_as(name, sums, is_full)
  return is_full and redis.call('HEXISTS', sums, 's ' .. name) == 0 and ARGV[4] or name
end

local function add(length, kept)
  local sums = KEYS[1] .. string.format(':%d:%d', length, now - now % length)
  local kind = redis.call('TYPE', sums).ok
  if kind ~= 'hash' and kind ~= 'none' then
    broken[#broken + 1], broken[#broken + 2] = sums, kind
    return
  end
  local is_full = redis.call('HLEN', sums) >= tonumber(ARGV[3])
  local i = 5
  while i < #ARGV do
    local name, last = counted_as(ARGV[i], sums, is_full), i + 2 * ARGV[i + 1]
    for at = i + 2, last, 2 do
      redis.call('HINCRBY', sums, ARGV[at] .. ' ' .. name, ARGV[at + 1])
    end
    i = last + 2
  end
  redis.call('PEXPIRE', sums, kept)
end

add(60, ARGV[1])
add(900, ARGV[2])
return broken
