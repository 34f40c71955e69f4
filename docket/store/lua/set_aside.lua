-- set_aside: give keys of the docket that somebody overwrote with another type another name, so that work goes on.
-- What they held is lost to the docket in any case, and may be somebody's.
--
-- KEYS  any that stand in the way of all work if they are not of their type
-- ARGV  1 prefix  2.. the type of each
-- Reply the name and type of each that was set aside, flat; its new name is prefix:set-aside:NAME
local found = {}
for i, name in ipairs(KEYS) do
  local kind = redis.call('TYPE', name).ok
  if kind ~= 'none' and kind ~= ARGV[1 + i] then
    redis.call('RENAME', name, ARGV[1] .. ':set-aside' .. string.sub(name, #ARGV[1] + 1))
    found[#found + 1], found[#found + 2] = name, kind
  end
end
return found
