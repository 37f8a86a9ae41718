-- uses: pump
-- Takes in a part of a decision that is too large for one call. It counts with the commit of its turn; without that it is
-- dropped together with the turn.
-- ARGV   w worker; items: list of {i, g generation, t token, n which part, from 1, d part of a decision, packed}
-- Reply  list of 0 (stale) | 1. Sent twice: the same. Crash right after: the turn is reaped.
local answers = {}
for at, a in ipairs(A.items) do
  local I, done = instance.load(a.i), 0
  if I and I.gen == a.g and turn.is_held_by(I, A.w, a.t) then
    if I.rest.token ~= a.t then
      turn.drop_parts(I)
      I.rest.token, I.rest.parts = a.t, 0
    end
    if a.n <= I.rest.parts + 1 then
      redis.call('HSET', I.m, turn.part_name(a.n), a.d)
      I.rest.parts = math.max(I.rest.parts, a.n)
      done = 1
    end
  end
  answers[at] = done
end
flush()
return reply(answers)
