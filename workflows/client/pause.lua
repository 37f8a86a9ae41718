-- uses: pump room
-- Pauses an instance: time stops at once, attempts in flight may finish (I2, F35).
-- Reply  status afterwards, or 'unknown' | 'unreadable'. Paused, pausing or ended already: no effect.
local I = instance.load(1)
if not I then return reply(instance.absent(1)) end
if I.want == '' and not FINAL[I.st] then
  pausing.hold(I, 'pause')
  pump(I)
  flush()
end
return reply(I.st)
