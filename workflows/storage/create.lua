-- Creates instances: whole or not at all (F1), one winner per id (F4).
-- ARGV   items: list of {i, wf, id, gen, p, qu, ok, err, [cid], [sched], [parent], [taken]}; i = which instance of KEYS,
--        p params blob, ok/err retention in ms, sched schedule blob, parent {sh wf id gen seq} waits for the outcome,
--        taken = the failure blob a parent gets when somebody else has the id
-- Reply  list of 'created' | 'exists', in order. Sent twice with the same cid: 'created' again (M2).
-- Crash right after: the intent is in the shard and is handed out by the next look.  Keeps I1, I10.
local answers = {}
for at, a in ipairs(A.items) do
  local k = place(a.i)
  local known = instance(a.i)
  if known or unreadable[a.i] then
    local same = known and a.cid and redis.call('HGET', known.h, 'cid') == a.cid
    if a.parent and not same then
      same = known and is_among(parents_of(known), a.parent)
      -- Silence would hang the parent for ever, so a taken id is an outcome too.
      if not same then tell({a.parent}, a.wf, a.id, {x = a.taken, st = 'errored'}) end
    end
    answers[at] = same and 'created' or 'exists'
  else
    redis.call('HSET', KEYS[k], 'v', 1, 'wf', a.wf, 'id', a.id, 'gen', a.gen, 'st', 'queued', 'want', '', 'pos', 0,
      'turn', '', 'act', 0, 'queue', a.qu, 'created', NOW, 'keep_ok', a.ok, 'keep_err', a.err)
    if a.cid then redis.call('HSET', KEYS[k], 'cid', a.cid) end
    if a.parent then redis.call('HSET', KEYS[k], 'parents', 'creator') end
    instances[a.i] = nil
    redis.call('RPUSH', KEYS[k + 1], '\1' .. '0' .. entry_nonce() .. cmsgpack.pack({t = NOW, p = a.p, sc = a.sched, pa = a.parent}))
    local I = instance(a.i)
    redis.call('ZADD', INDEX, 0, index_member(I))
    pump(I)
    answers[at] = 'created'
  end
end
flush()
return reply(answers)
