-- Keeps a limit on running instances that a person has set, or takes it away.
-- KEYS   limits
-- ARGV   wf, [json]
-- Reply  what stood there before, '' for nothing. Sent twice: the same limit. Crash right after: orchestrators see it
--        within a second.
local kept = KEYS[1]
local before = redis.call('HGET', kept, A.wf) or ''
if A.json then redis.call('HSET', kept, A.wf, A.json) else redis.call('HDEL', kept, A.wf) end
return reply(before)
