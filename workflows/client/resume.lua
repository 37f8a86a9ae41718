-- Lets a paused, pausing or parked instance go on; timers continue with what was left of them.
-- Reply  status afterwards, or 'unknown' | 'unreadable'. Anything that is not paused: no effect. Repeating is therefore safe.
local I = instance(1)
if not I then return reply(absent(1)) end
if I.want ~= '' and not FINAL[I.st] then
  set(I, 'reason', '')
  unhold(I)
  pump(I)
  flush()
end
return reply(I.st)
