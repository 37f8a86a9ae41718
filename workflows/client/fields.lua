-- Reads a hash of the namespace as a whole, and says what time it is; writes nothing.
-- KEYS   the hash
-- Reply  {now, list of fields and values}
return reply({NOW, redis.call('HGETALL', KEYS[1])})
