-- uses: turn slot deadline
-- How a life ends, and who hears of it. Who waits, and the messages between shards, as records.py and messages.py have
-- them: [ ] may be absent; p… is who asks.
--
--   PARENT   {wf, id, gen, seq}
--   INVOKE   {op, wf, id, gen, p, qu, ok, err, [slot], [tell], [dl], pwf, pid, pgen, pseq, [stop]}
--   STOP     {op, wf, id, pwf, pid, pgen, pseq, stop}
--   WATCH    {op, wf, id, pwf, pid, pgen, pseq}
--   OUTCOME  {op, wf, id, gen, seq, cwf, cid, st, [v], [x]}   st = how it ended, for who reads the message
local ending = {}

-- Rarely:

-- Who waits for the end: nobody, the one whose commit created this instance (its start entry says who), or more.
function ending.parents(I)
  if I.parents == '' then return {} end
  if I.parents == 'creator' then return {journal.body_of(I.j, 0).pa} end
  local ok, parents = pcall(cmsgpack.unpack, I.parents)
  if ok and type(parents) == 'table' then return parents end
  aside.note(I.h, 'parents', 'who waits for its end cannot be read')
  return {}
end

function ending.tell(parents, wf, id, outcome)
  if #parents == 0 then return end
  for _, p in ipairs(parents) do
    local message = {op = 'outcome', wf = p.wf, id = p.id, gen = p.gen, seq = p.seq, cwf = wf, cid = id}
    for field, value in pairs(outcome) do message[field] = value end
    redis.call('HSET', shard.relay, 'o|' .. p.wf .. '|' .. p.id .. '|' .. p.gen .. '|' .. p.seq, cmsgpack.pack(message))
  end
  wake()
end

