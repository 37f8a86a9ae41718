-- Notes where worker processes live, and forgets those that are over.
-- KEYS   processes          ARGV   put = map worker -> place, drop = list of workers
-- Reply  0. Sent twice: the same.
-- Without this write, a Redis without room would refuse the others, and a worker that has none is as good as dead (F45).
redis.call('PERSIST', KEYS[1])
for worker, place in pairs(A.put) do redis.call('HSET', KEYS[1], worker, place) end
for _, worker in ipairs(A.drop) do redis.call('HDEL', KEYS[1], worker) end
return reply(0)
