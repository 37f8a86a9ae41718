-- uses: ending
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
  journal.append(I, 'R', {t = NOW, te = redis.call('HGET', I.h, 'rb') == 'terminate' or nil})
end

-- Instead of an end: what has been done is undone first. `x` is why, nil for a termination.
function undoing.begin(I, x)
  if I.turn ~= '' then turn.close(I) end
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
  local x = e.x
  if cause and cause ~= 'terminate' then x = cause end
  local rb = e.rb ~= 'none' and e.rb or nil
  ending.finish(I, e.st, {x = e.st == 'errored' and x or nil, w = e.w, rb = rb}, x)
end

-- An end that does not wait for handlers; `rb` is what is said of those that were to run.
function undoing.cut_short(I, status, outcome, x, rb)
  outcome.rb = undoing.cause(I) and rb or nil
  ending.finish(I, status, outcome, x)
end
