-- uses: pump
-- Lets a paused, pausing or parked instance go on; timers continue with what was left of them.
-- Reply  status afterwards, or 'unknown' | 'unreadable'. Anything that is not paused: no effect. Repeating is therefore safe.
local I = instance.load(1)
if not I then return reply(instance.absent(1)) end
if I.want ~= '' and not FINAL[I.st] then
  pausing.release(I)
  pump(I)
  flush()
end
return reply(I.st)
