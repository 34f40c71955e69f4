--@include _streams.lua
-- wake_idle: pass on a wake-up token that was taken by a worker with no free slot.
--
-- KEYS  1 stream  2 redelivery  3 quarantine  4 queue  5 wakeup
-- ARGV  none
-- Reply 1
wake_idle()
return 1
