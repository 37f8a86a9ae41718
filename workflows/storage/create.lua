-- uses: pump ending creation
-- Creates instances: whole or not at all (F1), one winner per id (F4).
-- ARGV   items: list of these, [ ] may be absent (CreateItem in intake.py):
--   ITEM     {i, wf, id, gen, p, qu, ok, err, [slot], [cid], [sched], [parent], [taken], [meta], [tell], [dl]}
--        i = which instance of KEYS, p params blob, ok/err retention in ms, sched schedule blob, parent = who waits for
--        the outcome (PARENT in ending.lua), taken = the failure blob a parent gets when somebody else has the id,
--        meta = metadata, packed; slot = the header's field of one whose workflow has a limit (slot.lua), tell = the
--        version of the code whose app wants to hear of it (notices.lua), dl = how
--        long it may take in ms (deadline.lua)
-- Reply  list of 'created' | 'exists', in order. Sent twice with the same cid: 'created' again (M2).
-- Crash right after: the intent is in the shard and is handed out by the next look.  Keeps I1, I10.
local answers = {}
for at, a in ipairs(A.items) do
  local known = instance.load(a.i)
  if known or instance.is_unreadable(a.i) then
    local same = known and a.cid and redis.call('HGET', known.h, 'cid') == a.cid
    if a.parent and not same then
      same = known and ending.is_among(ending.parents(known), a.parent)
      -- Silence would hang the parent for ever, so a taken id is an outcome too.
      if not same then ending.tell({a.parent}, a.wf, a.id, {x = a.taken, st = 'errored'}) end
    end
    answers[at] = same and 'created' or 'exists'
  else
    creation.make(a.i, a)
    answers[at] = 'created'
  end
end
flush()
return reply(answers)
