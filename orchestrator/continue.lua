-- uses: decision room
-- Goes on with what a call has left over in an instance, by one slice (I12): the records of an ended life or of one
-- that is to be rolled back, a walk over
-- those of one that was paused or resumed, parts of a decision, mail, steps that are due, those who wait for its end.
-- ARGV   m = unfinished member, g generation, stopped = failure blob for who waits for a terminated one, unreadable = for
--        who waits for one of which cannot be read how it ended
-- Reply  1 there is more | 0. Sent twice: one slice more. Crash right after: the instance says how far it has come.
local I = instance.load(1)
if not I or I.gen ~= A.g then
  redis.call('ZREM', shard.unfinished, A.m)
  return reply(0)
end
if I.rest.told then
  ending.tell_some(I, ending.outcome(I, A.stopped, A.unreadable))
end
if I.rest.clear and FINAL[I.st] then
  -- What it ended with stays behind its last entry.
  local last = redis.call('RPOP', I.j)
  ending.withdraw_some(I)
  if last then redis.call('RPUSH', I.j, last) end
elseif not FINAL[I.st] then
  if I.rest.walk then pausing.walk(I) end
  if I.rest.clear then undoing.clear(I) end
  if I.rest.at and budget > 0 then decision.take_part(I) end
  mailbox.match(I)
  pump(I)
end
flush()
if not instance.is_unfinished(I) then
  redis.call('ZREM', shard.unfinished, A.m)
  return reply(0)
end
-- Others first, before the next slice of this one.
redis.call('ZADD', shard.unfinished, 'XX', REAL, A.m)
return reply(1)
