--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
--@include _limits.lua
--@include _placing.lua
-- retime: time a waiting automatic task anew whose schedule was changed by newer code.
--
-- A record names the schedule that it was timed by (`timed`: none if the run before chose the time itself, or somebody
-- scheduled it by hand) and those that were in use, the newest first, each with the time since (`schedules`: NAME@ms). A
-- schedule that is not among them is newer than all. One that is there and not the newest is that of old code, which
-- changes nothing; unless the worker began after the change and the time of a rollout is over, which is a return to it.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6 record
-- ARGV  1 prefix  2 key  3 the schedule of the worker  4 when it is due by that (us)  5 latest: 1 an earlier time is kept
--       | 0  6 the time since the start of the worker (ms)  7 of a rollout (ms)
-- Reply 1 if it was timed anew, else 0
local key, schedule, when, KEPT = ARGV[2], ARGV[3], ARGV[4], 8
local now, now_text = server_now()
local v = redis.pcall('HMGET', KEYS[6], 'state', 'timed', 'schedules', 'when', 'attempt', 'limits', 'deaths')
-- Without a record there is nothing to time: this call may come late.
if v.err or not v[1] then
  return 0
end
local function keep(others)
  local all = {schedule .. '@' .. now}
  for _, other in ipairs(others) do
    if #all < KEPT and string.match(other, '^[^@]+') ~= schedule then
      all[#all + 1] = other
    end
  end
  redis.call('HSET', KEYS[6], 'schedules', table.concat(all, ' '))
end

if not v[2] then
  return 0
end
local known, place_of = {}, nil
for each in string.gmatch(v[3] or '', '%S+') do
  known[#known + 1] = each
  if string.match(each, '^[^@]+') == schedule then
    place_of = #known
  end
end
if place_of and place_of > 1 then
  local changed = tonumber(string.match(known[1], '%d+$'))
  if now - changed < tonumber(ARGV[7]) or now - tonumber(ARGV[6]) < changed then
    return 0
  end
end
if place_of ~= 1 then
  keep(known)
end
-- One that runs is timed by its worker, one that waits for a limit or for another attempt has a time of its own.
if v[2] == schedule or v[1] ~= 'scheduled' or v[6] or (v[5] or '1') ~= '1' then
  return 0
end
redis.call('HSET', KEYS[6], 'timed', schedule)
if ARGV[5] == '1' and tonumber(microseconds_of(v[4])) < tonumber(microseconds_of(when)) then
  when = v[4]
end
redis.call('ZREM', QUEUE, key)
place(key, now_text, when, tonumber(v[7] or 0))
return 1
