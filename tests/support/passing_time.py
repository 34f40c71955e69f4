"""Time that passes when a test says so, on a server whose clock cannot be set.

Only differences count: the clock has gone on by some time once every instant that a docket has
stored, every time to live and the beginning of every lease lie that much further back.
"""

from typing import Any

#: What waits for a slot stands in the queue with this time, which never comes.
NEVER = 253402300800000

#: ARGV: the prefix of the docket's keys, milliseconds, NEVER.
SOURCE = """
local ms, never = tonumber(ARGV[2]), tonumber(ARGV[3])
local function go_back(key, field)
  local at = tonumber(redis.call('HGET', key, field) or '')
  if at then
    redis.call('HSET', key, field, string.format('%d', at - 1000 * ms))
  end
end
local function earlier(at)
  return at == '' and at or string.format('%d', at - 1000 * ms)
end
local function pauses_go_back(key)
  local found = redis.call('HGETALL', key)
  for i = 1, #found, 2 do
    local pause = cmsgpack.unpack(found[i + 1])
    pause[1], pause[2] = earlier(pause[1]), earlier(pause[2])
    redis.call('HSET', key, found[i], cmsgpack.pack(pause))
  end
end
local function age(stream)
  local pending = redis.pcall('XPENDING', stream, 'workers', '-', '+', 10000)
  for _, p in ipairs(pending.err and {} or pending) do
    redis.call('XCLAIM', stream, 'workers', p[2], 0, p[1], 'IDLE', p[3] + ms, 'JUSTID')
  end
end
local by_type = {
  hash = function(key)
    if key == ARGV[1] .. ':pauses' then
      return pauses_go_back(key)
    end
    for _, field in ipairs({
      'when', 'started_at', 'completed_at', 'last_success', 'last_failure', 'progress_updated_at',
    }) do
      go_back(key, field)
    end
  end,
  stream = age,
  zset = function(key)
    if string.find(':queue:workers:failed', string.sub(key, #ARGV[1] + 1), 1, true) then
      for _, member in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', '(' .. never)) do
        redis.call('ZINCRBY', key, -ms, member)
      end
    end
  end,
  string = function(key)
    if key == ARGV[1] .. ':watch' then
      redis.call('SET', key, string.format('%d', redis.call('GET', key) - ms), 'KEEPTTL')
    end
  end,
}
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':*')) do
  local visit = by_type[redis.call('TYPE', key)['ok']]
  if visit then
    visit(key)
  end
  local left = redis.call('PTTL', key)
  if left >= 0 then
    redis.call('PEXPIRE', key, left - ms)
  end
end
return 1
"""


def pass_time(client: Any, prefix: str, milliseconds: int) -> None:
    """Lets time pass for one docket.

    Args:
        client: redis-py's, blocking.
        prefix: of the docket's keys.
        milliseconds: how much.
    """
    client.eval(SOURCE, 0, prefix, milliseconds, NEVER)
