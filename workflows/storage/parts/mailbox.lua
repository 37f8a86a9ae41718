-- uses: record queue journal
-- Events: kept until something waits for them, handed out in order of acceptance. `match` is the only place where one
-- leaves the mailbox (I6).
local mailbox = {}

-- Rarely:

-- Taking up a value counts by its bytes too: one of the largest is a slice by itself.
local function charge_bytes(n) budget = math.max(0, budget - math.floor(n * SLICE / limits.SLICE_BYTES)) end

-- The open wait that asked first for a type, if there is one.
function mailbox.waiting_for(I, ty)
  while true do
    local member, seq = queue.first_number(I, 'w|' .. ty .. '|')
    local r = member and record.get(I, seq)
    if not member or r then return r end
    redis.call('ZREM', I.q, member)
    aside.spoil(I, I.q, member, 'its queues name a wait that is not open')
  end
end

-- The same, whatever stands in the instance's queues.
function mailbox.surely_waiting_for(I, ty)
  local r = mailbox.waiting_for(I, ty)
  if not r and queue.straighten(I) then r = mailbox.waiting_for(I, ty) end
  return r
end

-- Hands an event to an open wait. The entry stays noted until a turn has been decided over it: see `put_back`.
function mailbox.give(I, r, ty, number, e)
  record.disarm(I, r)
  redis.call('HDEL', I.o, r.seq)
  queue.add(I, 'g|' .. queue.ordered(r.seq) .. '|' .. I.len)
  record.answer(I, 'E', r, {ty = ty, p = e.p, et = e.et, ev = e.ev, ac = number, x = e.x, se = r.sensitive or e.se})
end

function mailbox.keep(I, ty, number, e)
  redis.call('HSET', I.m, 'e:' .. number, cmsgpack.pack(e))
  queue.add(I, 'm|' .. ty .. '|' .. queue.ordered(number))
end

function mailbox.look_for(I, ty, number)
  if not number then return end
  queue.add(I, 'c|' .. queue.ordered(number) .. '|' .. ty)
  I.rest.mail = 1
end

-- Puts a wait into the queues of all it listens to, and what of these is kept up for matching. Returns whether it was
-- missing in any.
function mailbox.listen(I, r)
  local was_missing = false
  for ty in record.types(r) do
    if redis.call('ZADD', I.q, 0, record.waiter(r, ty)) == 1 then
      was_missing = true
      mailbox.look_for(I, ty, select(2, queue.first_number(I, 'm|' .. ty .. '|')))
    end
    if record.has_key(ty) and redis.call('ZADD', shard.keyed(), 0, record.keyed_line(I, r, ty)) == 1 then
      was_missing = true
    end
  end
  return was_missing
end

-- Whether a wait takes what is sent with a token, an answer as the first: the wait is of the life that the token is of,
-- which is another one's than the present where a restart from a step has kept what was asked for before it (`cuts.py`),
-- and no answer is on its way.
function mailbox.is_unanswered(I, r, ty, life)
  if queue.first(I, 'm|' .. ty .. '|') then return false end
  if life == I.gen then return true end
  for _, cut in ipairs(journal.body_of(I.j, 0).cu or {}) do
    if r.seq < cut[2] then return life == cut[3] end
  end
  return false
end

-- Whether an event that this wait may be given has been accepted, and slices have not come to it yet: it came in time.
function mailbox.is_on_its_way(I, r)
  if not (I.rest.mail or I.rest.at) then return false end
  for ty in record.types(r) do
    if queue.first(I, 'm|' .. ty .. '|') then return true end
  end
  return false
end

-- An event of the mailbox; nil when it cannot be read.
function mailbox.event(I, number)
  local ok, e = pcall(cmsgpack.unpack, redis.call('HGET', I.m, 'e:' .. number))
  if ok and type(e) == 'table' and e.p and e.et and e.ev then return e end
  aside.spoil(I, I.m, 'e:' .. number, 'an event of its mailbox cannot be read')
end

-- While a type has mail and an open wait, its oldest event goes to the wait that asked first; of several types, the
-- event that was accepted first goes first (I6). So nothing is matched until all that was asked for at once is open.
function mailbox.match(I)
  while I.rest.mail and not I.rest.at and budget > 0 do
    budget = budget - 1
    local candidate = queue.first(I, 'c|')
    if not candidate then
      I.rest.mail = nil
      return
    end
    redis.call('ZREM', I.q, candidate)
    local ty = string.match(candidate, '^c|[^|]*|(.*)$') or ''
    local mail, number = queue.first_number(I, 'm|' .. ty .. '|')
    local r = mailbox.waiting_for(I, ty)
    if number and r then
      if 'c|' .. queue.ordered(number) .. '|' .. ty == candidate then
        local e = mailbox.event(I, number)
        redis.call('HDEL', I.m, 'e:' .. number)
        redis.call('ZREM', I.q, mail)
        if e then
          charge_bytes(#e.p)
          mailbox.give(I, r, ty, number, e)
        end
        number = select(2, queue.first_number(I, 'm|' .. ty .. '|'))
      end
      mailbox.look_for(I, ty, number)
    end
  end
end

-- Bytes of events that this call has put back.
mailbox.returned = 0

-- A wait that was given up may have received its event in an entry nobody will use: that event goes back to its place.
-- Of a detached wait only an entry that has been fed counts: one beyond `limit` may still be of use, if the wait is
-- awaited again. An entry is found in vain once more when it is fed; the note is gone by then.
function mailbox.put_back(I, seq, limit)
  local found = false
  local prefix = 'g|' .. queue.ordered(seq) .. '|'
  for _, member in ipairs(redis.call('ZRANGEBYLEX', I.q, '[' .. prefix, '(' .. prefix .. '\255')) do
    local index = tonumber(string.sub(member, #prefix + 1))
    local e = index and index < limit and journal.body_of(I.j, index)
    if e and e.ty and e.ac then
      redis.call('ZREM', I.q, member)
      mailbox.keep(I, e.ty, e.ac, {p = e.p, et = e.et, ev = e.ev, x = e.x, se = e.se})
      mailbox.returned = mailbox.returned + #e.p
      charge_bytes(#e.p)
      mailbox.look_for(I, e.ty, e.ac)
      found = true
    end
  end
  return found
end
