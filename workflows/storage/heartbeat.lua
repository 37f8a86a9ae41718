-- uses: pump mailbox
-- Whoever has the token of a wait is at work: their silence begins anew. Of a wait that does not mind silence nothing is
-- written.
-- ARGV   i, ty = the name that the wait listens to (listening.py), of = the life in the token
-- Reply  'heard' | 'over' (an answer would be refused as well) | 'ended' | 'unknown' | 'unreadable'
local I = instance.load(A.i)
if not I then return reply(instance.absent(A.i)) end
if FINAL[I.st] then return reply('ended') end
local r = mailbox.surely_waiting_for(I, A.ty)
local is_open = r and mailbox.is_unanswered(I, r, A.ty, A.of)
if is_open and r.heartbeat then
  r.heard = instance.own_time(I)
  record.save(I, r)
  record.arm(I, r)
end
flush()
return reply(is_open and 'heard' or 'over')
