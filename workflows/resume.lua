-- Lets a paused, pausing or parked instance go on; timers continue with what was left of them.
-- Reply  status afterwards, or 'unknown' | 'unreadable'. Anything that is not paused: no effect. Repeating is therefore safe.
local I = instance(1)
if not I then return reply(absent(1)) end
if I.want ~= '' and not FINAL[I.st] then
  set(I, 'want', '')
  set(I, 'reason', '')
  for _, r in ipairs(records(I)) do
    if (r.st == 'wait' or r.st == 'back') and r.k ~= 'child' then
      if not r.ab then r.due = NOW + (r.left or 0) end
      r.left = nil
      save(I, r)
      arm(I, r)
    end
  end
  for _, member in ipairs(redis.call('ZRANGEBYLEX', I.q, '[d|', '(d|\255')) do
    redis.call('ZREM', I.q, member)
    local seq = tonumber(string.sub(member, 4))
    if seq then I.due[#I.due + 1] = seq else spoil(I, I.q, member, 'its queues hold what does not belong there') end
  end
  pump(I)
  flush()
end
return reply(I.st)
