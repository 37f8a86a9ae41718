-- uses: pump room
-- Brings an instance the slot it has asked for.
-- ARGV   g generation, n = by which asking
-- Reply  1 it has it | 0 it does not want it any more: paused, ended, restarted, or it has asked anew. Sent twice: the same.
local I = instance.load(1)
local taken = I and I.gen == A.g and not FINAL[I.st] and I.slot ~= '' and slot.take(I, A.n)
if taken then pump(I) end
flush()
return reply(taken and 1 or 0)
