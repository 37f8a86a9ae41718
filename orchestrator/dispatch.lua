-- uses: aside room bell
-- What there is to do in one shard: one look for everything.
-- ARGV   t owner token, n = most intents to hand out, u = most unfinished ones, [mended] what `mend` was when the shard
--        was mended
-- Reply  {'lost'} or {now, intent members to ring, members of due timers, score of the next timer or '',
--         expired workers, relay ids, members due for retirement, ms until the next intent is due or '',
--         mend = when a key of the shard was lost, so that it has to be derived anew, or '',
--         members that are unfinished}
-- Nothing is popped: what is handed out stays until it is claimed (M4), so a crash here costs the time until
-- its next look.
if redis.call('HGET', shard.owner, 'token') ~= A.t then return reply({'lost'}) end
if redis.call('LLEN', shard.wake) > 0 then redis.call('DEL', shard.wake) end
if A.mended and redis.call('HGET', shard.owner, 'mend') == A.mended then redis.call('HDEL', shard.owner, 'mend') end
-- Of another type, they are noticed here, even in a shard in which nothing moves (aside.lua).
-- These two are read by prefix, which depends on equal scores: one member with another score may hide all others.
for _, key in ipairs({shard.index, shard.held}) do
  for _, range in ipairs({{'-inf', '(0'}, {'(0', '+inf'}}) do
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', key, range[1], range[2], 'LIMIT', 0, 10)) do
      redis.call('ZREM', key, member)
      aside.note(key, member, 'was out of order')
      redis.call('HSET', shard.owner, 'mend', REAL)
    end
  end
end
local intents = redis.call('ZRANGEBYSCORE', shard.intents, '-inf', REAL, 'LIMIT', 0, A.n)
local again = bell.next_look(redis.call('ZCARD', shard.intents))
for _, member in ipairs(intents) do redis.call('ZADD', shard.intents, again, member) end
local timers = redis.call('ZRANGEBYSCORE', shard.timers, '-inf', NOW, 'LIMIT', 0, A.n)
local following = redis.call('ZRANGEBYSCORE', shard.timers, '(' .. NOW, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local later = redis.call('ZRANGE', shard.intents, 0, 0, 'WITHSCORES')
-- A moment that no clock reaches is not one to wait for.
local next_due = tonumber(following[2])
return reply({NOW, intents, timers, next_due and next_due < 1e15 and next_due or '',
  redis.call('ZRANGEBYSCORE', shard.workers, '-inf', REAL, 'LIMIT', 0, 10),
  redis.call('HLEN', shard.relay) > 0 and 1 or 0,
  redis.call('ZRANGEBYSCORE', shard.retire, '-inf', NOW, 'LIMIT', 0, 100),
  later[2] and math.max(0, tonumber(later[2]) - REAL) or '', redis.call('HGET', shard.owner, 'mend') or '',
  redis.call('ZRANGE', shard.unfinished, 0, A.u - 1)})
