-- uses: pump claiming
-- Takes attempts and turns from the intents. The claimer mints the token: an intent may exist on two timelines after
-- Redis lost its last second, and two claims of it must not share a token (F42).
-- ARGV   w worker; items: list of {i, k 'a'|'t', g generation, s seq, t token, h entries the worker has already fed,
--        [hn] nonce of the last of them, and one of
--          n intent nonce, m member  |  fw, ft worker and token it is taken over from, to go on in a process of its own};
--        page, bytes = most entries and bytes of them that all answers send along, turn = most entries to decide
--        over, but for the first decision
-- Reply  {'no-lease'} or list of: 0 (dead) | 1 (untouched: ask again, this was enough for one call) | what the worker is
--        told (claiming.lua)
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
-- An entry that only its nonce is wanted of may have a megabyte all the same. Of many attempts of one instance it is one.
local function nonce_at(I, at)
  if I.known_at ~= at then
    local blob = at >= 0 and redis.call('LINDEX', I.j, at) or ''
    looked = looked + #blob
    I.known_at, I.known = at, string.sub(blob, 3, 10)
  end
  return I.known
end
for at, a in ipairs(A.items) do
  local I, task = instance.load(a.i), looked < A.bytes and 0 or 1
  -- What is not to be claimed is nobody's, and would be rung for ever: whatever makes it claimable writes it anew.
  if a.m and task == 0 then redis.call('ZREM', shard.intents, a.m) end
  if task == 0 and claiming.is_open(I, a.g) then
    local upto, blob
    if a.k == 't' then
      if a.fw and turn.is_held_by(I, a.fw, a.ft) or not a.fw and turn.is_ready(I, a.n) then
        upto = claiming.take_turn(I, A.w, a.t, A.turn)
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
      claiming.begin(I)
      local from = a.h
      if from > upto or from > 0 and nonce_at(I, from - 1) ~= a.hn then from = 0 end
      local entries, weight = journal.page(I.j, from, upto, room, bytes)
      room, bytes = room - #entries, bytes - weight
      local whole = #entries > 0 and from + #entries == upto
      local last = whole and string.sub(entries[#entries], 3, 10) or nonce_at(I, upto - 1)
      task = claiming.told(I, from, upto, entries, blob, last)
    end
  end
  answers[at] = task
end
flush()
return reply(answers)
