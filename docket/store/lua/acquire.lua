--@include _streams.lua
--@include _entries.lua
--@include _messages.lua
--@include _events.lua
--@include _records.lua
--@include _limits.lua
-- acquire: grant a claimed task all of its limits, or none and say what became of it.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6 record
-- ARGV  1 prefix  2 consumer  3 key  4 entry  5 generation  6 retention (see _records.lua)
--       7.. four values a limit: kind, scope, a, b. In this order of kinds:
--           C cooldown: a window (ms)          V dropping rate: a limit, b per (ms)
--           D debounce: a settle (ms)          R rate: a limit, b per (ms)
--           S slots: a how many
-- Reply {verdict, scope that decided, when (ms) | 0, broken: see _records.lua}. All but `granted` end the run, with the
--       record written:
--       granted | waiting: for a slot | later: scheduled for `when` | dropped: cancelled | cancelled: by a caller
--       superseded: not ours any more (or an earlier sending of this very call has ended it)
local consumer, key, entry, generation, ttl = ARGV[2], ARGV[3], ARGV[4], ARGV[5], retention(ARGV[6])
local rk, FIRST, WIDTH = KEYS[6], 7, 4
local own = limiting()
local record = read_record(key)
if not owned(record, entry, generation, consumer) then
  return {'superseded', '', 0, broken}
end
local now, now_text = server_now()
local member = key .. '/' .. generation

local stored = redis.call('HMGET', rk, 'attempt', 'limits')
local limits = own.limits_for(stored[2], generation, stored[1], now_text)
limits.w = nil

local function store_limits()
  redis.call('HSET', rk, 'limits', cmsgpack.pack(limits))
end

local function drop(verdict, scope)
  end_entry(entry)
  -- The time it had reserved goes to the next task.
  own.leave(key, cmsgpack.pack(limits))
  finish(key, 'cancelled', now_text, ttl, record)
  list_ended()
  return {verdict, scope, 0, broken}
end

-- Puts the task back as scheduled. Its slots, if it had any, end with its entry.
local function put_back(score, when)
  redis.call('HDEL', rk, 'entry', unpack(RUN_FIELDS))
  redis.call('HSET', rk, 'state', 'scheduled', 'when', when)
  store_limits()
  local head = redis.call('ZRANGE', QUEUE, 0, 0, 'WITHSCORES')
  redis.call('ZADD', QUEUE, score, key)
  publish(key, 'scheduled', when)
  if score < NEVER and (not head[2] or score < tonumber(head[2])) then
    tell('PUBLISH', PREFIX .. ':wake', score)
  end
  end_entry(entry)
end

local function expire_after(name, milliseconds)
  if redis.call('PTTL', name) < milliseconds then
    redis.call('PEXPIRE', name, milliseconds)
  end
end

-- Debounce: when this task may run, or nil if another one came first: that one then waits for longer, and runs alone.
local function settled_at(scope, settle)
  local name, due = PREFIX .. ':debounce:' .. scope, now + settle
  local first = own.scopes_of(own.ask('GET', name) or '')
  if first[1] == key and first[2] == generation then
    return count_of(first[3], limits.d[scope] or due)
  end
  local v = first[1] and own.ask('HMGET', RECORDS .. first[1], 'state', 'generation') or {}
  local waits = v[2] == first[2] and (v[1] == 'scheduled' or v[1] == 'queued' or v[1] == 'running')
  if not waits then
    if limits.d[scope] then
      return limits.d[scope]  -- It was the first, and somebody has removed the marker.
    end
    first = {key, generation}
  end
  -- The margin is for workers that come late.
  redis.call('SET', name, cmsgpack.pack({first[1], first[2], string.format('%d', due)}), 'PX', settle + 86400000)
  return not waits and due or nil
end

-- True if the window has room. A task that has a reservation goes before those that come for the first time.
local function rate_has_room(scope, limit, per)
  local log, ahead = PREFIX .. ':rate:' .. scope, PREFIX .. ':rate-ahead:' .. scope
  redis.call('ZREMRANGEBYSCORE', log, '-inf', now - per)
  redis.call('ZREMRANGEBYSCORE', ahead, '-inf', now - per)
  redis.call('ZREM', ahead, member)
  local begun = redis.call('ZCARD', log)
  return begun < limit and (limits.r[scope] or begun + redis.call('ZCARD', ahead) < limit)
end

