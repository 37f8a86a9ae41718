-- uses: pump ending command room
-- Ends an instance now. Attempts in flight find no token when they come back (F36).
-- ARGV   cid, x = failure blob for a parent that waits
-- Reply  'terminated' | 'unknown' | 'unreadable' | 'cannot' (ended before). Same command id: the first answer.
local I = instance.load(1)
if not I then return reply(instance.absent(1)) end
local before = command.remembered(I, A.cid)
if before then return reply(before) end
if FINAL[I.st] then return reply('cannot') end
ending.finish(I, 'terminated', {}, A.x)
command.remember(I, A.cid, 'terminated')
flush()
return reply('terminated')
