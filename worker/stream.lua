-- uses: record streams
-- Takes in chunks of what an attempt writes as the result of its step, and removes them where nothing comes of it.
-- ARGV   w worker, g generation, s seq, t token; and either n = how many chunks there are, d = the next one and ttl = ms
--        that the first of them is kept unless it becomes the result, or none of these: what there is of it is removed
-- Reply  'taken' | 'stale' (the attempt is not w's any more) | 'full' | 'lost' (streams.lua) | 'removed'
-- Sent twice: the same. Crash in between: the next attempt removes it, or the end of its time.  Keeps I1.
local I = instance.load(1)
if not I then return reply('stale') end
if not A.d then
  if I.gen == A.g then streams.withdraw(I, A.s, A.t) end
  return reply('removed')
end
local r = I.gen == A.g and not FINAL[I.st] and record.held(I, A.s, A.w, A.t)
return reply(r and streams.take(I, A.s, A.t, A.n, A.d, A.ttl) or 'stale')
