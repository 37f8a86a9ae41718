-- Takes attempts and turns from the intents. The claimer mints the token: an intent may exist on two timelines after
-- Redis lost its last second, and two claims of it must not share a token (F42).
-- ARGV   w worker; items: list of {i, k 'a'|'t', g generation, s seq, t token, h entries the worker has already fed,
--        [hn] nonce of the last of them, and one of
--          n intent nonce, m member  |  fw, ft worker and token it is taken over from, to go on in a process of its own};
--        page, bytes = most entries and bytes of them that all answers send along, turn = most entries to decide
--        over
-- Reply  {'no-lease'} or list of: 0 (dead) | 1 (untouched: ask again, this was enough for one call) | {now, from, upto, entries, record blob (of a turn: the deaths it has seen, or
--        ''), nonce of the last entry, decided position}
--        entries are fewer when there are more than fit: the worker reads the rest itself.
-- A lost reply leaves the attempt held with nobody running it: reconcile or the reaper returns it.  Keeps I9.
if not lease_is_live(A.w) then return reply({'no-lease'}) end
local answers, room, bytes, looked = {}, A.page, A.bytes, 0
-- An entry that only its nonce is wanted of may have a megabyte all the same.
local function nonce_at(I, at)
  local blob = at >= 0 and redis.call('LINDEX', I.j, at) or ''
  looked = looked + #blob
  return string.sub(blob, 3, 10)
end
for at, a in ipairs(A.items) do
  local I, task = instance(a.i), looked < A.bytes and 0 or 1
  -- What is not to be claimed is nobody's, and would be rung for ever: whatever makes it claimable writes it anew.
  if a.m and task == 0 then redis.call('ZREM', INTENTS, a.m) end
  if I and task == 0 and I.gen == a.g and not FINAL[I.st] and I.want == '' then
    local upto, blob
    if a.k == 't' then
      if I.turn == (a.fw and 'h|' .. a.fw .. '|' .. a.ft or 'r|' .. a.n) then
        close_turn(I)
        set(I, 'turn', 'h|' .. A.w .. '|' .. a.t)
        upto = math.min(I.len, I.pos + A.turn)
        blob = I.strikes + I.lost > 0 and cmsgpack.pack({d = I.strikes, u = I.lost}) or ''
      end
    else
      local r = record(I, a.s)
      if r and a.fw and r.st == 'held' and r.by == a.fw and r.tok == a.ft then
        redis.call('ZREM', HELD, held_member(I, r.by, 'a', r.s, r.tok))
        upto = I.pos
      elseif r and r.st == 'ready' and r.i == a.n then
        r.a = r.a + 1
        upto = I.pos
      end
      if upto then
        r.st, r.tok, r.by, r.sa, r.i = 'held', a.t, A.w, NOW, nil
        blob = cmsgpack.pack(r)
        redis.call('HSET', I.o, a.s, blob)
      end
    end
    if upto then
      redis.call('ZADD', HELD, 0, held_member(I, A.w, a.k, a.s, a.t))
      if I.started == '' then set(I, 'started', NOW) end
      set_status(I, 'running')
      local from = a.h
      if from > upto or from > 0 and nonce_at(I, from - 1) ~= a.hn then from = 0 end
      local entries, weight = page_of(I.j, from, upto, room, bytes)
      room, bytes = room - #entries, bytes - weight
      local whole = #entries > 0 and from + #entries == upto
      local last = whole and string.sub(entries[#entries], 3, 10) or nonce_at(I, upto - 1)
      task = {NOW, from, upto, entries, blob, last, I.pos}
    end
  end
  answers[at] = task
end
flush()
return reply(answers)
