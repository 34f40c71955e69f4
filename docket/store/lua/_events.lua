-- The events that subscribers hear. PREFIX and RECORDS are the docket's prefix and that of its records.
local PREFIX = ARGV[1]
local RECORDS = PREFIX .. ':task:'

-- Instants are texts here, in microseconds: Lua writes numbers of more than 14 digits with an exponent.
local function publish(key, state, when, worker, started_at, completed_at, reason)
  redis.call('PUBLISH', PREFIX .. ':state:' .. key,
    state .. '\31' .. (when or '') .. '\31' .. (worker or '') .. '\31' .. (started_at or '') .. '\31'
      .. (completed_at or '') .. '\31' .. (reason or ''))
end
