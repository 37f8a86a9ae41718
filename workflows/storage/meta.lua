-- Fixes the number of shards of a namespace at its first use.
-- KEYS   meta          ARGV   shards
-- Reply  the number in force. Sent twice: the same.
-- Nothing is written where both stand already: whoever comes to a full Redis, to make room perhaps, is let in (F45).
local known = redis.call('HMGET', KEYS[1], 'shards', 'format')
if not known[1] then redis.call('HSET', KEYS[1], 'shards', A.shards) end
if not known[2] then redis.call('HSET', KEYS[1], 'format', 1) end
return reply(tonumber(redis.call('HGET', KEYS[1], 'shards')))
