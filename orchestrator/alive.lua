-- An orchestrator says it is alive, and learns how many are.
-- KEYS   orchestrators          ARGV   name, ttl ms, [leave]
-- Reply  how many are alive, this one included
local orchestrators = KEYS[1]
redis.call('ZREMRANGEBYSCORE', orchestrators, '-inf', REAL)
-- Nobody is alive for so long: counted, it would leave shards to an orchestrator that is not there.
if A.ttl > 0 then redis.call('ZREMRANGEBYSCORE', orchestrators, REAL + 10 * A.ttl, '+inf') end
if A.leave then
  redis.call('ZREM', orchestrators, A.name)
else
  redis.call('ZADD', orchestrators, REAL + A.ttl, A.name)
  redis.call('PEXPIRE', orchestrators, 3600000)
end
return reply(redis.call('ZCARD', orchestrators))
