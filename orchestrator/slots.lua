-- uses: waking
-- Counts those that run at a time, of the workflows and keys whose slots lie in this shard, and gives what is free to
-- those who wait: woken ones before new ones, then the oldest.
-- KEYS   behind the shard's: slots, who has one; slotq, who waits
-- ARGV   items: list of {wf, id, gen, n, key, ord, st}, what instances say of themselves (SLOT in slot.lua);
--        limits: workflow -> limit, 0 for no limit; one that is not there is not known, and nothing is given to it; [from]: go through all who wait, from behind this member on
-- Reply  {how many items were taken in, where the next call is to go on among those who wait, false when all were looked at}
-- An item counts by instance, generation and number of the asking, so a late or doubled one changes nothing that is true.
-- What is given is told by a message under an id of the same, and given back if it is not wanted any more.
local slots, slotq = KEYS[SHARD_KEYS + 1], KEYS[SHARD_KEYS + 2]
for _, key in ipairs({slots, slotq}) do
  local kind = server.call('TYPE', key).ok
  if kind ~= 'zset' and kind ~= 'none' then
    server.call('UNLINK', key)
    aside.note(key, '', 'was a ' .. kind .. ' and has been removed')
  end
end
local function who(a) return a.id .. '|' .. a.gen .. '|' .. string.format('%.0f', a.n) end
local function grant(wf, key, ord, id, gen, n)
  redis.call('HSET', shard.relay, 'g|' .. wf .. '|' .. id .. '|' .. gen .. '|' .. n,
    cmsgpack.pack({op = 'grant', wf = wf, id = id, gen = gen, n = tonumber(n), key = key, ord = ord}))
  wake()
end
-- Gives what is free. Returns whether there is more to give than one call may.
local function give(group)
  local limit = A.limits[string.match(group, '^[^|]*')]
  if not limit then return false end
  local free = limit == 0 and budget + 1
    or limit - redis.call('ZLEXCOUNT', slots, '[' .. group .. '|', '(' .. group .. '|\255')
  if free <= 0 then return false end
  local most = math.min(free, budget)
  local next_ones = most > 0 and redis.call('ZRANGEBYLEX', slotq, '[' .. group .. '|', '(' .. group .. '|\255', 'LIMIT', 0, most) or {}
  for _, member in ipairs(next_ones) do
    redis.call('ZREM', slotq, member)
    budget = budget - 1
    local wf, key, ord, id, gen, n = string.match(member, '^([^|]+)|([^|]+)|(%d+)|([^|]+)|([^|]+)|(%d+)$')
    if wf then
      redis.call('ZADD', slots, 0, wf .. '|' .. key .. '|' .. id .. '|' .. gen .. '|' .. n)
      grant(wf, key, ord, id, gen, n)
    else
      aside.note(slotq, member, 'does not wait for a slot')
    end
  end
  return free > most
end
local taken = 0
for _, a in ipairs(A.items) do
  if budget == 0 then break end
  taken = taken + 1
  local group = a.wf .. '|' .. a.key
  local holder, waiter = group .. '|' .. who(a), group .. '|' .. a.ord .. '|' .. who(a)
  if a.st == '-' then
    redis.call('ZREM', slots, holder)
    redis.call('ZREM', slotq, waiter)
  elseif a.st == 'h' then
    if redis.call('ZADD', slots, 0, holder) == 1 then grant(a.wf, a.key, a.ord, a.id, a.gen, who(a):match('%d+$')) end
  elseif redis.call('ZSCORE', slots, holder) then
    grant(a.wf, a.key, a.ord, a.id, a.gen, who(a):match('%d+$'))
  else
    redis.call('ZADD', slotq, 0, waiter)
  end
  give(group)
end
if not A.from then return reply({taken, false}) end
local from, looked = A.from, 0
while budget > 0 and looked < SLICE do
  local member = redis.call('ZRANGEBYLEX', slotq, from == '' and '-' or '(' .. from, '+', 'LIMIT', 0, 1)[1]
  if not member then return reply({taken, false}) end
  local group = string.match(member, '^[^|]*|[^|]*')
  looked = looked + 1
  if not group or not give(group) then from = (group or member) .. '|\255' end
end
return reply({taken, from})
