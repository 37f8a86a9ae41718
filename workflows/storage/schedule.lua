-- Puts down what was decided about a schedule, compare-and-set: of several orchestrators one decides (F38). What it says
-- is to be created is created afterwards, by whoever comes first, under ids made of schedule and moment.
-- KEYS   schedules
-- ARGV   id, from = its state as read ('' for none), to = its state afterwards ('' for none)
-- Reply  1 it stands | 0 somebody else was first
local schedules = KEYS[1]
local state = redis.call('HGET', schedules, A.id) or ''
if state ~= A.from then return reply(0) end
if A.to == '' then redis.call('HDEL', schedules, A.id) else redis.call('HSET', schedules, A.id, A.to) end
return reply(1)