-- The instant at which there will be room, after all reservations: each task gets its own, so that none comes in vain.
local function rate_opens_at(scope, limit, per)
  local log, ahead = PREFIX .. ':rate:' .. scope, PREFIX .. ':rate-ahead:' .. scope
  local coming = redis.call('ZCOUNT', ahead, '(' .. now, '+inf')
  local before
  if coming >= limit then
    before = redis.call('ZRANGE', ahead, -limit, -limit, 'WITHSCORES')[2]
  else
    before = redis.call('ZRANGE', log, coming - limit, coming - limit, 'WITHSCORES')[2]
  end
  return math.min(math.max(now + 1, (before and tonumber(before) or now) + per), NEVER)
end

local later, decided, slots = 0, '', {}
-- Not quiet yet: until then, the task gets no reservation of a rate.
local settling = false
local function not_before(when, scope)
  if when > later then
    later, decided = when, scope
  end
end

-- The first verdict that ends the run, or nil. Nothing is taken before it.
local function judge(kind, scope, a, b)
  if kind == 'S' then
    slots[#slots + 1] = {scope, a}
  elseif limits.t[kind .. scope] then
    return nil
  elseif kind == 'C' then
    return redis.call('EXISTS', PREFIX .. ':cooldown:' .. scope) == 1 and 'dropped' or nil
  elseif kind == 'V' then
    return not rate_has_room(scope, a, b) and 'dropped' or nil
  elseif kind == 'D' then
    local due = settled_at(scope, a)
    if not due then
      return 'dropped'
    end
    limits.d[scope] = due
    if due > now then
      settling = true
      not_before(due, scope)
    end
  elseif kind == 'R' and not settling and not rate_has_room(scope, a, b) then
    not_before(rate_opens_at(scope, a, b), scope)
  end
  return nil
end

local function each_limit(visit)
  for i = FIRST, #ARGV, WIDTH do
    local verdict = visit(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]))
    if verdict then
      return verdict, ARGV[i + 1]
    end
  end
end

local function reserve(kind, scope, a, b)
  if kind == 'R' and not limits.t['R' .. scope] then
    limits.r[scope] = 1
    redis.call('ZADD', PREFIX .. ':rate-ahead:' .. scope, later, member)
    expire_after(PREFIX .. ':rate-ahead:' .. scope, later - now + b)
  end
end

local function grant(kind, scope, a, b)
  if kind == 'S' or limits.t[kind .. scope] then
    return
  end
  limits.t[kind .. scope] = 1
  if kind == 'C' then
    redis.call('SET', PREFIX .. ':cooldown:' .. scope, member, 'PX',
      math.max(a, redis.call('PTTL', PREFIX .. ':cooldown:' .. scope)))
  elseif kind == 'D' then
    limits.d[scope] = nil
    redis.call('DEL', PREFIX .. ':debounce:' .. scope)
  else
    limits.r[scope] = nil
    redis.call('ZADD', PREFIX .. ':rate:' .. scope, now, member)
    expire_after(PREFIX .. ':rate:' .. scope, b)
  end
end

-- True if the run holds its slots, by an earlier sending of this call or because it was admitted with them.
local function holds_slots()
  local packed = own.ask('HGET', HOLDS, entry)
  if not packed then
    return false
  end
  local held = {}
  for _, scope in ipairs(own.scopes_of(packed)) do
    held[scope] = true
  end
  local same = true
  for _, request in ipairs(slots) do
    same, held[request[1]] = same and held[request[1]], nil
  end
  same = same and next(held) == nil
  if not same then
    -- Another version of the task wants other slots.
    own.release(entry)
    own.wake_for_admitted()
  end
  return same
end

-- Takes all slots, or a place in line for those that are taken.
local function take_or_wait()
  local order, blocked = string.format('%d', limits.o), nil
  for _, request in ipairs(slots) do
    if not own.has_room(request, order) then
      own.ask('ZADD', own.line .. request[1], order, key)
      blocked = blocked or request[1]
    end
  end
  if not blocked then
    own.take_slots(entry, key, slots)
  end
  return blocked
end

if record.cancel then
  return drop('cancelled', '')
end
local verdict, scope = each_limit(judge)
if verdict then
  return drop(verdict, scope)
end
if later > 0 then
  if not settling then
    each_limit(reserve)
  end
  put_back(later, string.format('%d000', later))
  return {'later', decided, later, broken}
end
if #slots > 0 and not holds_slots() then
  local blocked = take_or_wait()
  if blocked then
    limits.w = slots
    put_back(NEVER, record.when or now_text)
    -- Blocked by the line alone: the tasks in it wait for other slots, or are gone.
    for _, request in ipairs(slots) do
      own.serve(request[1])
    end
    own.wake_for_admitted()
    return {'waiting', blocked, 0, broken}
  end
end
each_limit(grant)
store_limits()
return {'granted', '', 0, broken}
