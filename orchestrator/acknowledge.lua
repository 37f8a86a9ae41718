-- Removes delivered messages, unless another one took the place meanwhile.
-- KEYS   relay          ARGV   ids, blobs
-- Reply  how many were removed. Sent twice: 0. Not sent: delivered again, which every target bears.
local n = 0
for at, id in ipairs(A.ids) do
  if redis.call('HGET', KEYS[1], id) == A.blobs[at] then n = n + redis.call('HDEL', KEYS[1], id) end
end
return reply(n)
