-- What there is to do in one shard: one look for everything.
-- ARGV   t owner token, n = most intents to hand out, again = ms until an unclaimed intent is looked at again, of a
--        backlog longer: `rate` of them a second, up to `again_max` ms;
--        u = most unfinished ones, [mended] what `mend` was when the shard was mended
-- Reply  {'lost'} or {now, intent members to ring, members of due timers, score of the next timer or '',
--         expired workers, relay ids, members due for retirement, ms until the next intent is due or '',
--         mend = when a key of the shard was lost, so that it has to be derived anew, or '',
--         members that are unfinished}
-- Nothing is popped: what is handed out stays until it is claimed (M4), so a crash here costs `again` ms.
if redis.call('HGET', OWNER, 'token') ~= A.t then return reply({'lost'}) end
if redis.call('LLEN', WAKE) > 0 then redis.call('DEL', WAKE) end
if A.mended and redis.call('HGET', OWNER, 'mend') == A.mended then redis.call('HDEL', OWNER, 'mend') end
-- Of another type, they are noticed here, even in a shard in which nothing moves (aside.lua).
redis.call('ZCARD', INDEX)
redis.call('ZCARD', HELD)
local intents = redis.call('ZRANGEBYSCORE', INTENTS, '-inf', REAL, 'LIMIT', 0, A.n)
local again = math.min(A.again_max or A.again, math.max(A.again, redis.call('ZCARD', INTENTS) * 1000 / (A.rate or 1000)))
for _, member in ipairs(intents) do redis.call('ZADD', INTENTS, math.floor(REAL + again), member) end
local timers = redis.call('ZRANGEBYSCORE', TIMERS, '-inf', NOW, 'LIMIT', 0, A.n)
local following = redis.call('ZRANGEBYSCORE', TIMERS, '(' .. NOW, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local later = redis.call('ZRANGE', INTENTS, 0, 0, 'WITHSCORES')
-- A moment that no clock reaches is not one to wait for.
local next_due = tonumber(following[2])
return reply({NOW, intents, timers, next_due and next_due < 1e15 and next_due or '',
  redis.call('ZRANGEBYSCORE', WORKERS, '-inf', REAL, 'LIMIT', 0, 10),
  redis.call('HLEN', RELAY) > 0 and 1 or 0,
  redis.call('ZRANGEBYSCORE', RETIRE, '-inf', NOW, 'LIMIT', 0, 100),
  later[2] and math.max(0, tonumber(later[2]) - REAL) or '', redis.call('HGET', OWNER, 'mend') or '',
  redis.call('ZRANGE', UNFINISHED, 0, A.u - 1)})
