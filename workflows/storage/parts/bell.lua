-- uses: calendar
-- Doorbells: RQ jobs that call a worker to an intent, as doorbell.py has them. A ring is a hint (F7).
local bell = {}

-- Rarely:

-- Puts jobs on a queue. Returns the error of Redis, if there is one: RQ's keys may hold anything.
--   waiting, queues   keys of the queue, and of RQ's names of queues
--   jobs              each {job = its key, id, data, what = for people}
function bell.hang(waiting, queues, queue, jobs)
  local created, ids, err = calendar.text(REAL), {}, nil
  local function call(...)
    local answer = server.pcall(...)
    if type(answer) == 'table' and answer.err then err = answer end
  end
  -- RQ's tools read the names of queues from their keys.
  call('SADD', queues, waiting)
  if err then return err end
  for at, one in ipairs(jobs) do
    call('HSET', one.job, 'data', one.data, 'status', 'queued', 'origin', queue, 'description', one.what,
      'created_at', created, 'enqueued_at', created, 'timeout', 180, 'rung', REAL)
    call('EXPIRE', one.job, limits.DOORBELL_SECONDS)
    ids[at] = one.id
  end
  call('RPUSH', waiting, unpack(ids))
  return err
end

-- When an intent that is rung now is looked at again, its doorbell may be lost. Of a backlog of so many, in which it most
-- likely just waits, only some each second, but each once a minute.
function bell.next_look(backlog)
  local patience = math.max(limits.RING_AGAIN_MS, backlog * 1000 / limits.RINGS_PER_SECOND)
  return math.floor(REAL + math.min(limits.RING_AGAIN_MS_MAX, patience))
end
