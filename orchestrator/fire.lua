-- Fires due timers: entry, record and timer change together (F32). Never early: the score is compared with the time
-- of this script, whatever list the caller read before (F31); score and not only name, because a second back-off of
-- one step has the name of the first.
-- ARGV   items: list of {i, m member, k 's'|'w'|'b', g generation, s seq}
-- Reply  number fired. A stale list, two orchestrators, a pause or a cancelled wait in between: skipped.
local fired = 0
for _, a in ipairs(A.items) do
  local score = redis.call('ZSCORE', TIMERS, a.m)
  if score and tonumber(score) <= NOW then
    local I = instance(a.i)
    local r = I and I.gen == a.g and not FINAL[I.st] and I.want == '' and record(I, a.s)
    redis.call('ZREM', TIMERS, a.m)
    if r and (r.st == 'wait' or r.st == 'back') and moment_of(I, r) > NOW then
      -- Time stood still since it was armed, and the walk that arms it anew has not come to it yet.
      arm(I, r)
    elseif r and (r.st == 'wait' or r.st == 'back') then
      fired = fired + 1
      if r.k == 'do' then
        r.st, r.due = 'due', nil
        save(I, r)
        I.due[#I.due + 1] = r.s
      else
        redis.call('HDEL', I.o, r.s)
        if r.k == 'wait' then
          redis.call('ZREM', I.q, waiter(r))
          answer(I, 'X', r, {ms = r.ms})
        else
          answer(I, 'T', r, {})
        end
      end
      pump(I)
    end
  end
end
flush()
return reply(fired)
