--@include _streams.lua
--@include _records.lua
-- renew: keep the leases of runs that are still ours. A lease is the idle time of a pending entry.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup
-- ARGV  1 prefix  2 consumer  3.. key, entry, generation of each run
-- Reply {lost: entries that are not ours any more, cancelled: entries that were cancelled}
local lost, cancelled = {}, {}
for i = 3, #ARGV, 3 do
  local key, entry, generation = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local record = read_record(key)
  if not owned(record, entry, generation, ARGV[2]) then
    lost[#lost + 1] = entry
  else
    -- JUSTID: resets the idle time and raises no delivery counter. Only owned entries: 6.2 keeps a claimed entry
    -- that was deleted in the pending list for ever.
    local stream = STREAMS[string.sub(entry, 1, 1)]
    check(redis.pcall('XCLAIM', stream, GROUP, ARGV[2], 0, string.sub(entry, 2), 'JUSTID'), 'NOGROUP', 'WRONGTYPE')
    if record.cancel then
      cancelled[#cancelled + 1] = entry
    end
  end
end
return {lost, cancelled}
