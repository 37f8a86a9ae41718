-- Marks an attempt whose step has died with a worker before as begun, alone among its like: only a death after this mark
-- counts against it, so that steps which merely waited or ran beside a poison step are not taken for one (F22).
-- ARGV   w worker, g generation, s seq, t token
-- Reply  1 | 0 (not mine any more). Sent twice: 1, nothing changes. Crash right after: reap.lua counts it.
local I = instance(1)
local r = I and I.gen == A.g and not FINAL[I.st] and record(I, A.s)
if not r or r.st ~= 'held' or r.tok ~= A.t or r.by ~= A.w then return reply(0) end
r.on = 1
save(I, r)
return reply(1)
