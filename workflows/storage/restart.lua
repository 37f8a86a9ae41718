-- uses: pump ending command
-- Starts an instance over: same id, params and timestamp; a new generation, so nothing of the old life counts (F36).
-- KEYS   behind the instance's: where more open records are put than one call can take back
-- ARGV   cid, gen = the new generation, remains = the end of that key's name
-- Reply  'queued' | 'unknown' | 'unreadable'. Same command id: nothing more happens.
local I = instance.load(1)
if not I then return reply(instance.absent(1)) end
if command.remembered(I, A.cid) then return reply('queued') end
local start = journal.body_of(I.j, 0)
if not start.p then return redis.error_reply('ERR the params are lost with the journal: delete this instance') end
redis.call('ZREM', shard.retire, instance.retire_member(I))
ending.abandon(I, KEYS[#KEYS], A.remains)
redis.call('UNLINK', I.j)
redis.call('HDEL', I.h, 'reason', 'ended', 'paused_at', 'started', 'lost', 'stood')
instance.set(I, 'gen', A.gen)
instance.set(I, 'pos', 0)
instance.set(I, 'strikes', 0)
instance.set(I, 'want', '')
I.len, I.started, I.stood = 0, '', 0
instance.set_status(I, 'queued')
journal.append(I, '0', start)
pump(I)
command.remember(I, A.cid, 'queued')
flush()
return reply('queued')
