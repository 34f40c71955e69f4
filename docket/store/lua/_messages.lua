-- Messages, for scripts that publish. In a cluster, _messages_in_cluster.lua takes the place of this file. No function of our
-- own: to make one in each call takes time.
local tell = redis.call
