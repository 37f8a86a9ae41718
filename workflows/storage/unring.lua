-- Takes doorbells off a queue: their instance is gone.
-- KEYS   queue, then the job keys          ARGV   ids
-- Reply  how many jobs were there. Sent twice: 0.
local waiting = KEYS[1]
local n = 0
for at, id in ipairs(A.ids) do
  redis.call('LREM', waiting, 1, id)
  n = n + redis.call('DEL', KEYS[1 + at])
end
return reply(n)