-- The same for as many as one call may tell: each of them is sent the value.
function ending.tell_some(I, outcome)
  local parents, told = ending.parents(I), I.rest.told or 0
  local bearable = math.floor(limits.SLICE_BYTES / (#(outcome.v or outcome.x or '') + 1))
  local upto = math.min(#parents, told + math.max(1, math.min(SLICE, bearable)))
  ending.tell({unpack(parents, told + 1, upto)}, I.wf, I.id, outcome)
  I.rest.told = upto < #parents and upto or nil
end

-- Tells those who wait for the end: how it ended, where that is small, else that they are to look (F30). Channels are
-- shared by all databases (Keyspace.ended_channel).
function ending.announce(I, status, element)
  local told = element and #element <= limits.ANNOUNCED_BYTES and element or ''
  redis.call('PUBLISH', I.h .. ':' .. ARGV[4], status .. '|' .. told)
end

-- Takes back open records of a life that has ended, or of one that is going to be rolled back, and says so in its journal.
function ending.withdraw_some(I, live)
  local found, more, fields = record.some(I, '0')
  for _, r in ipairs(found) do
    if live then record.disarm(I, r) else record.unlist(I, r) end
    if r.policy then ending.part_with(I, r) end
    record.answer(I, 'W', r, {k = r.kind, e = live})
  end
  if #fields > 0 then redis.call('HDEL', I.o, unpack(fields)) end
  I.bad, I.rest.clear = nil, more and 1 or nil
end

-- What makes a life end at once, however much of it is open: no turn, no mail, and no token counts any more.
local function stop(I)
  if I.turn ~= '' then turn.close(I) end
  if I.stop ~= '' then deadline.drop(I) end
  if I.slot ~= '' then slot.free(I) end
  I.due, I.rest, I.bad = {}, {}, nil
  instance.set(I, 'act', 0)
  redis.call('UNLINK', I.m, I.q)
end

-- Ends a life of which nothing is kept. More open records than one call can take back are put aside under another key,
-- for `clean.lua`. Returns the doorbells of those taken back, as {queue, nonce}.
function ending.abandon(I, remains, token)
  local bells = {}
  if string.sub(I.turn, 1, 1) == 'r' then bells[1] = {I.queue, string.sub(I.turn, 3)} end
  if redis.call('HLEN', I.o) > budget then
    redis.call('RENAME', I.o, remains)
    redis.call('ZADD', shard.unfinished, REAL, 'x|' .. instance.who(I) .. token)
    wake()
  else
    for _, r in ipairs((record.some(I, '0'))) do
      record.unlist(I, r)
      if r.policy then ending.part_with(I, r) end
      if r.state == 'ready' then bells[#bells + 1] = {r.queue, r.intent} end
    end
    redis.call('UNLINK', I.o)
  end
  redis.call('ZREM', shard.unfinished, instance.unfinished_member(I))
  stop(I)
  return bells
end

-- `x` is what those who wait are told of a termination, which itself has no outcome.
function ending.finish(I, status, outcome, x)
  stop(I)
  ending.withdraw_some(I)
  instance.set_status(I, status)
  instance.set(I, 'ended', NOW)
  instance.set(I, 'want', '')
  local element = journal.append(I, 'Z', {v = outcome.v, x = outcome.x, w = outcome.w, rb = outcome.rb, t = NOW})
  redis.call('ZADD', shard.retire, NOW + instance.retention(I, status), instance.retire_member(I))
  ending.tell_some(I, {v = outcome.v, x = x or outcome.x, st = status})
  ending.announce(I, status, element)
end

-- Rarely:

-- Begins another life, of which nothing is open: `start` is its first entry; nil where what there is is gone on with.
function ending.renew(I, gen, start)
  if I.slot ~= '' then slot.free(I) end
  if start then
    redis.call('UNLINK', I.j)
    I.len = 0
  end
  redis.call('HDEL', I.h, 'reason', 'ended', 'paused_at', 'started', 'lost', 'stood', 'rb', 'stop_for')
  instance.set(I, 'gen', gen)
  instance.set(I, 'pos', 0)
  instance.set(I, 'strikes', 0)
  instance.set(I, 'want', '')
  I.started, I.stood = '', 0
  if I.st == 'queued' and I.tell ~= '' then notices.publish(I, 'queued') end
  instance.set_status(I, 'queued')
  if start then journal.append(I, '0', start) end
end

-- Rarely:

function ending.asked_as(I, r) return 'c|' .. instance.who(I) .. r.seq end

-- Sends what an open record asks of its child's shard.
function ending.ask(I, r, message)
  message.pwf, message.pid, message.pgen, message.pseq = I.wf, I.id, I.gen, r.seq
  redis.call('HSET', shard.relay, ending.asked_as(I, r), cmsgpack.pack(message))
  wake()
end

-- Nobody waits any more for a child that is to end by that. Its shard is told in the place of what was asked of it, if that
-- may not have arrived yet: then it is created first, so that nothing which is late creates it afterwards.
function ending.part_with(I, r)
  local name = ending.asked_as(I, r)
  local asked = redis.call('HGET', shard.relay, name)
  local ok, message = pcall(cmsgpack.unpack, asked or '')
  if not (ok and type(message) == 'table' and message.op == 'invoke') then message = {op = 'stop', wf = r.workflow, id = r.id} end
  message.stop = r.policy
  ending.ask(I, r, message)
end

function ending.is_among(parents, parent)
  for _, p in ipairs(parents) do
    if p.wf == parent.wf and p.id == parent.id and p.gen == parent.gen and p.seq == parent.seq then return true end
  end
  return false
end

-- Tells those who wait for the end and have not been told yet.
function ending.tell_all(I, outcome)
  local parents = ending.parents(I)
  ending.tell({unpack(parents, (I.rest.told or 0) + 1)}, I.wf, I.id, outcome)
end

-- What those are told who wait for one that has ended: the first of these failure blobs for one that was terminated and
-- does not say why, the second where how it ended cannot be read.
function ending.outcome(I, stopped, unreadable)
  local e = journal.ending_of(I.j)
  if I.st == 'terminated' then return {x = e and e.x or stopped, st = I.st} end
  if not e then
    aside.note(I.j, '', 'does not end with how its instance ended')
    e = {x = unreadable}
  end
  return {v = e.v, x = e.x, st = I.st}
end
