-- Fixes the number of shards of a namespace at its first use.
-- KEYS   meta          ARGV   shards
-- Reply  the number in force. Sent twice: the same.
redis.call('HSETNX', KEYS[1], 'shards', A.shards)
redis.call('HSETNX', KEYS[1], 'format', 1)
return reply(tonumber(redis.call('HGET', KEYS[1], 'shards')))
