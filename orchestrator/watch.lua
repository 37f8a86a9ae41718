-- uses: pump ending
-- Makes an existing instance report its end to one that waits for it. Repeating adds nothing.
-- ARGV   parent (PARENT in ending.lua), missing = failure blob when there is no such instance,
--        stopped = the same for a terminated one, unreadable = for one of which cannot be read how it ended,
--        most = how many may wait for one, full = failure blob for one more
-- Reply  'watching' | 'told' | 'unknown' | 'full'
local I = instance.load(1)
if not I then
  ending.tell({A.parent}, A.wf, A.id, {x = A.missing, st = 'unknown'})
  return reply('unknown')
end
if FINAL[I.st] then
  ending.tell({A.parent}, I.wf, I.id, ending.outcome(I, A.stopped, A.unreadable))
  return reply('told')
end
local parents = ending.parents(I)
if ending.is_among(parents, A.parent) then return reply('watching') end
if #parents >= A.most then
  ending.tell({A.parent}, I.wf, I.id, {x = A.full, st = 'full'})
  return reply('full')
end
parents[#parents + 1] = A.parent
instance.set(I, 'parents', cmsgpack.pack(parents))
flush()
return reply('watching')
