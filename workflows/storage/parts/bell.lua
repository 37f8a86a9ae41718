-- uses: calendar
-- Doorbells: RQ jobs that call a worker to an intent, as doorbell.py has them. A ring is a hint (F7).
local bell = {}

-- Rarely:

-- Puts a job on a queue. Returns the error of Redis, if there is one: RQ's keys may hold anything.
--   job, waiting, queues   keys of the job, of its queue, and of RQ's names of queues
function bell.hang(job, waiting, queues, id, queue, data, what)
  local created = calendar.text(REAL)
  for _, command in ipairs({
    -- RQ's tools read the names of queues from their keys.
    {'SADD', queues, waiting},
    {'HSET', job, 'data', data, 'status', 'queued', 'origin', queue, 'description', what, 'created_at', created,
      'enqueued_at', created, 'timeout', 180, 'rung', REAL},
    {'EXPIRE', job, limits.DOORBELL_SECONDS},
    {'RPUSH', waiting, id},
  }) do
    local answer = server.pcall(unpack(command))
    if type(answer) == 'table' and answer.err then return answer end
  end
end

-- When an intent that is rung now is looked at again, its doorbell may be lost. Of a backlog of so many, in which it most
-- likely just waits, only some each second, but each once a minute.
function bell.next_look(backlog)
  local patience = math.max(limits.RING_AGAIN_MS, backlog * 1000 / limits.RINGS_PER_SECOND)
  return math.floor(REAL + math.min(limits.RING_AGAIN_MS_MAX, patience))
end
