--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
--@include _limits.lua
-- sweep_limits: free the slots whose entry is gone, and check the tasks that wait: 100 of each a call. Repairs what no
-- script of ours does: keys deleted by hand, a version without limits.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup
-- ARGV  1 prefix  2 cursor of the holders, '0' to begin, '' when through  3 waiters seen so far
-- Reply {cursor | '', waiters seen | -1 when through, how many were mended, broken: see _records.lua}
local mended, cursor, seen = 0, ARGV[2], tonumber(ARGV[3])
local own = limiting()
if cursor ~= '' then
  local page = own.ask('HSCAN', HOLDS, cursor, 'COUNT', 100) or {'0', {}}
  cursor = page[1] ~= '0' and page[1] or ''
  for i = 1, #page[2], 2 do
    local entry = page[2][i]
    if not key_of(string.sub(entry, 1, 1), string.sub(entry, 2)) then
      own.release(entry)
      mended = mended + 1
    end
  end
end

-- Frees slots that are missing from the list of holders: nothing else would release them.
local checked = {}
local function free_forgotten(scope)
  if checked[scope] then
    return
  end
  checked[scope] = true
  for _, entry in ipairs(own.ask('HKEYS', own.slots .. scope) or {}) do
    if not key_of(string.sub(entry, 1, 1), string.sub(entry, 2)) then
      redis.call('HDEL', own.slots .. scope, entry)
      mended = mended + 1
    end
  end
end

if seen >= 0 then
  local keys = redis.call('ZRANGEBYSCORE', QUEUE, NEVER, NEVER, 'LIMIT', seen, 100)
  seen = #keys == 100 and seen + 100 or -1
  for _, key in ipairs(keys) do
    local waiter = own.waiter_of(key)
    for _, request in ipairs(waiter and waiter.requests or {}) do
      free_forgotten(request[1])
    end
    if waiter and not own.admit(waiter) then
      for _, request in ipairs(waiter.requests) do
        own.serve(request[1])
      end
    elseif not waiter then
      redis.call('ZREM', QUEUE, key)
      mended = mended + 1
    end
  end
end
own.wake_for_admitted()
return {cursor, seen, mended + admitted, broken}
