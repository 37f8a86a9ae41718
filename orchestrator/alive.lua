-- An orchestrator says it is alive, and learns how many are.
-- KEYS   orchestrators          ARGV   name, ttl ms, [leave]
-- Reply  how many are alive, this one included
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', REAL)
-- Nobody is alive for so long: counted, it would leave shards to an orchestrator that is not there.
if A.ttl > 0 then redis.call('ZREMRANGEBYSCORE', KEYS[1], REAL + 10 * A.ttl, '+inf') end
if A.leave then
  redis.call('ZREM', KEYS[1], A.name)
else
  redis.call('ZADD', KEYS[1], REAL + A.ttl, A.name)
  redis.call('PEXPIRE', KEYS[1], 3600000)
end
return reply(redis.call('ZCARD', KEYS[1]))
