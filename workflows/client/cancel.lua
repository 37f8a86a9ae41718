-- uses: pump stopping command room
-- Asks an instance to end: `run` is told where it waits, and has some time to clean up. Time goes on if it stood still.
-- ARGV   cid, why = text, ms = how long it has
-- Reply  'cancelling' | 'terminated' (nothing had begun) | 'already' (asked before, or rolled back) | 'unknown' | 'unreadable'
--        | 'cannot' (ended before). Same command id: the first answer.
local I = instance.load(1)
if not I then return reply(instance.absent(1)) end
local answer = command.remembered(I, A.cid)
if answer then return reply(answer) end
if FINAL[I.st] then return reply('cannot') end
answer = 'already'
if not (I.stop ~= '' and deadline.is_asked(I)) and redis.call('HEXISTS', I.h, 'rb') == 0 then
  if I.want ~= '' then pausing.release(I) end
  stopping.ask(I, 'c', A.why, A.ms)
  pump(I)
  answer = FINAL[I.st] and 'terminated' or 'cancelling'
end
command.remember(I, A.cid, answer)
flush()
return reply(answer)
