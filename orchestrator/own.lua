-- uses: aside room
-- Owner lease of one shard. It saves work and decides for the pub/sub bridge; no safety depends on it (M6).
-- ARGV   t token, ttl ms, [p token of the same orchestrator before it reconnected], [leave], [permit = with
--        which whoever makes an intent rings by itself while the lease lasts (PERMIT in waking.lua)]
-- Reply  {1, since} mine | {0} somebody else's | {2, since} newly mine
local o = redis.call('HMGET', shard.owner, 'token', 'expiry', 'since')
local mine = o[1] == A.t
if A.leave then
  if mine then redis.call('HDEL', shard.owner, 'token', 'expiry', 'since', 'permit') end
  return reply({0})
end
-- Who comes back need not wait for its own lease to run out.
local left = (tonumber(o[2]) or 0) - REAL
-- No lease is longer than a few of them: a shard must not stand still because of what somebody wrote there.
if o[1] and not mine and o[1] ~= A.p and left > 0 and left < 10 * A.ttl then return reply({0}) end
local since = mine and tonumber(o[3]) or REAL
redis.call('HSET', shard.owner, 'token', A.t, 'expiry', REAL + A.ttl, 'since', since)
if A.permit then redis.call('HSET', shard.owner, 'permit', A.permit) else redis.call('HDEL', shard.owner, 'permit') end
return reply({mine and 1 or 2, since})
