-- An orchestrator says it is alive, and learns how many are.
-- KEYS   orchestrators          ARGV   name, ttl ms, [leave]
-- Reply  how many are alive, this one included
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', REAL)
if A.leave then
  redis.call('ZREM', KEYS[1], A.name)
else
  redis.call('ZADD', KEYS[1], REAL + A.ttl, A.name)
  redis.call('PEXPIRE', KEYS[1], 3600000)
end
return reply(redis.call('ZCARD', KEYS[1]))
