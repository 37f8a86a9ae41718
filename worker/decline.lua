-- uses: instance
-- Puts intents back for a while: this worker does not know the workflow (F24). Nothing is consumed or failed; the count
-- on the instance lets its status say why it does not move.
-- ARGV   items: list of {i, m member}, delay ms
-- Reply  how many were still there. Sent twice: the same.
local n = 0
for _, a in ipairs(A.items) do
  if redis.call('ZSCORE', shard.intents, a.m) and instance.load(a.i) then
    redis.call('ZADD', shard.intents, REAL + A.delay, a.m)
    redis.call('HINCRBY', instance.load(a.i).h, 'declined', 1)
    n = n + 1
  end
end
return reply(n)
