-- uses: instance
-- Results that are streams of bytes (`byte_stream.py`), of instances by the key of their header.
--
-- A hash says which there are: seq of the step -> token|chunks|bytes|state, with state 'w' while an attempt writes it and
-- 'k' once it is the step's result. The chunks of each are a list, under the token of that attempt, so that those of two
-- never mix. It expires, a little after the attempt would time out, until it is the result.
local streams = {}

-- Rarely:

-- `streams` and `chunks` in keys.py.
function streams.index(header) return string.sub(header, 1, -2) .. 'b' end
function streams.chunks(header, token) return streams.index(header) .. ':' .. token end

-- Of a field of the index: token, number of chunks, bytes, state. Nil when it is none.
function streams.parsed(text)
  local token, chunks, bytes, state = string.match(text, '^([%w_-]+)|(%d+)|(%d+)|([kw])$')
  return token, tonumber(chunks), tonumber(bytes), state
end

function streams.note(header, seq, token, chunks, bytes, state)
  local text = string.format('%s|%.0f|%.0f|%s', token, chunks, bytes, state)
  redis.call('HSET', streams.index(header), seq, text)
end

-- All of an instance, as fields and texts by turns.
function streams.known(header)
  local found = server.pcall('HGETALL', streams.index(header))
  if not found.err then return found end
  redis.call('UNLINK', streams.index(header))
  aside.note(streams.index(header), '', 'was no hash and has been removed')
  return {}
end

function streams.forget(header, field, token)
  redis.call('HDEL', streams.index(header), field)
  if token then redis.call('UNLINK', streams.chunks(header, token)) end
end

-- Rarely:

-- Whether so many chunks of an attempt are there.
function streams.are_there(header, token, chunks)
  return server.pcall('LLEN', streams.chunks(header, token)) == chunks
end

-- What an attempt has written is the result of its step. False where some of it is not there any more; nothing is
-- written then.
function streams.keep(I, seq, token, stream)
  local chunks, bytes = stream[1], stream[2]
  if not streams.are_there(I.h, token, chunks) then return false end
  if chunks > 0 then
    redis.call('PERSIST', streams.chunks(I.h, token))
    streams.note(I.h, seq, token, chunks, bytes, 'k')
  end
  return true
end

-- Rarely:

-- Removes all streams but those that are results of steps before `seq`.
function streams.drop(header, seq)
  local all = streams.known(header)
  for at = 1, #all, 2 do
    local token, _, _, state = streams.parsed(all[at + 1])
    if state ~= 'k' or not seq or tonumber(all[at]) >= seq then streams.forget(header, all[at], token) end
  end
end

-- Rarely:

-- Removes what an attempt has written, unless it is the result of its step.
function streams.withdraw(I, seq, token)
  local text = redis.call('HGET', streams.index(I.h), seq)
  local mine, _, _, state = streams.parsed(text or '')
  if mine == token and state == 'w' then streams.forget(I.h, seq, token) end
end

-- Rarely:

-- How many other streams an instance has, and their bytes, and how many bytes that of this attempt has. What attempts
-- before it have written is removed, and what has expired is forgotten.
local function weigh(I, seq, token)
  local count, bytes, mine, all = 0, 0, 0, streams.known(I.h)
  for at = 1, #all, 2 do
    local by, _, size, state = streams.parsed(all[at + 1])
    local is_same = tonumber(all[at]) == seq
    if is_same and by == token then
      mine = size
    elseif is_same or not by or state == 'w' and redis.call('EXISTS', streams.chunks(I.h, by)) == 0 then
      streams.forget(I.h, all[at], by)
    else
      count, bytes = count + 1, bytes + size
    end
  end
  return count, bytes, mine
end

-- Takes in the chunk behind the first `n` of an attempt. Returns 'taken', also where it was before; 'full', when the
-- instance would have more streams or bytes than it may; 'lost', when one before it is not there any more.
function streams.take(I, seq, token, n, chunk, ttl)
  if streams.are_there(I.h, token, n + 1) then return 'taken' end
  if not streams.are_there(I.h, token, n) then return 'lost' end
  local count, bytes, mine = weigh(I, seq, token)
  if count >= limits.STREAMS or bytes + mine + #chunk > limits.STREAMS_BYTES then return 'full' end
  redis.call('RPUSH', streams.chunks(I.h, token), chunk)
  if n == 0 then redis.call('PEXPIRE', streams.chunks(I.h, token), ttl) end
  streams.note(I.h, seq, token, n + 1, mine + #chunk, 'w')
  return 'taken'
end
