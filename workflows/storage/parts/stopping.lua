-- uses: deadline undoing
-- An instance is asked to end, and is ended if it has not when the time for that is over.
local stopping = {}

-- Rarely:

-- How it ends that was asked to: the status, and why, as those who wait for it and people are told.
function stopping.outcome(I)
  local is_late = deadline.kind(I) == 'x'
  local name = is_late and 'InstanceTimeout' or 'InstanceCancelled'
  local why = redis.call('HGET', I.h, 'stop_for') or ''
  local text = string.format('instance "%s" of workflow "%s" %s%s%s', I.id, I.wf,
    is_late and 'has not ended within its deadline' or 'was cancelled', why ~= '' and ': ' or '', why)
  local x = '\1' .. cmsgpack.pack({n = name, m = 'workflows.errors', q = name, s = text, t = '', r = true})
  return is_late and 'errored' or 'terminated', x
end

-- It has not ended in time: `run` gets no further, and what was begun is undone.
function stopping.expire(I)
  local _, x = stopping.outcome(I)
  undoing.begin(I, x, 1)
end

-- Asks it to end: `run` finds that in its journal, behind what has happened so far. One that nobody has begun with, in
-- this life or one before it, has nothing to clean up.
function stopping.ask(I, kind, why, ms)
  if I.stop ~= '' then deadline.disarm(I) end
  redis.call('HSET', I.h, 'stop_for', why)
  local is_untouched = I.started == '' and I.len == 1 and journal.body_of(I.j, 0).t == tonumber(I.created)
  if is_untouched then
    instance.set(I, 'stop', kind .. '||')
    local st, x = stopping.outcome(I)
    ending.finish(I, st, {x = x})
  else
    deadline.set(I, kind, ms, I.len)
    journal.append(I, 'K', {t = NOW, r = why, d = kind == 'x' or nil})
  end
end

-- Its timer was due.
function stopping.due(I)
  if deadline.is_asked(I) then
    stopping.expire(I)
  else
    local ms = journal.body_of(I.j, 0).dl
    stopping.ask(I, 'x', string.format('Execution timed out after %.0fms', tonumber(ms) or 0), limits.CANCEL_GRACE_MS)
  end
end
