-- uses: pump stopping command room
-- Ends an instance, or asks it to end, because the one that created it waits for it no more.
-- ARGV   parent (PARENT in ending.lua), how = 'terminate' | 'cancel', why = text, ms = how long it has to clean up, x = failure
--        blob for others who wait for it
-- Reply  1 | 0: it has ended, was asked before, is rolled back, or is not its child. A second time: the same, and nothing more,
--        also if it was restarted in between.
local I = instance.load(1)
local parent = I and journal.body_of(I.j, 0).pa
if not (type(parent) == 'table' and ending.is_among({parent}, A.parent)) then return reply(0) end
local cid = string.format('parent-%s-%.0f', A.parent.gen, A.parent.seq)
local answer = tonumber(command.remembered(I, cid))
if answer then return reply(answer) end
answer = 0
if not FINAL[I.st] and redis.call('HEXISTS', I.h, 'rb') == 0 then
  if A.how == 'terminate' then
    ending.finish(I, 'terminated', {}, A.x)
    answer = 1
  elseif not (I.stop ~= '' and deadline.is_asked(I)) then
    if I.want ~= '' then pausing.release(I) end
    stopping.ask(I, 'c', A.why, A.ms)
    pump(I)
    answer = 1
  end
end
command.remember(I, cid, answer)
flush()
return reply(answer)
