-- uses: pump
-- Takes attempts and turns from the intents. The claimer mints the token: an intent may exist on two timelines after
-- Redis lost its last second, and two claims of it must not share a token (F42).
-- ARGV   w worker; items: list of {i, k 'a'|'t', g generation, s seq, t token, h entries the worker has already fed,
--        [hn] nonce of the last of them, and one of
--          n intent nonce, m member  |  fw, ft worker and token it is taken over from, to go on in a process of its own};
--        page, bytes = most entries and bytes of them that all answers send along, turn = most entries to decide
--        over, but for the first decision
-- Reply  {'no-lease'} or list of: 0 (dead) | 1 (untouched: ask again, this was enough for one call) | {now, from, upto,
--        entries, record blob ('' for a turn), nonce of the last entry, decided position, strikes and losses of a turn (0
--        for an attempt, whose record has them)}
--        entries are fewer when there are more than fit: the worker reads the rest itself.
-- A lost reply leaves the attempt held with nobody running it: reconcile or the reaper returns it.  Keeps I9.
if not record.lease_is_live(A.w) then return reply({'no-lease'}) end
-- No attempt begins while the memory of Redis is full, or an instance could go on for ever without any (F45). Redis
-- refuses a script at its first write that takes memory, so this is one, before all others, and changes nothing.
for _, a in ipairs(A.items) do
  if a.k == 'a' and not a.fw then
    redis.call('ZADD', shard.timers, 'XX', 0, '')
    break
  end
end
local answers, room, bytes, looked = {}, A.page, A.bytes, 0
-- An entry that only its nonce is wanted of may have a megabyte all the same.
local function nonce_at(I, at)
  local blob = at >= 0 and redis.call('LINDEX', I.j, at) or ''
  looked = looked + #blob
  return string.sub(blob, 3, 10)
end
for at, a in ipairs(A.items) do
  local I, task = instance.load(a.i), looked < A.bytes and 0 or 1
  -- What is not to be claimed is nobody's, and would be rung for ever: whatever makes it claimable writes it anew.
  if a.m and task == 0 then redis.call('ZREM', shard.intents, a.m) end
  if I and task == 0 and I.gen == a.g and not FINAL[I.st] and I.want == '' then
    local upto, blob
    if a.k == 't' then
      if a.fw and turn.is_held_by(I, a.fw, a.ft) or not a.fw and turn.is_ready(I, a.n) then
        turn.close(I)
        turn.hold(I, A.w, a.t)
        -- Before the first decision nothing is open, so whatever there is behind the start was kept by a restart from a
        -- step: left for another turn, an answer would be to a step that this one opens anew.
        upto = I.pos == 0 and I.len or math.min(I.len, I.pos + A.turn)
        blob = ''
      end
    else
      local r = record.get(I, a.s)
      if r and a.fw and r.state == 'held' and r.by == a.fw and r.token == a.ft then
        redis.call('ZREM', shard.held, record.held_member(I, r.by, 'a', r.seq, r.token))
        upto = I.pos
      elseif r and r.state == 'ready' and r.intent == a.n then
        r.attempts = r.attempts + 1
        upto = I.pos
      end
      if upto then blob = record.hold(I, r, A.w, a.t) end
    end
    if upto then
      if I.started == '' then
        instance.set(I, 'started', NOW)
        if I.tell ~= '' then notices.publish(I, 'started') end
      end
      instance.set_status(I, 'running')
      local from = a.h
      if from > upto or from > 0 and nonce_at(I, from - 1) ~= a.hn then from = 0 end
      local entries, weight = journal.page(I.j, from, upto, room, bytes)
      room, bytes = room - #entries, bytes - weight
      local whole = #entries > 0 and from + #entries == upto
      local last = whole and string.sub(entries[#entries], 3, 10) or nonce_at(I, upto - 1)
      task = {NOW, from, upto, entries, blob, last, I.pos, a.k == 't' and I.strikes or 0,
        a.k == 't' and I.lost or 0}
    end
  end
  answers[at] = task
end
flush()
return reply(answers)
