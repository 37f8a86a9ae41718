-- Puts intents back for a while: this worker does not know the workflow (F24). Nothing is consumed or failed.
-- ARGV   members, delay ms
-- Reply  how many were still there. Sent twice: the same.
local n = 0
for _, member in ipairs(A.members) do
  if redis.call('ZSCORE', INTENTS, member) then
    redis.call('ZADD', INTENTS, REAL + A.delay, member)
    n = n + 1
  end
end
return reply(n)
