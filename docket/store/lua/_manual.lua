-- Shared by the scripts for executions that are run by hand, without a consumer of the streams. An entry that begins
-- with h names a run that was claimed by hand: it is in no stream, so it is neither renewed nor redelivered.

local function is_live(state)
  return state == 'scheduled' or state == 'queued' or state == 'running'
end

-- A consumer is called after its worker, with a part of its own after the last dot.
local function worker_of(consumer)
  consumer = consumer or ''
  return string.match(consumer, '^(.*)%.[^.]*$') or consumer
end

-- Fails if the record was overwritten, since the caller named this one; what is there is left alone.
local function read_sound(key)
  local record = read_record(key)
  if broken[1] then
    return error('WRONGTYPE the record of task ' .. key .. ' was overwritten by a ' .. broken[2], 0)
  end
  return record
end

-- The record of `key` if it is of this generation (0: of any) and, if an entry is known, of that very run.
local function find(key, generation, entry)
  local record = read_sound(key)
  if generation ~= '0' and record.generation ~= generation then
    return nil
  end
  if entry ~= '' and record.entry ~= entry then
    return nil
  end
  return record
end

-- Writes the record of an execution that was never scheduled. `call` is {function, call, when (us), attempt}.
local function write_new(key, record, call)
  redis.call('DEL', RECORDS .. key)
  record.generation = string.format('%d', count_of(record.generation, 0) + 1)
  record.when, record.started_at, record.worker, record.cancel, record.deaths = call[3], false, false, false, 0
  redis.call('HSET', RECORDS .. key, 'generation', record.generation, 'function', call[1], 'call', call[2],
    'when', call[3], 'attempt', call[4], 'state', 'queued', 'entry', '')
end

-- Takes a live execution out of the place where it waits, or away from the worker that runs it.
local function take_away(key, record)
  if record.state == 'scheduled' then
    redis.call('ZREM', QUEUE, key)
    local limits = redis.call('HGET', RECORDS .. key, 'limits')
    if limits then
      limiting().leave(key, limits)
    end
  elseif record.entry and STREAMS[string.sub(record.entry, 1, 1)] then
    end_entry(record.entry)
  end
end
