-- Removes delivered messages, unless another one took the place meanwhile.
-- KEYS   relay          ARGV   ids, blobs
-- Reply  how many were removed. Sent twice: 0. Not sent: delivered again, which every target bears.
local relay = KEYS[1]
local n = 0
for at, id in ipairs(A.ids) do
  if redis.call('HGET', relay, id) == A.blobs[at] then n = n + redis.call('HDEL', relay, id) end
end
return reply(n)
