-- uses: ending room
-- Takes back, by one slice, open records of a life of which nothing is kept: a restart or a deletion has put them aside.
-- KEYS   behind the shard's: those records        ARGV   m = unfinished member, wf, id, g generation of that life
-- Reply  list of {queue, intent nonce}: doorbells that still stand in RQ. Sent twice: one slice more.
local remains, bells = KEYS[#KEYS], {}
local kind = server.call('TYPE', remains).ok
if kind ~= 'hash' and kind ~= 'none' then
  server.call('UNLINK', remains)
  aside.note(remains, '', 'was a ' .. kind .. ' and has been removed')
end
local I = {wf = A.wf, id = A.id, gen = A.g, o = remains}
local found, _, fields = record.some(I, '0')
for _, r in ipairs(found) do
  record.unlist(I, r)
  if r.policy then ending.part_with(I, r) end
  if r.state == 'ready' then bells[#bells + 1] = {r.queue, r.intent} end
end
if #fields > 0 then redis.call('HDEL', remains, unpack(fields)) end
if redis.call('EXISTS', remains) == 0 then
  redis.call('ZREM', shard.unfinished, A.m)
else
  redis.call('ZADD', shard.unfinished, 'XX', REAL, A.m)
end
return reply(bells)
