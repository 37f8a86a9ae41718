-- uses: bell
-- Rings doorbells: puts RQ jobs on a queue. A ring is a hint; ringing twice is harmless (F7).
-- KEYS   queue, set of queues, then the job keys
-- ARGV   items: list of {id, data, what = for people}, queue = queue name, old = ms
-- A job that is still there is in the queue, or the queue lost it: pushed again when the queue is empty, or,
-- after `old` ms, when it is really not in it. `rung`: since when it rings; `looked`: when it was last looked for.
-- Reply  how many were pushed
local waiting, known = KEYS[1], KEYS[2]
local pushed = {}
local length = redis.call('LLEN', waiting)
for at, item in ipairs(A.items) do
  local job = KEYS[2 + at]
  local found = redis.call('HMGET', job, 'rung', 'looked')
  local rung = found[1]
  local is_old = rung and REAL - math.max(tonumber(rung) or 0, tonumber(found[2]) or 0) > A.old
  local push = not rung or length == 0
  if is_old and not push then push = not redis.call('LPOS', waiting, item.id) end
  if push then
    item.job, pushed[#pushed + 1] = job, item
  elseif is_old then
    redis.call('HSET', job, 'looked', REAL)
    redis.call('EXPIRE', job, limits.DOORBELL_SECONDS)
  end
end
local err = pushed[1] and bell.hang(waiting, known, A.queue, pushed)
return err or reply(#pushed)
