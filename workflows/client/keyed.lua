-- uses: shard
-- Who waits for a key: lines of the shard's open waits, in their order.
-- ARGV   p = what they begin with, a = the last that is known or '', n = how many at most
-- Reply  the lines
local from = A.a ~= '' and '(' .. A.a or '[' .. A.p
local found = redis.pcall('ZRANGEBYLEX', shard.keyed(), from, '(' .. A.p .. '\255', 'LIMIT', 0, A.n)
return reply(found.err and {} or found)
