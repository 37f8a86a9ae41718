-- uses: pump room
-- Delivers the outcome of another instance to the one that waits for it. The open record is the dedupe: a doubled
-- relay, a restarted child or a restarted parent cannot deliver twice or into the wrong life (F37).
-- ARGV   g generation, s seq, wf/id of the child, [v value blob], [x failure blob]
-- Reply  1 delivered | 0 nobody waits (any more)
local I = instance.load(1)
local r = I and I.gen == A.g and not FINAL[I.st] and record.get(I, A.s)
if not r or r.kind ~= 'child' then
  flush()
  return reply(0)
end
redis.call('HDEL', I.o, A.s)
record.answer(I, 'C', r, {wf = A.wf, id = A.id, v = A.v, x = A.x})
pump(I)
flush()
return reply(1)
