-- uses: record
-- When an instance is asked to end, or is ended because it was asked and has not. The header's field `stop` says it, as
-- kind|ms|place of the entry by which it was asked; `stop_for` says why. There is one timer for it, of kind 'd'.
--   t|ms|     a deadline: it is asked at this moment of its own time
--   c|ms|at   it was cancelled, x|ms|at its deadline is over: it is ended at this moment
--   c||at, x||at, C||at, X||at   handlers run, however long they take; C, X: because that moment was over
local deadline = {}

-- Rarely:

local function parts(I)
  local kind, ms, at = string.match(I.stop, '^(%a)|(%d*)|(%d*)$')
  return kind, tonumber(ms), at
end

local function member(I) return 'd|' .. instance.who(I) .. '0' end

-- 't', 'c' or 'x'; '': neither has it a deadline nor was it asked to end.
function deadline.kind(I) return string.lower(string.sub(I.stop, 1, 1)) end

function deadline.is_asked(I) return string.find(I.stop, '^[cxCX]') ~= nil end

-- Whether it was asked, and its time is over.
function deadline.is_over(I) return string.find(I.stop, '^[CX]') ~= nil end

-- By the server's clock; nil when there is none.
function deadline.moment(I)
  local _, ms = parts(I)
  return ms and ms + I.stood
end

-- Whether there is a timer where there is to be one.
function deadline.is_armed(I)
  local moment = deadline.moment(I)
  return not moment or tonumber(redis.call('ZSCORE', shard.timers, member(I)) or -1) == moment
end

function deadline.arm(I)
  local moment = deadline.moment(I)
  if not moment or I.want ~= '' then return end
  redis.call('ZADD', shard.timers, moment, member(I))
  -- The owner sleeps until the earliest timer it knows of, so it must hear of an earlier one.
  if redis.call('ZRANGE', shard.timers, 0, 0)[1] == member(I) then wake() end
end

function deadline.disarm(I) redis.call('ZREM', shard.timers, member(I)) end

-- In so many ms of its own time.
function deadline.set(I, kind, ms, at)
  instance.set(I, 'stop', string.format('%s|%.0f|%s', kind, instance.own_time(I) + ms, at or ''))
  deadline.arm(I)
end

-- A life has begun that has this first entry.
function deadline.begin(I, start)
  if start.dl then deadline.set(I, 't', start.dl) end
end

-- Handlers run from now on, however long they take. Who was asked still was.
function deadline.hush(I, is_over)
  deadline.disarm(I)
  local kind, _, at = parts(I)
  instance.set(I, 'stop', kind ~= 't' and (is_over and string.upper(kind) or kind) .. '||' .. at or '')
end

function deadline.drop(I)
  deadline.disarm(I)
  instance.set(I, 'stop', '')
end

-- A life ends for the next: what is left of the time stays, and so does the entry by which it was asked. Returns what
-- goes on with that in the next.
function deadline.carry(I)
  local kind, ms, at = parts(I)
  local left, asked = ms - instance.own_time(I), at ~= '' and redis.call('LINDEX', I.j, at)
  deadline.drop(I)
  return function()
    if asked then
      redis.call('RPUSH', I.j, asked)
      I.len = I.len + 1
    end
    deadline.set(I, kind, math.max(0, left), asked and I.len - 1)
  end
end
