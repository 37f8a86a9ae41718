-- Makes an existing instance report its end to one that waits for it. Repeating adds nothing.
-- ARGV   parent {sh wf id gen seq}, missing = failure blob when there is no such instance,
--        stopped = failure blob for a terminated one
-- Reply  'watching' | 'told' | 'unknown'
local I = instance(1)
if not I then
  tell_parents({parents = cmsgpack.pack({A.parent}), wf = A.wf, id = A.id}, {x = A.missing, st = 'unknown'})
  return reply('unknown')
end
if FINAL[I.st] then
  local e = cmsgpack.unpack(string.sub(redis.call('LINDEX', I.j, -1), 11))
  local outcome = {st = I.st, v = e.v, x = e.x}
  if I.st == 'terminated' then outcome.x = A.stopped end
  tell_parents({parents = cmsgpack.pack({A.parent}), wf = I.wf, id = I.id}, outcome)
  return reply('told')
end
local parents = I.parents ~= '' and cmsgpack.unpack(I.parents) or {}
for _, p in ipairs(parents) do
  if p.wf == A.parent.wf and p.id == A.parent.id and p.gen == A.parent.gen and p.seq == A.parent.seq then
    return reply('watching')
  end
end
parents[#parents + 1] = A.parent
set(I, 'parents', cmsgpack.pack(parents))
flush()
return reply('watching')
