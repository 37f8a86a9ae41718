-- uses: pump claiming
-- Takes doorbells off one RQ queue, and claims the turn of one that comes alone, which saves its worker the way to Redis
-- and back. RQ's keys have no hash tag of ours; with RQ_KEY_PREFIX={rq} they share one slot.
-- The job keys of popped ids, and the keys of the instance, cannot be declared before the pop: the exception to declared
-- keys.
-- KEYS   queue, hand-over list, registry of failed jobs
-- ARGV   n = most to take, looks = most ids to look at, prefix of job keys, envelope = how the data of our jobs begins
--        and `tail` how it ends, keep = seconds a forged job stays visible; w worker, t token of what is claimed here,
--        known = ' name name ' of the workflows it has code for, keys = {before a shard's number, behind it, names of a
--        shard's keys, of an instance's}, shards = how many, page, bytes = most entries and bytes of a journal that
--        are sent along, turn = most entries to decide over, but for the first decision
-- Reply  {list of intent members, list of forged job ids, ms that each of the former has been ringing, of one that came
--        alone: '' it is still to be claimed | 0 it was dead | what the worker is told (claiming.lua)}
-- A forged job is never run: it goes to RQ's registry of failed jobs. A crash right after: intents are rung again, and what
-- was claimed is held with nobody running it, as after any claim whose reply is lost (`claim.lua`).  Keeps I9.
local waiting, handover, failed = KEYS[1], KEYS[2], KEYS[3]
local members, forged, waited, last = {}, {}, {}, nil
local looks = 0
-- By the server itself: what stands in RQ's keys is not for `aside.lua` to judge.
while #members < A.n and looks < A.looks do
  looks = looks + 1
  local id = server.call('LPOP', handover) or server.call('LPOP', waiting)
  if not id then break end
  local job = A.prefix .. id
  -- A key of another type is no job of anybody's, and what is answered has no such place then.
  local found = server.pcall('HMGET', job, 'data', 'rung')
  local data = found[1]
  if type(data) == 'string' then
    if #data < 1024 and string.sub(data, 1, #A.envelope) == A.envelope and string.sub(data, -#A.tail) == A.tail then
      members[#members + 1] = string.sub(data, #A.envelope + 1, -#A.tail - 1)
      waited[#waited + 1] = math.min(1e12, math.max(0, math.floor(REAL - (tonumber(found[2]) or REAL))))
      server.call('DEL', job)
      last = id
    else
      server.call('HSET', job, 'status', 'failed', 'description', 'refused: not a workflow job')
      server.call('EXPIRE', job, A.keep)
      server.call('ZADD', failed, math.floor(REAL / 1000) + A.keep, id)
      forged[#forged + 1] = id
    end
  end
end

-- Claims a turn. Whatever is not as usual is left to `claim.lua`: another worker's code, a lease that is over, a long
-- journal, of which the worker may know a part.
local function claimed(id, member)
  local wf, at, gen, n = string.match(member, '^t|([%w_-]+)|([%w_-]+)|([%w_-]+)|0|([%w_-]+)|[%w_-]+$')
  local number, named = string.match(id, '^(%d%d+)-([%w_-]+)$')
  if not wf or named ~= n or tonumber(number) >= A.shards or not string.find(A.known, ' ' .. wf .. ' ', 1, true) then
    return ''
  end
  local keys, base = {}, A.keys[1] .. number .. A.keys[2]
  for _, name in ipairs(A.keys[3]) do keys[#keys + 1] = base .. name end
  for _, name in ipairs(A.keys[4]) do keys[#keys + 1] = base .. 'i:' .. wf .. ':' .. at .. ':' .. name end
  shard.enter(keys)
  local I = record.lease_is_live(A.w) and instance.load(1)
  if I == false or I and I.len > A.page then return '' end
  redis.call('ZREM', shard.intents, member)
  if not (claiming.is_open(I, gen) and turn.is_ready(I, n)) then return 0 end
  local upto = claiming.take_turn(I, A.w, A.t, A.turn)
  claiming.begin(I)
  local entries = journal.page(I.j, 0, upto, A.page, A.bytes)
  local nonce_of = #entries == upto and entries[upto] or redis.call('LINDEX', I.j, upto - 1)
  return claiming.told(I, 0, upto, entries, '', string.sub(nonce_of or '', 3, 10))
end

local alone = #members == 1 and claimed(last, members[1]) or ''
flush()
return reply({members, forged, waited, alone})
