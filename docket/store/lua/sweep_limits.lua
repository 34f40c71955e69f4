--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
--@include _limits.lua
--@include _reinstate.lua
-- sweep_limits: free the slots whose entry is gone, and check the tasks that wait: 100 of each a call. Repairs what no
-- script of ours does: keys deleted by hand, a version without limits. A task that held a slot and whose entry somebody
-- deleted is put back, and so is one that stands in a line and not in the queue: of both, these keys have the names.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup
-- ARGV  1 prefix  2 cursor of the holders, '0' to begin, '' when through  3 waiters seen so far
-- Reply {cursor | '', waiters seen | -1 when through, how many were mended, broken: see _records.lua}
local mended, cursor, seen = 0, ARGV[2], tonumber(ARGV[3])
local own = limiting()
local _, now_text = server_now()

-- Puts back the task of an entry that is gone, if it waits still, or was run by a worker that is gone.
local function put_back(entry, packed)
  local scope = own.scopes_of(packed)[1]
  local key = scope and own.ask('HGET', own.slots .. scope, entry)
  local record = key and read_record(key)
  if record and record.entry == entry then
    reinstate(key, record.state, entry, record.when, now_text)
  end
end

-- Puts those of a line back into the queue that do not stand there: somebody deleted it. The first hundred of each line
-- are looked at, and so many in all.
local looks, lines = 500, {}
local function check_line(scope)
  if lines[scope] or looks <= 0 then
    return
  end
  lines[scope] = true
  local keys = own.ask('ZRANGE', own.line .. scope, 0, math.min(looks, 100) - 1) or {}
  looks = looks - #keys
  for _, key in ipairs(keys) do
    if own.waiter_of(key) then
      mended = mended + redis.call('ZADD', QUEUE, 'NX', NEVER, key)
    end
  end
end

if cursor ~= '' then
  local page = own.ask('HSCAN', HOLDS, cursor, 'COUNT', 100) or {'0', {}}
  cursor = page[1] ~= '0' and page[1] or ''
  for i = 1, #page[2], 2 do
    local entry = page[2][i]
    for _, scope in ipairs(own.scopes_of(page[2][i + 1])) do
      check_line(scope)
    end
    if not key_of(string.sub(entry, 1, 1), string.sub(entry, 2)) then
      put_back(entry, page[2][i + 1])
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
      own.ask_anew(key)
      mended = mended + 1
    end
  end
end
own.wake_for_admitted()
return {cursor, seen, mended + admitted, broken}
