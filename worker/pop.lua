-- Takes doorbells off one RQ queue. RQ's keys have no hash tag of ours; with RQ_KEY_PREFIX={rq} they share one slot.
-- The job keys of popped ids cannot be declared before the pop: the one exception to declared keys.
-- KEYS   queue, hand-over list, registry of failed jobs
-- ARGV   n = most to take, looks = most ids to look at, prefix of job keys, envelope = how the data of our jobs begins
--        and `tail` how it ends, keep = seconds a forged job stays visible
-- Reply  {list of intent members, list of forged job ids, ms that each of the former has been ringing}
-- A forged job is never run: it goes to RQ's registry of failed jobs. A crash right after: intents are rung again.
local waiting, handover, failed = KEYS[1], KEYS[2], KEYS[3]
local members, forged, waited = {}, {}, {}
local looks = 0
while #members < A.n and looks < A.looks do
  looks = looks + 1
  local id = redis.call('LPOP', handover) or redis.call('LPOP', waiting)
  if not id then break end
  local job = A.prefix .. id
  -- A key of another type is no job of anybody's, and what is answered has no such place then.
  local found = redis.pcall('HMGET', job, 'data', 'rung')
  local data = found[1]
  if type(data) == 'string' then
    if #data < 1024 and string.sub(data, 1, #A.envelope) == A.envelope and string.sub(data, -#A.tail) == A.tail then
      members[#members + 1] = string.sub(data, #A.envelope + 1, -#A.tail - 1)
      waited[#waited + 1] = math.min(1e12, math.max(0, math.floor(REAL - (tonumber(found[2]) or REAL))))
      redis.call('DEL', job)
    else
      redis.call('HSET', job, 'status', 'failed', 'description', 'refused: not a workflow job')
      redis.call('EXPIRE', job, A.keep)
      redis.call('ZADD', failed, math.floor(REAL / 1000) + A.keep, id)
      forged[#forged + 1] = id
    end
  end
end
return reply({members, forged, waited})
