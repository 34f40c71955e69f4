-- Puts a live record back in its place if that is empty, or none: by an XTRIM, a DEL, or a stream that was set aside. A record
-- without a place would stay for ever, and so would its key: whoever adds it again is told that it is there already.
-- For a run: only if its worker is gone, since a worker hands in what it runs without looking for the entry.
-- Its state, entry and instant are known already.
local function reinstate(key, state, entry, when, now)
  if state == 'scheduled' then
    redis.call('ZADD', QUEUE, 'NX', due_of(when), key)
    return
  end
  local letter, id = string.match(entry or '', '^([sfx])(%d+-%d+)$')
  -- A run that was claimed by hand (see _manual.lua) has no place: whoever claimed it ends it.
  local is_by_hand = string.sub(entry or '', 1, 1) == 'h'
  if is_by_hand or (letter and key_of(letter, id)) then
    return
  end
  if state == 'running' then
    local record = read_record(key)
    if not record.worker or redis.call('HEXISTS', PREFIX .. ':epochs', record.worker) == 1 then
      return
    end
    attempts().requeue(key, record, record.worker, record.deaths, now, 'worker lost')
  else
    redis.call('HSET', RECORDS .. key, 'entry', append(letter == 'x' and 'x' or 'f', key))
  end
  wake_idle()
end
