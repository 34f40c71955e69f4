-- Slots of concurrency limits, and the tasks that wait for them. Included after _streams.lua and _records.lua by every
-- script that ends an entry or takes a waiting task away. All keys are built here, from scopes that only records and
-- holders know; they share the docket's hash tag.
--
--   {d}:slots:S      HASH  entry -> key of the runs that hold a slot of scope S: a slot ends with its entry
--   {d}:holds        HASH  entry -> the scopes it holds (cmsgpack)
--   {d}:waiting:S    ZSET  key -> its place in the order of the tasks that wait for S
--   {d}:rate:S       ZSET  key/generation -> when it began;  {d}:rate-ahead:S  -> when it is to begin
--   {d}:cooldown:S   STRING  until the window is over;       {d}:debounce:S  STRING  the first one, and when it is over
--                          (cmsgpack)
--
-- The field `limits` of a record (cmsgpack) holds what its execution was granted and what it waits for:
--   g generation, a attempt: of another execution it says nothing, of another attempt all but the order
--   o its place in the order, from its first try to get a slot: kept when its worker dies or requeues it
--   w scopes and sizes of the slots that it waits for     t what it was granted, for all its attempts
--   d when its debounce is over, by scope                 r rates it was told to come back for
--
-- A task that waits for a slot is `scheduled` and stands in the queue with a time that no datetime can name.
local HOLDS = PREFIX .. ':holds'
local admitted = 0

