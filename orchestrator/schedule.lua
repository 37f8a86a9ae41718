-- Moves a schedule's cursor, compare-and-set, after the firing was created: of several orchestrators one moves it (F38).
-- The id of an instance is made of schedule and moment, so creating it again after a crash in between changes nothing.
-- KEYS   schedules
-- ARGV   id, from = cursor as read ('' for none), to = cursor afterwards
-- Reply  1 moved | 0 somebody else was first
local schedules = KEYS[1]
local cursor = redis.call('HGET', schedules, A.id) or ''
if cursor ~= A.from then return reply(0) end
redis.call('HSET', schedules, A.id, A.to)
return reply(1)
