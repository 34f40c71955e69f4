-- Pauses of a docket and of its functions, and the tasks that they have parked. Included after _limits.lua.
--
--   {d}:pauses  HASH  the name of a function, '' for the whole docket -> {since (us), until (us) | '', reason, by}, of texts
--               (cmsgpack). One whose end has passed does not hold any more; it stays until all that it parked is back.
--
-- A pause is a limit without slots: a task of a paused function that would be claimed is `scheduled`, waits in the line of
-- a scope of its own for a slot that never is free, and stands in the queue with the time PARKED. So whatever cancels,
-- replaces or clears what waits for a slot does so here. A paused docket parks nothing.
local PAUSES = PREFIX .. ':pauses'
-- No scope of a limit begins like this: dependencies/limits.py refuses it.
local PAUSED_SCOPE = '\31paused:'
-- To bring back a task takes ten times as long as to promote one.
local LIFTED = 64

-- Made on first use, as in _limits.lua. now: as text (us).
local function pausing(now)
  local own = limiting()

  -- A pause as it is stored, or nil for what is none of ours.
  local function read(packed)
    local is_sound, found = pcall(cmsgpack.unpack, packed)
    for i = 1, 4 do
      if not is_sound or type(found) ~= 'table' or type(found[i]) ~= 'string' then
        return nil
      end
    end
    return found
  end

  -- The instant at which a pause ends (us): 0 for what is none of ours, which is lifted therefore.
  local function end_of(packed)
    local pause = read(packed)
    if not pause then
      return 0
    end
    return pause[2] == '' and math.huge or tonumber(pause[2]) or 0
  end

  -- Asked once a name, since a call claims many tasks of few functions.
  local asked = {}
  local function holds(name)
    if asked[name] == nil then
      local packed = redis.call('HGET', PAUSES, name)
      asked[name] = packed and end_of(packed) > tonumber(now) or false
    end
    return asked[name]
  end

  -- The tasks of one call came in an order, too.
  local parked = 0

  -- Takes an entry of a paused function out of its stream; false if the function is not paused.
  local function park(name, key, entry, generation, attempt, when)
    if not name or not holds(name) then
      return false
    end
    local rk, scope = RECORDS .. key, PAUSED_SCOPE .. name
    local limits = own.limits_for(redis.call('HGET', rk, 'limits'), generation, attempt, now + parked)
    parked = parked + 1
    limits.w = {{scope, 0}}
    redis.call('HSET', rk, 'state', 'scheduled', 'entry', '', 'limits', cmsgpack.pack(limits))
    redis.call('ZADD', QUEUE, PARKED, key)
    own.ask('ZADD', own.line .. scope, string.format('%d', limits.o), key)
    publish(key, 'scheduled', when)
    -- Its slots, if it was admitted with some, go to those who wait for them.
    end_entry(entry)
    return true
  end

  -- Brings a parked task back into a stream; true if there is one under this key.
  local function unpark(key)
    local waiter = own.waiter_of(key)
    local scope = waiter and waiter.requests[1] and waiter.requests[1][1] or ''
    if string.sub(scope, 1, #PAUSED_SCOPE) ~= PAUSED_SCOPE then
      return false
    end
    local entry = append(waiter.deaths > 0 and 'x' or 'f', key)
    waiter.limits.w = nil
    redis.call('ZREM', QUEUE, key)
    own.ask('ZREM', own.line .. scope, key)
    redis.call('HSET', RECORDS .. key, 'state', 'queued', 'entry', entry, 'limits', cmsgpack.pack(waiter.limits))
    publish(key, 'queued', waiter.when)
    admitted = admitted + 1
    return true
  end

  -- Brings back up to `limit` of the tasks that a pause has parked, in the order in which they first came. Returns how
  -- many were looked at, fewer than `limit` if that were all.
  local function bring_back(name, limit)
    local line = own.line .. PAUSED_SCOPE .. name
    local keys = own.ask('ZRANGE', line, 0, limit - 1) or {}
    local expected = #keys
--@include _listeners.lua
    for _, key in ipairs(keys) do
      if not unpark(key) then
        redis.call('ZREM', line, key)
        -- Its score: ZSCORE is no command that a worker's user has needed.
        if tonumber(redis.call('ZADD', QUEUE, 'XX', 'INCR', 0, key) or 0) == PARKED then
          own.ask_anew(key)
        end
      end
    end
    return #keys
  end

  -- Removes a pause that does not hold any more, once all that it parked is back. Returns how many were looked at.
  local function lift(name, limit)
    local looked = name == '' and 0 or bring_back(name, limit)
    if looked < limit then
      redis.call('HDEL', PAUSES, name)
    end
    if name == '' then
      wake_idle()
    end
    return looked
  end

  -- Somebody deleted the pauses: what they had parked would wait for ever.
  local function bring_back_orphans(limit)
    local keys = redis.call('ZRANGEBYSCORE', QUEUE, PARKED, PARKED, 'LIMIT', 0, limit)
    for _, key in ipairs(keys) do
      if not unpark(key) then
        own.ask_anew(key)
      end
    end
    return #keys
  end

  -- Lifts the pauses whose end has passed, up to LIFTED tasks. Returns when to look again (us): at once if there are more,
  -- math.huge if no pause ends.
  local function lift_ended()
    if redis.call('EXISTS', PAUSES) == 0 then
      return bring_back_orphans(LIFTED) == LIFTED and tonumber(now) or math.huge
    end
    local left, next_end = LIFTED, math.huge
    local found = redis.call('HGETALL', PAUSES)
    for i = 1, #found, 2 do
      local ends = end_of(found[i + 1])
      if ends == 0 then
        note(PAUSES, 'hash whose field ' .. found[i] .. ' is none of ours')
      end
      if ends <= tonumber(now) and left > 0 then
        left = left - lift(found[i], left)
      end
      next_end = math.min(next_end, left == 0 and tonumber(now) or ends > tonumber(now) and ends or math.huge)
    end
    return next_end
  end

  return {holds = holds, park = park, lift = lift, lift_ended = lift_ended, read = read}
end
