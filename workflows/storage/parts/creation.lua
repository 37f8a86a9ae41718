-- uses: pump
-- A new instance, the n-th of this call, which is not there yet.
local creation = {}

-- Rarely:

-- From an item of `create.lua`.
function creation.make(n, a)
  local I = instance.create(n, a.gen, a.qu, a.ok, a.err, a.tell)
  if a.cid then instance.set(I, 'cid', a.cid) end
  if a.slot then instance.set(I, 'slot', a.slot) end
  if a.parent then instance.set(I, 'parents', 'creator') end
  journal.append(I, '0', {t = NOW, p = a.p, sc = a.sched, pa = a.parent, dl = a.dl})
  if a.dl then deadline.set(I, 't', a.dl) end
  if a.meta then instance.set(I, 'meta', a.meta) end
  redis.call('ZADD', shard.index, 0, instance.index_member(I))
  if a.meta then instance.enlist(I) end
  if I.tell ~= '' then notices.publish(I, 'queued') end
  pump(I)
  return I
end
