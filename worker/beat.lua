-- uses: pump room
-- What callbacks say with their heartbeats, for the next attempt and for whoever looks.
-- ARGV   w worker; items: list of {i, g generation, s seq, t token, d details}
-- Reply  list of 0 (not its any more) | 1. Sent twice: the same. Late: what it says counts as long as it holds the step.
-- Without room nothing is written: the next one says more, and so does the end of the attempt (F45).
local answers, full = {}, room.is_short()
for at, a in ipairs(A.items) do
  local I, done = not full and instance.load(a.i), 0
  local r = I and I.gen == a.g and not FINAL[I.st] and record.get(I, a.s)
  if r and r.state == 'held' and r.token == a.t and r.by == A.w then
    record.hear(r, a.d)
    record.save(I, r)
    done = 1
  end
  answers[at] = done
end
flush()
return reply(answers)
