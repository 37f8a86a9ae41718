-- uses: pump ending command streams
-- Starts an instance over: same id, params and timestamp; a new generation, so nothing of the old life counts (F36). From a
-- step: but for the answers to what was asked before it, which stay where they are in the journal (`cuts.py`).
-- KEYS   behind the instance's: where more open records are put than one call can take back
-- ARGV   cid, gen = the new generation, remains = the end of that key's name; [seq of the step, of = the generation that
--        asked for it]
-- Reply  'queued' | 'unknown' | 'unreadable' | 'moved' (the step is one of another life). Same command id: nothing more happens.
local I = instance.load(1)
if not I then return reply(instance.absent(1)) end
if command.remembered(I, A.cid) then return reply('queued') end
if A.seq and I.gen ~= A.of then return reply('moved') end
local start = journal.body_of(I.j, 0)
if not start.p then return redis.error_reply('ERR the params are lost with the journal: delete this instance') end
local ended = A.seq and FINAL[I.st] and journal.ending_of(I.j)
if A.seq then
  -- It leaves out whatever cuts at later steps did, and the life that asked for what is before it is that of the first of these.
  local cuts, life = start.cu or {}, I.gen
  while cuts[1] and cuts[#cuts][2] >= A.seq do life = table.remove(cuts)[3] end
  cuts[#cuts + 1] = {ended and I.len - 1 or I.len, A.seq, life}
  start.cu = cuts
else
  start.cu = nil
end
redis.call('ZREM', shard.retire, instance.retire_member(I))
ending.abandon(I, KEYS[#KEYS], A.remains)
streams.drop(I.h, A.seq)
if ended then
  redis.call('RPOP', I.j)
  I.len = I.len - 1
end
redis.call('HDEL', I.h, 'vals')
ending.renew(I, A.gen, not A.seq and start or nil)
if start.dl then deadline.begin(I, start) end
if A.seq then redis.call('LSET', I.j, 0, '\1' .. '0' .. journal.nonce() .. cmsgpack.pack(start)) end
pump(I)
command.remember(I, A.cid, 'queued')
flush()
return reply('queued')
