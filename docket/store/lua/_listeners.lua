-- Included where so many events are `expected` that it is worth asking who listens, for all that this call publishes from
-- here on. A message takes as long as to write a record, whether anybody hears it or not; to ask takes as long as ten. Whoever
-- subscribes while a script runs is served after it, so the answer holds to its end. A block and no function, since to make
-- one in each call takes time as well. In a cluster there is nothing in its place: see _messages_in_cluster.lua.
if not heard and expected >= 16 then
  -- The server can tell if all who may hear a message are subscribed to its very channel, and at this server: a pattern
  -- has no channel; subscribers of a replica hear what is replicated to it, now or out of the backlog once it is back; those
  -- of a cluster hear what any of its nodes publishes. Before Redis 7.0, of which the version is, INFO takes one section a
  -- call. And the user may not be allowed to ask.
  local patterns = redis.REDIS_VERSION_NUM and redis.pcall('PUBSUB', 'NUMPAT')
  local info = patterns == 0 and redis.pcall('INFO', 'replication', 'cluster', 'stats')
  if type(info) == 'string' and string.find(info, 'repl_backlog_active:0', 1, true)
    and string.find(info, 'cluster_enabled:0', 1, true) then
    -- To list channels takes the longer the more there are, whosever they are: for many, publishing takes less.
    local _, at = string.find(info, 'pubsub_channels:', 1, true)
    if at and tonumber(string.match(info, '^%d+', at + 1)) <= expected then
      local start = PREFIX .. ':state:'
      local names = redis.pcall('PUBSUB', 'CHANNELS', string.gsub(start, '[%[%]*?\\]', '\\%0') .. '*')
      heard = not names.err and {} or nil
      for _, name in ipairs(names) do
        heard[string.sub(name, #start + 1)] = true
      end
    end
  end
end
