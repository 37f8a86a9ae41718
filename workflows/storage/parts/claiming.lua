-- uses: turn
-- What the claim of an attempt or a turn does, for the scripts that make one.
local claiming = {}

-- Whether anything of an instance may be claimed, in the life that is meant.
function claiming.is_open(I, gen) return I and I.gen == gen and not FINAL[I.st] and I.want == '' end

-- The worker holds the turn from now on. Returns up to which entry it is to decide, `most` at a time. Before the first
-- decision nothing is open, so whatever there is behind the start was kept by a restart from a step: left for another turn,
-- an answer would be to a step that this one opens anew.
function claiming.take_turn(I, worker, token, most)
  turn.close(I)
  turn.hold(I, worker, token)
  return I.pos == 0 and I.len or math.min(I.len, I.pos + most)
end

function claiming.begin(I)
  if I.started == '' then
    instance.set(I, 'started', NOW)
    if I.tell ~= '' then notices.publish(I, 'started') end
  end
  instance.set_status(I, 'running')
end

-- What the worker is told:
--   {now, from, upto, entries, record blob ('' for a turn), nonce of the last entry, decided position, strikes and losses of
--   a turn (0 for an attempt, whose record has them)}
-- The entries are those of journal.page, from `from`; the worker reads the rest itself where there are fewer.
function claiming.told(I, from, upto, entries, blob, last)
  local is_turn = blob == ''
  return {NOW, from, upto, entries, blob, last, I.pos, is_turn and I.strikes or 0, is_turn and I.lost or 0}
end
