-- The events that subscribers hear. PREFIX and RECORDS are the docket's prefix and that of its records. Included after
-- _messages.lua.
local PREFIX = ARGV[1]
local RECORDS = PREFIX .. ':task:'

-- The keys to whose state somebody listens; nil if that is not known. See _listeners.lua.
local heard

-- Instants are texts here, in microseconds: Lua writes numbers of more than 14 digits with an exponent.
local function publish(key, state, when, worker, started_at, completed_at, reason)
  if heard and not heard[key] then
    return
  end
  tell('PUBLISH', PREFIX .. ':state:' .. key,
    state .. '\31' .. (when or '') .. '\31' .. (worker or '') .. '\31' .. (started_at or '') .. '\31'
      .. (completed_at or '') .. '\31' .. (reason or ''))
end
