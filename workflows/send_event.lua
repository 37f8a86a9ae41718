-- Stores an event durably, then delivers it if somebody waits (I6, F25-F28).
-- ARGV   items: list of {i, ev, ty, p}: instance, event id, type, payload blob; max: events kept per mailbox;
--        [owner]: only act while this owner holds the shard for at least a second (the pub/sub bridge)
-- Reply  list of 'delivered' | 'buffered' | 'ended' | 'unknown' | 'full' | 'not-owner'. Same event id: the first answer.
if A.owner then
  local o = redis.call('HMGET', OWNER, 'token', 'since')
  if o[1] ~= A.owner or tonumber(o[2]) + 1000 > REAL then return reply({'not-owner'}) end
end
local answers = {}
for at, a in ipairs(A.items) do
  local I = instance(a.i)
  local before = I and remembered(I, a.ev)
  if not I then
    answers[at] = 'unknown'
  elseif before then
    answers[at] = before
  elseif FINAL[I.st] then
    answers[at] = 'ended'
  elseif redis.call('HLEN', I.m) >= A.max then
    answers[at] = 'full'
  else
    local number = redis.call('HINCRBY', I.m, 'n', 1)
    redis.call('HSET', I.m, 'e:' .. number, cmsgpack.pack({p = a.p, et = NOW, ev = a.ev}))
    local mail = numbers(redis.call('HGET', I.m, 't:' .. a.ty))
    insert_sorted(mail, number)
    put_list(I, 't:' .. a.ty, mail)
    match(I, a.ty)
    pump(I)
    local waits = redis.call('HEXISTS', I.m, 'e:' .. number) == 1
    answers[at] = remember(I, a.ev, waits and 'buffered' or 'delivered')
  end
end
flush()
return reply(answers)
