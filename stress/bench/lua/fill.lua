-- fill: add many tasks to the baseline's docket, as its producer would.
--
-- KEYS  1 stream  2 front  3 bell
-- ARGV  1 prefix  2 function  3 call  4.. the keys
-- Reply how many
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
for _, stream in ipairs({KEYS[1], KEYS[2]}) do
  redis.pcall('XGROUP', 'CREATE', stream, 'workers', '0', 'MKSTREAM')
end
for i = 4, #ARGV do
  local key = ARGV[i]
  local entry = redis.call('XADD', KEYS[1], '*', 'k', key)
  redis.call('HSET', ARGV[1] .. ':task:' .. key, 'state', 'queued', 'generation', 1, 'entry', entry,
    'function', ARGV[2], 'call', ARGV[3], 'when', now, 'attempt', 1, 'token', key)
  redis.call('PUBLISH', ARGV[1] .. ':state:' .. key, 'queued\31' .. now)
end
if redis.call('LLEN', KEYS[3]) == 0 then
  redis.call('LPUSH', KEYS[3], '1')
end
return #ARGV - 3
