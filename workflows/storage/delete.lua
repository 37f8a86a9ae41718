-- uses: ending room streams
-- Removes every key of an instance (I8, F56); one that waits for it is told (a deleted child is an outcome).
-- KEYS   behind the instance's: where more open records are put than one call can take back
-- ARGV   remains = the end of that key's name; x = failure blob for a parent that waits; [gen] + [retire]: only when
--        ended and its retention is over
-- Reply  {'deleted', [queue, intent nonce] ...} with the doorbells still standing in RQ | {'unknown'} | {'kept'}
local I = instance.load(1)
if not I then
  if A.retire then redis.call('ZREM', shard.retire, A.retire) end
  if not instance.is_unreadable(1) or A.retire then return reply({'unknown'}) end
  -- The sweep takes what still names it out of the shard (I8).
  streams.drop(KEYS[instance.place(1)])
  redis.call('UNLINK', unpack(KEYS, instance.place(1), instance.place(2) - 1))
  return reply({'deleted'})
end
if A.retire then
  local due = redis.call('ZSCORE', shard.retire, A.retire)
  if I.gen ~= A.gen then
    redis.call('ZREM', shard.retire, A.retire)
    return reply({'kept'})
  end
  if not FINAL[I.st] or not due or tonumber(due) > NOW then return reply({'kept'}) end
end
if not FINAL[I.st] or I.rest.told then ending.tell_all(I, {x = A.x, st = 'deleted'}) end
local bells = ending.abandon(I, KEYS[#KEYS], A.remains)
streams.drop(I.h)
instance.unlist(I)
redis.call('ZREM', shard.retire, instance.retire_member(I))
redis.call('UNLINK', I.h, I.j, I.c)
ending.announce(I, 'deleted')
return reply({'deleted', unpack(bells)})
