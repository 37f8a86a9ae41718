-- uses: aside
-- Telling the shard's owner that there is something to hand out.
local awake = false
local function wake()
  if awake then return end
  awake = true
  if redis.call('LLEN', shard.wake) == 0 then redis.call('RPUSH', shard.wake, '1') end
end