-- Made on first use, as attempts() is.
local made
local function limiting()
  if made then
    return made
  end
  local SLOTS, LINE = PREFIX .. ':slots:', PREFIX .. ':waiting:'
  -- The contents of a key that somebody overwrote count as unknown.
  local ask = attempts().try

  -- What was packed, as a table: an empty one for what is none. Somebody else may have written it.
  local function unpacked(packed)
    local is_sound, found = pcall(cmsgpack.unpack, packed)
    return is_sound and type(found) == 'table' and found or {}
  end

  local function scopes_of(packed)
    local scopes = {}
    for _, scope in ipairs(unpacked(packed)) do
      if type(scope) == 'string' then
        scopes[#scopes + 1] = scope
      end
    end
    return scopes
  end

  -- The field `limits` of a record. One that is not as ours write it says nothing: that of no generation is nobody's.
  local function limits_of(packed)
    local nothing = {g = '', t = {}, d = {}, r = {}}
    local found = unpacked(packed)
    if type(found.g) ~= 'string' or type(found.o) ~= 'number' or (found.w and type(found.w) ~= 'table') then
      return nothing
    end
    for _, field in ipairs({'t', 'd', 'r'}) do
      found[field] = type(found[field]) == 'table' and found[field] or {}
      for scope, value in pairs(found[field]) do
        if type(scope) ~= 'string' or type(value) ~= 'number' then
          return nothing
        end
      end
    end
    for _, request in ipairs(found.w or {}) do
      if type(request) ~= 'table' or type(request[1]) ~= 'string' or type(request[2]) ~= 'number' then
        return nothing
      end
    end
    return found
  end

  -- If the holders are unknown, no slot is free: the waiting tasks go on once the overwritten key is removed.
  local function has_room(request, order)
    local scope, size = request[1], request[2]
    local held, holds = ask('HLEN', SLOTS .. scope), ask('HLEN', HOLDS)
    if not held or not holds or held >= size then
      return false
    end
    local before = ask('ZCOUNT', LINE .. scope, '-inf', '(' .. order)
    return before and held + before < size
  end

  local function take_slots(entry, key, requests)
    local scopes = {}
    for i, request in ipairs(requests) do
      redis.call('HSET', SLOTS .. request[1], entry, key)
      scopes[i] = request[1]
    end
    redis.call('HSET', HOLDS, entry, cmsgpack.pack(scopes))
  end

  -- The waiting task of a key, or nil: its record may have been changed by a version without limits.
  local function waiter_of(key)
    local v = ask('HMGET', RECORDS .. key, 'state', 'generation', 'limits', 'when', 'deaths')
    if not v or v[1] ~= 'scheduled' or not v[3] then
      return nil
    end
    local limits = limits_of(v[3])
    if limits.g ~= v[2] or not limits.w then
      return nil
    end
    return {key = key, limits = limits, requests = limits.w, order = string.format('%d', limits.o), when = v[4],
      deaths = count_of(v[5], 0)}
  end

  -- The field `limits` of an execution, begun anew if it says nothing of it.
  local function limits_for(packed, generation, attempt, now)
    local limits = packed and limits_of(packed) or {}
    if limits.g ~= generation then
      limits = {g = generation, t = {}, d = {}, r = {}}
    end
    -- A retry is a new try: with its old place it would be served before the tasks that wait, again and again.
    if limits.a ~= attempt then
      limits.a, limits.o = attempt, tonumber(now)
    end
    return limits
  end

  -- Takes all slots or none. A task that is blocked in another scope joins that line too, at its old place: the slots
  -- that are free already are kept for it, so that a task that wants fewer cannot overtake it for ever.
  local function admit(waiter)
    local blocked = false
    for _, request in ipairs(waiter.requests) do
      if not has_room(request, waiter.order) then
        ask('ZADD', LINE .. request[1], waiter.order, waiter.key)
        blocked = true
      end
    end
    if blocked then
      return false
    end
    local entry = append(waiter.deaths > 0 and 'x' or 'f', waiter.key)
    take_slots(entry, waiter.key, waiter.requests)
    for _, request in ipairs(waiter.requests) do
      ask('ZREM', LINE .. request[1], waiter.key)
    end
    redis.call('ZREM', QUEUE, waiter.key)
    redis.call('HSET', RECORDS .. waiter.key, 'state', 'queued', 'entry', entry)
    publish(waiter.key, 'queued', waiter.when)
    admitted = admitted + 1
    return true
  end

  -- Gives the free slots of a scope to the tasks that wait for it, in order. Tasks that are blocked in another scope are
  -- passed over only while a slot is left for each of them.
  local function serve(scope)
    local passed_over = 0
    while true do
      local page = ask('ZRANGE', LINE .. scope, passed_over, passed_over)
      local key = page and page[1]
      if not key then
        return
      end
      local waiter = waiter_of(key)
      if not waiter then
        redis.call('ZREM', LINE .. scope, key)
      elseif not admit(waiter) then
        passed_over = passed_over + 1
        local size = 0
        for _, request in ipairs(waiter.requests) do
          if request[1] == scope then
            size = request[2]
          end
        end
        local held = ask('HLEN', SLOTS .. scope)
        if not held or held + passed_over >= size then
          return
        end
      end
    end
  end

  -- Lets a task ask for its limits anew that stands in the queue as one that waits, while its record does not say for
  -- what: somebody changed it, and nothing else would ever find it. True if there is such a task.
  local function ask_anew(stuck)
    redis.call('ZREM', QUEUE, stuck)
    local v = ask('HMGET', RECORDS .. stuck, 'state', 'when', 'deaths')
    if not v or v[1] ~= 'scheduled' then
      return false
    end
    local entry = append(count_of(v[3], 0) > 0 and 'x' or 'f', stuck)
    redis.call('HDEL', RECORDS .. stuck, 'limits')
    redis.call('HSET', RECORDS .. stuck, 'state', 'queued', 'entry', entry)
    publish(stuck, 'queued', v[2])
    admitted = admitted + 1
    return true
  end

  -- Gives the slots of an entry that is gone to the tasks that wait for them. Wakes nobody.
  local function release(entry)
    local packed = ask('HGET', HOLDS, entry)
    if not packed then
      return
    end
    redis.call('HDEL', HOLDS, entry)
    local scopes = scopes_of(packed)
    for _, scope in ipairs(scopes) do
      ask('HDEL', SLOTS .. scope, entry)
    end
    for _, scope in ipairs(scopes) do
      serve(scope)
    end
  end

  local function wake_for_admitted()
    if admitted > 0 then
      wake_idle()
    end
  end

  -- Frees the place in line, and the reserved time, of a scheduled task that is taken away (cancelled, replaced).
  local function leave(key, packed)
    local limits = limits_of(packed)
    for scope, _ in pairs(limits.r) do
      ask('ZREM', PREFIX .. ':rate-ahead:' .. scope, key .. '/' .. limits.g)
    end
    for scope, _ in pairs(limits.d) do
      local first = scopes_of(ask('GET', PREFIX .. ':debounce:' .. scope) or '')
      if first[1] == key and first[2] == limits.g then
        redis.call('DEL', PREFIX .. ':debounce:' .. scope)
      end
    end
    for _, request in ipairs(limits.w or {}) do
      ask('ZREM', LINE .. request[1], key)
    end
    for _, request in ipairs(limits.w or {}) do
      serve(request[1])
    end
    wake_for_admitted()
  end

  made = {ask = ask, has_room = has_room, take_slots = take_slots, waiter_of = waiter_of, admit = admit, serve = serve,
    ask_anew = ask_anew, release = release, wake_for_admitted = wake_for_admitted, leave = leave, line = LINE,
    slots = SLOTS, limits_of = limits_of, limits_for = limits_for, scopes_of = scopes_of}
  return made
end

-- Ends the run of an entry: takes it out of its stream, and gives its slots to those who wait for them. Nothing else
-- takes a single entry out of a stream, so no script can forget the slots (exchange.lua ends many entries at once).
local function end_entry(entry)
  if not entry then
    return
  end
  local stream, id = STREAMS[string.sub(entry, 1, 1)], string.sub(entry, 2)
  -- Only an entry that a consumer has read can be acknowledged; deleting it as well is right for one that waits too.
  -- A record names what its writer wrote: an entry that is none is in no stream.
  if stream and check(redis.pcall('XACK', stream, GROUP, id), 'Invalid stream ID') then
    redis.call('XDEL', stream, id)
  end
  if redis.call('EXISTS', HOLDS) == 1 then
    limiting().release(entry)
    limiting().wake_for_admitted()
  end
end
