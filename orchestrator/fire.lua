-- uses: pump stopping mailbox room
-- Fires due timers: entry, record and timer change together (F32). Never early: the score is compared with the time
-- of this script, whatever list the caller read before (F31); score and not only name, because a second back-off of
-- one step has the name of the first.
-- ARGV   items: list of {i, m member, k 's'|'w'|'b'|'d', g generation, s seq}
-- Reply  number fired. A stale list, two orchestrators, a pause or a cancelled wait in between: skipped.
local fired = 0
for _, a in ipairs(A.items) do
  local score = redis.call('ZSCORE', shard.timers, a.m)
  if score and tonumber(score) <= NOW then
    local I = instance.load(a.i)
    local lives = I and I.gen == a.g and not FINAL[I.st] and I.want == ''
    local r = lives and a.k ~= 'd' and record.get(I, a.s)
    redis.call('ZREM', shard.timers, a.m)
    if lives and a.k == 'd' then
      local moment = I.stop ~= '' and deadline.moment(I)
      if moment and moment > NOW then
        deadline.arm(I)
      elseif moment then
        fired = fired + 1
        stopping.due(I)
        pump(I)
      end
    elseif r and record.is_timed(r) and record.moment(I, r) > NOW then
      -- Time stood still since it was armed, and the walk that arms it anew has not come to it yet.
      record.arm(I, r)
    elseif r and record.is_timed(r) and r.kind == 'wait' and mailbox.is_on_its_way(I, r) then
      record.arm(I, r)
      pump(I)
    elseif r and record.is_timed(r) then
      fired = fired + 1
      if record.is_step(r) then
        record.back_to_due(I, r)
      else
        redis.call('HDEL', I.o, r.seq)
        if r.kind == 'wait' then
          record.unlisten(I, r)
          record.unkey(I, r)
          local is_silent = record.silent_at(r)
          record.answer(I, 'X', r, {ms = is_silent and r.heartbeat or r.ms, si = is_silent and true})
        else
          record.answer(I, 'T', r, {})
        end
      end
      pump(I)
    end
  end
end
flush()
return reply(fired)
