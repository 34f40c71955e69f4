-- Instants as records have them. Included after _streams.lua.

-- The microseconds of an instant, as text. What was given in another time zone than UTC has its ISO text behind them.
local function microseconds_of(when)
  return string.match(when, '^%S+')
end

-- The milliseconds at which an instant is due: rounded up, since nothing runs before its time.
local function due_of(when)
  local microseconds = microseconds_of(when)
  local due = tonumber(string.sub(microseconds, 1, -4)) or 0
  return math.min(string.sub(microseconds, -3) == '000' and due or due + 1, NEVER - 1)
end
