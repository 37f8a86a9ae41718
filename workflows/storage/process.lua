-- Notes where worker processes live, and forgets those that are over.
-- KEYS   processes          ARGV   put = map worker -> place, drop = list of workers
-- Reply  0. Sent twice: the same.
-- Without this write, a Redis without room would refuse the others, and a worker that has none is as good as dead (F45).
local processes = KEYS[1]
redis.call('PERSIST', processes)
for worker, place in pairs(A.put) do redis.call('HSET', processes, worker, place) end
for _, worker in ipairs(A.drop) do redis.call('HDEL', processes, worker) end
return reply(0)
