-- uses: shard
-- What one look at a shard finds different from the one before it when something has moved; writes nothing.
-- ARGV   statuses; [workflow] = of this one only, newest = how many of it in each status are looked at; late = from when on
--        work has waited for too long, in ms
-- Reply  {instances, queues, processes}, three texts
local instances = {}
for _, status in ipairs(A.statuses) do
  local prefix = status .. '|' .. (A.workflow and A.workflow .. '|' or '')
  local low, high = '[' .. prefix, '(' .. prefix .. '\255'
  instances[#instances + 1] = redis.call('ZLEXCOUNT', shard.index, low, high)
  if A.workflow then
    local newest = redis.call('ZREVRANGEBYLEX', shard.index, high, low, 'LIMIT', 0, A.newest)
    instances[#instances + 1] = redis.sha1hex(table.concat(newest, ' '))
  end
end
local oldest = redis.call('ZRANGE', shard.intents, 0, 0, 'WITHSCORES')[2]
local late = oldest and tonumber(oldest) < REAL - A.late
local owner = redis.call('HGET', shard.owner, 'expiry')
local owned = owner and (tonumber(owner) or 0) > REAL
return reply({table.concat(instances, ' '), redis.call('ZCARD', shard.intents) .. (late and ' late' or ''),
  redis.call('ZCOUNT', shard.workers, REAL, '+inf') .. (owned and ' owned' or '')})
