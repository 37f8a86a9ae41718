-- uses: decision room
-- Commits a turn: what `run` asked for after being fed the journal up to `f`.
-- ARGV   w worker; items: list of {i, g generation, t token, b base, f fed, n nonce of entry f, [z its bytes],
--        d decision, [ea]}
-- Reply  list of {code, now}: 0 stale, 1 committed, 2 committed and ended, 3 committed and the new step is held under `ea`;
--        an end is refused and nothing written: 4 third is what there is that this code has never asked for, 5 there is
--        more than one call may compare
-- A decision in `n` parts counts when `stage.lua` has taken in all of them under the same token.
-- Two commits of one position cannot both pass: the first removes the token (I4). Sent twice: stale.
-- Without room no step is born: it waits until there is some (F45).
local answers, full = {}, room.is_short()
for at, a in ipairs(A.items) do
  local I, code, more = instance.load(a.i), 0, nil
  if I and I.gen == a.g and turn.is_held_by(I, A.w, a.t) and I.pos == a.b and a.f <= I.len
      and string.sub(redis.call('LINDEX', I.j, a.f - 1), 3, 10) == a.n
      and (not a.d.n or I.rest.token == a.t and I.rest.parts == a.d.n) then
    more = a.d.e and decision.unasked(I, a.d.e, a.f)
    if more then
      code = more == LOOK and 5 or 4
    else
      if a.d.n then I.rest.at, I.rest.token = 1, nil end
      turn.close(I)
      if I.strikes > 0 then instance.set(I, 'strikes', 0) end
      if I.lost > 0 then instance.set(I, 'lost', 0) end
      local eager = decision.apply(I, a.d, a.f, a.ea and not full and {worker = A.w, token = a.ea})
      pump(I)
      code = eager and 3 or FINAL[I.st] and 2 or 1
    end
  end
  answers[at] = {code, NOW, code == 4 and more or nil}
end
flush()
return reply(answers)
