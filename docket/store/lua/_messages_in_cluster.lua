-- Messages in a cluster. An ordinary message goes to all nodes of it, a sharded one (since Redis 7.0) to those of one shard.
-- So each is sent in the way in which somebody listens, if anybody does. Who listens is asked of this node, since it serves
-- the docket and this library subscribes here.
--
-- A subscriber of ours that knows sharded messages listens to both kinds: to the ordinary channel, since workers and
-- producers of an earlier version publish there, and to the sharded one, whose name nobody else uses. So where ordinary
-- subscribers outnumber the sharded ones, there are others (an earlier version, a client of somebody's own), and the
-- ordinary message reaches everybody; else the sharded one does. Never both: nobody is to hear one event twice.
-- Asked once a call. A server that refuses a question, since it is older or since the user may not ask it, replies with an
-- error, which has no number in it: then the message is an ordinary one.
local has_patterns

-- Takes the arguments of PUBLISH, like redis.call elsewhere.
local function tell(_, channel, message)
  if has_patterns == nil then
    has_patterns = not redis.REDIS_VERSION_NUM or redis.pcall('PUBSUB', 'NUMPAT') ~= 0
  end
  if not has_patterns then
    local ordinary = redis.pcall('PUBSUB', 'NUMSUB', channel)[2]
    if ordinary == 0 then
      return
    end
    -- In the slot of the docket too. As in keys.py.
    local sharded = string.gsub(channel, '}', '}:sharded', 1)
    local count = redis.pcall('PUBSUB', 'SHARDNUMSUB', sharded)[2]
    -- Whoever listens to sharded messages hears ordinary ones too, if this user may not send the others.
    if ordinary and count and count >= ordinary and type(redis.pcall('SPUBLISH', sharded, message)) == 'number' then
      return
    end
  end
  redis.call('PUBLISH', channel, message)
end
