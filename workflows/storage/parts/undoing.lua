-- uses: ending deadline
-- What has been done is undone before a life ends: its steps' handlers run one by one, each a record of kind 'rb'.
--
-- The header's field `rb` says why, as long as it is so. Which handler is next is decided in turns, like everything else.
local undoing = {}

-- Rarely:

-- Goes on with what comes before handlers: nothing is open any more. Then one entry says that all there is to undo stands
-- before it, and the turn over that entry opens the first handler. `run` has nothing more to say, so all of it is decided.
function undoing.clear(I)
  ending.withdraw_some(I, 1)
  if I.rest.clear then return end
  instance.set(I, 'act', 0)
  instance.set(I, 'pos', I.len)
  local is_outside = redis.call('HGET', I.h, 'rb') == 'terminate' or deadline.is_over(I)
  journal.append(I, 'R', {t = NOW, te = is_outside or nil})
end

-- Instead of an end: what has been done is undone first. `x` is why, nil for a termination; `is_over`: `run` has not ended,
-- but its time for that is over.
function undoing.begin(I, x, is_over)
  if I.turn ~= '' then turn.close(I) end
  if I.stop ~= '' then deadline.hush(I, is_over) end
  I.due, I.rest, I.bad = {}, {}, nil
  redis.call('UNLINK', I.m, I.q)
  redis.call('HSET', I.h, 'rb', x or 'terminate')
  undoing.clear(I)
end

-- Why it is being rolled back, false when it is not; and from now on it is not.
function undoing.cause(I)
  local cause = redis.call('HGET', I.h, 'rb')
  if cause then redis.call('HDEL', I.h, 'rb') end
  return cause
end

-- The end after handlers: with the error that there was before them, whatever has become of the code since.
function undoing.done(I, e)
  local cause = undoing.cause(I)
  local st, x = e.st, e.x
  local is_terminated = cause == 'terminate' or not cause and st == 'terminated'
  if cause and cause ~= 'terminate' then x = cause end
  if deadline.kind(I) == 'x' and not is_terminated then st = 'errored' end
  local rb = e.rb ~= 'none' and e.rb or nil
  ending.finish(I, st, {x = not is_terminated and x or nil, w = e.w, rb = rb}, x)
end

-- An end that does not wait for handlers; `rb` is what is said of those that were to run.
function undoing.cut_short(I, status, outcome, x, rb)
  outcome.rb = undoing.cause(I) and rb or nil
  ending.finish(I, status, outcome, x)
end
