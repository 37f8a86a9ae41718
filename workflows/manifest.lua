-- Publishes what an app contains, so that producers and orchestrators need none of its code.
-- KEYS   manifest          ARGV   app, json
-- Reply  1 new app | 0 replaced. Sent twice: the same content.
return reply(redis.call('HSET', KEYS[1], A.app, A.json))
