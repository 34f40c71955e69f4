--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
-- renew: keep the leases of runs that are still ours. A lease is the idle time of a pending entry.
-- A run whose key was replaced has lost its record, and not its entry: it goes on to its end.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup
-- ARGV  1 prefix  2 consumer  3.. key, entry, generation of each run
-- Reply {lost: entries that are not ours any more, cancelled: entries that were cancelled}
local lost, cancelled = {}, {}

local function is_pending_here(letter, id)
  local pending = pending_of(letter, id, id, 1)[1]
  return pending and pending[2] == ARGV[2] and key_of(letter, id)
end

for i = 3, #ARGV, 3 do
  local key, entry, generation = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local record = read_record(key)
  local letter, id = string.sub(entry, 1, 1), string.sub(entry, 2)
  local is_recorded = owned(record, entry, generation, ARGV[2])
  if not is_recorded and not is_pending_here(letter, id) then
    lost[#lost + 1] = entry
  else
    -- JUSTID: resets the idle time and raises no delivery counter. Only entries that exist: 6.2 keeps a claimed entry
    -- that was deleted in the pending list for ever.
    check(redis.pcall('XCLAIM', STREAMS[letter], GROUP, ARGV[2], 0, id, 'JUSTID'), 'NOGROUP', 'WRONGTYPE')
    if is_recorded and record.cancel then
      cancelled[#cancelled + 1] = entry
    end
  end
end
return {lost, cancelled}
