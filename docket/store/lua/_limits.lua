-- Slots of concurrency limits, and who waits for them. Included after _streams.lua and _records.lua by every script
-- that drops an entry, and by those that take a waiting task away. All keys are built here, from scopes that only
-- records and holders know; they share the docket's hash tag.
--
--   {d}:slots:S      HASH  entry -> key of those who hold a slot of scope S: a slot ends with its entry, however that ends
--   {d}:holds        HASH  entry -> the scopes it holds (cmsgpack)
--   {d}:waiting:S    ZSET  key -> its place in the order of those who wait for S
--   {d}:rate:S       ZSET  key/generation -> when it began;  {d}:rate-ahead:S  -> when it is to begin
--   {d}:cooldown:S   STRING  until the window is over;       {d}:debounce:S  STRING  the last one (cmsgpack)
--
-- The field `limits` of a record (cmsgpack) says what its execution was given and what it waits for:
--   g generation, a attempt: of another execution it says nothing, of another attempt all but the order
--   o its place in the order, from its first try to get a slot: kept when its worker dies or hands it back
--   w scopes and sizes of the slots that it waits for     t what it was granted, for all its attempts
--   d when its debounce is over, by scope                 r rates it was told to come back for
--
-- A task that waits for a slot is `scheduled` and stands in the queue with a time that no datetime can name.
local HOLDS = PREFIX .. ':holds'
local NEVER = 253402300800000
local woken = 0

-- Made on first use: to make functions anew in each call is what a short script spends its time on, and hardly any call
-- needs these.
local made
local function limiting()
  if made then
    return made
  end
  local SLOTS, LINE = PREFIX .. ':slots:', PREFIX .. ':waiting:'

  -- The reply, or nil for a key that somebody overwrote: it is noted, and what it knew is unknown.
  local function ask(command, name, ...)
    local reply = redis.pcall(command, name, ...)
    if type(reply) == 'table' and reply.err then
      foreign(name, reply)
      return nil
    end
    return reply
  end

  -- Where it is not known who holds a slot there is none to give: who waits goes on once the key is removed.
  local function has_room(wish, order)
    local scope, size = wish[1], wish[2]
    local held, holds = ask('HLEN', SLOTS .. scope), ask('HLEN', HOLDS)
    if not held or not holds or held >= size then
      return false
    end
    local before = ask('ZCOUNT', LINE .. scope, '-inf', '(' .. order)
    return before and held + before < size
  end

  local function take_slots(entry, key, wishes)
    local scopes = {}
    for i, wish in ipairs(wishes) do
      redis.call('HSET', SLOTS .. wish[1], entry, key)
      scopes[i] = wish[1]
    end
    redis.call('HSET', HOLDS, entry, cmsgpack.pack(scopes))
  end

  -- Who waits under a key, or nil: its record may have been changed by whoever knows nothing of limits.
  local function waiter_of(key)
    local v = ask('HMGET', RECORDS .. key, 'state', 'generation', 'limits', 'when', 'deaths')
    if not v or v[1] ~= 'scheduled' or not v[3] then
      return nil
    end
    local limits = cmsgpack.unpack(v[3])
    if limits.g ~= v[2] or not limits.w then
      return nil
    end
    return {key = key, wishes = limits.w, order = string.format('%d', limits.o), when = v[4], deaths = tonumber(v[5] or 0)}
  end

  -- All slots at once or none. One that is blocked elsewhere stands in line there too from now on, at its old place:
  -- the slots that are free already are kept for it, so that nobody who wants less can overtake it for ever.
  local function admit(waiter)
    local blocked = false
    for _, wish in ipairs(waiter.wishes) do
      if not has_room(wish, waiter.order) then
        ask('ZADD', LINE .. wish[1], waiter.order, waiter.key)
        blocked = true
      end
    end
    if blocked then
      return false
    end
    local entry = append(waiter.deaths > 0 and 'x' or 'f', waiter.key)
    take_slots(entry, waiter.key, waiter.wishes)
    for _, wish in ipairs(waiter.wishes) do
      ask('ZREM', LINE .. wish[1], waiter.key)
    end
    redis.call('ZREM', QUEUE, waiter.key)
    redis.call('HSET', RECORDS .. waiter.key, 'state', 'queued', 'entry', entry)
    publish(waiter.key, 'queued', waiter.when)
    woken = woken + 1
    return true
  end

  -- Gives the free slots of a scope to those who wait for it, in order. Those who are blocked elsewhere are passed over
  -- only as far as there is a slot left for each of them.
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
        for _, wish in ipairs(waiter.wishes) do
          if wish[1] == scope then
            size = wish[2]
          end
        end
        local held = ask('HLEN', SLOTS .. scope)
        if not held or held + passed_over >= size then
          return
        end
      end
    end
  end

  -- The entry is gone: so are its slots, and whoever waits for them has them now. Rings no bell.
  local function release(entry)
    local packed = ask('HGET', HOLDS, entry)
    if not packed then
      return
    end
    redis.call('HDEL', HOLDS, entry)
    local scopes = cmsgpack.unpack(packed)
    for _, scope in ipairs(scopes) do
      ask('HDEL', SLOTS .. scope, entry)
    end
    for _, scope in ipairs(scopes) do
      serve(scope)
    end
  end

  local function ring_for_woken()
    if woken > 0 then
      ring()
    end
  end

  -- A scheduled task is taken away (cancelled, replaced): its place in line is free, and the time it had reserved.
  local function leave(key, packed)
    local limits = cmsgpack.unpack(packed)
    for scope, _ in pairs(limits.r or {}) do
      ask('ZREM', PREFIX .. ':rate-ahead:' .. scope, key .. '/' .. limits.g)
    end
    for scope, _ in pairs(limits.d or {}) do
      if ask('GET', PREFIX .. ':debounce:' .. scope) == cmsgpack.pack({key, limits.g}) then
        redis.call('DEL', PREFIX .. ':debounce:' .. scope)
      end
    end
    for _, wish in ipairs(limits.w or {}) do
      ask('ZREM', LINE .. wish[1], key)
    end
    for _, wish in ipairs(limits.w or {}) do
      serve(wish[1])
    end
    ring_for_woken()
  end

  made = {ask = ask, has_room = has_room, take_slots = take_slots, waiter_of = waiter_of, admit = admit, serve = serve,
    release = release, ring_for_woken = ring_for_woken, leave = leave, line = LINE,
    slots = SLOTS}
  return made
end

-- From here on, whoever drops an entry gives its slots back: there is no other way to end a run, and none can forget.
local drop_stream_entry = drop_entry
drop_entry = function(entry)
  drop_stream_entry(entry)
  if redis.call('EXISTS', HOLDS) == 1 then
    limiting().release(entry)
    limiting().ring_for_woken()
  end
end
