-- uses: decision room streams
-- Settles attempts, and in the same breath the turn that follows from it where nothing else has spoken (fused turn).
-- ARGV   w worker; items: list of these, [ ] may be absent (Settlement in records.py):
--   ITEM     {i, g, s, t, [e], [st], [r], [p], [h], [b], [d], [ea]}
--        g generation, s seq, t token, and one of e = entry blob (final result),
--        st = {chunks, bytes}: the result is a stream, of which that much was written;
--        r = {delay ms, [attempt, started, ended, failure blob]} (will be retried) and
--        p = {ms to the next look, ms of all of them, failure blob} (a poll has found nothing); h details of its last heartbeat; b base, d decision: what feeding this
--        entry at position b leads to; ea = token for an eager next step
-- Reply  list of {code, now}: 0 stale, 1 settled, 2 fused, 3 fused and the one new step is held under `ea`
--        4 some of a stream's chunks are not there any more, nothing written
-- Sent twice: stale, nothing written (F17). After timeout, reap, pause-withdraw, restart or end: stale (F18, F19, F36).
-- Without room what came of an attempt is kept all the same, so that it is not run again; no step is born then (F45).
local answers, full = {}, room.is_short()
for at, a in ipairs(A.items) do
  local I, code = instance.load(a.i), 0
  local r = I and I.gen == a.g and not FINAL[I.st] and (a.e and record.held(I, a.s, A.w, a.t) or record.get(I, a.s))
  if not (r and r.state == 'held' and r.token == a.t and r.by == A.w) then
    code = 0
  elseif a.st and not streams.keep(I, a.s, a.t, a.st) then
    code = 4
  else
    code = 1
    record.disarm(I, r)
    if a.h then record.hear(r, a.h) end
    if a.r then
      record.try_again(I, r, a.r[1], a.r[2])
    elseif a.p then
      record.look_again(I, r, a.p)
    else
      redis.call('HDEL', I.o, a.s)
      local alone = a.d and I.len == I.pos and I.pos == a.b and I.turn == '' and I.st == 'running' and I.want == ''
        and not I.rest.at
      redis.call('RPUSH', I.j, a.e)
      I.len = I.len + 1
      if alone and not (a.d.e and decision.unasked(I, a.d.e, I.len)) then
        code = decision.apply(I, a.d, a.b + 1, a.ea and not full and {worker = A.w, token = a.ea}) and 3 or 2
      end
    end
    pump(I)
  end
  answers[at] = {code, NOW}
end
flush()
return reply(answers)
