-- uses: pump undoing command room
-- Ends an instance now, or rolls it back first. Attempts in flight find no token when they come back (F36).
-- ARGV   cid, x = failure blob for a parent that waits, [rb] = roll it back, cut = failure blob of a rollback that this ends
-- Reply  'terminated' | 'unknown' | 'unreadable' | 'cannot' (ended before). Same command id: the first answer.
local I = instance.load(1)
if not I then return reply(instance.absent(1)) end
local before = command.remembered(I, A.cid)
if before then return reply(before) end
if FINAL[I.st] then return reply('cannot') end
-- Where nothing has begun, and no restart from a step has kept anything, there is nothing to undo.
if A.rb and (I.started ~= '' or I.len > 1) then
  local is_rolling_back = redis.call('HEXISTS', I.h, 'rb') == 1
  if is_rolling_back and I.want ~= '' then
    pausing.release(I)
  elseif not is_rolling_back then
    if I.want ~= '' then pausing.go_on(I) end
    undoing.begin(I)
  end
  pump(I)
else
  undoing.cut_short(I, 'terminated', {}, A.x, A.cut)
end
command.remember(I, A.cid, 'terminated')
flush()
return reply('terminated')
