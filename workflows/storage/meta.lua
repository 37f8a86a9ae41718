-- Fixes the number of shards of a namespace, and the format of what it stores, at its first use.
-- KEYS   meta          ARGV   shards, format
-- Reply  {shards, format}, those in force. Sent twice: the same.
-- Nothing is written where both stand already: whoever comes to a full Redis, to make room perhaps, is let in (F45).
local meta = KEYS[1]
local known = redis.call('HMGET', meta, 'shards', 'format')
if not known[1] then redis.call('HSET', meta, 'shards', A.shards) end
if not known[2] then redis.call('HSET', meta, 'format', A.format) end
return reply({tonumber(known[1]) or A.shards, tonumber(known[2]) or A.format})
