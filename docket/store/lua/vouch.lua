--@include _streams.lua
--@include _entries.lua
-- vouch: beat and renew for a consumer that cannot do so itself, although its process lives.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup  6 workers  7 epochs  8 worker-tasks
-- ARGV  1 prefix  2 consumer  3 lifetime of its keys without a beat (ms)
-- Reply 1, or 0 if it was fenced
local consumer, PAGE = ARGV[2], 1000
if redis.call('HEXISTS', KEYS[7], consumer) == 0 then
  return 0
end
redis.call('ZADD', KEYS[6], server_now(), consumer)
redis.call('PEXPIRE', KEYS[8], ARGV[3])
redis.call('PEXPIRE', ARGV[1] .. ':worker-info:' .. consumer, ARGV[3])
for _, name in ipairs(redis.call('SMEMBERS', KEYS[8])) do
  redis.call('PEXPIRE', ARGV[1] .. ':task-workers:' .. name, ARGV[3])
end
for _, letter in ipairs(LETTERS) do
  for _, p in ipairs(pending_of(letter, '-', '+', PAGE, consumer)) do
    -- Only entries that exist: see renew.
    if key_of(letter, p[1]) then
      check(redis.pcall('XCLAIM', STREAMS[letter], GROUP, consumer, 0, p[1], 'JUSTID'), 'NOGROUP', 'WRONGTYPE')
    end
  end
end
return 1
