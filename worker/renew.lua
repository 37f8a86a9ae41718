-- uses: aside room
-- A worker's proof of life in one shard.
-- ARGV   w worker, ttl ms, [born] = register, held: list of held members the worker believes it has, [leave] = drained
-- Reply  {now, 'ok' | 'lost', lost members...}. Lost lease: come back under a new worker id, never under the old one (I9).
local known = redis.call('ZSCORE', shard.workers, A.w)
if A.leave then
  -- What it still holds, by a claim whose reply was lost, is the reaper's, and only a lease that is over leads there.
  if redis.call('ZLEXCOUNT', shard.held, '[' .. A.w .. '|', '[' .. A.w .. '|\255') > 0 then
    redis.call('ZADD', shard.workers, LEFT, A.w)
  else
    redis.call('ZREM', shard.workers, A.w)
  end
  return reply({NOW, 'ok'})
end
if not known and not A.born then return reply({NOW, 'lost'}) end
redis.call('ZADD', shard.workers, REAL + A.ttl, A.w)
local answer = {NOW, 'ok'}
for _, member in ipairs(A.held) do
  if not redis.call('ZSCORE', shard.held, member) then answer[#answer + 1] = member end
end
return reply(answer)
