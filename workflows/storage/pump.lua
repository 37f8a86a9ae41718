-- Put before every script that changes an instance. Facts first, then `pump`, then `flush`.
--
-- KEYS[1..11]           the shard: timers intents wake held workers relay index retire owner aside unfinished
-- KEYS[12+6*(n-1) ..]   instance n: header, journal, open records, mailbox, command ids, queues
--
-- `pump` is the only place that decides what happens next: it derives status, intents and the next turn from the
-- facts, so no script can forget to wake an instance (I10). `match` is the only place where an event leaves the
-- mailbox (I6). A record's presence together with its token is the lock; removing the record is the cancellation.
local TIMERS, INTENTS, WAKE, HELD, WORKERS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local RELAY, INDEX, RETIRE, UNFINISHED = KEYS[6], KEYS[7], KEYS[8], KEYS[11]
local FINAL = {complete = true, errored = true, terminated = true}
local FAILURES_KEPT = 10
local FAILURES_BYTES = 32 * 1024
local DEATHS_MAX = 3
local LOSSES_MAX = 10
local STRIKES_MAX = 3
-- In place of the end of a lease: it left by itself; its end was seen; it was found gone. All are over at once.
local LEFT, SEEN, GONE = 0, 1, 2
-- Open records and queued things that one call takes up beyond what it was asked for. What is left over stands in the
-- instance, and `continue.lua` goes on with it (I12).
local SLICE = 200
local SCRIPT_BYTES = 1024 * 1024
local budget = SLICE
-- Taking up a value counts by its bytes too: one of the largest is a slice by itself.
local function charge_bytes(n) budget = math.max(0, budget - math.floor(n * SLICE / SCRIPT_BYTES)) end

-- Where the keys of the n-th instance begin.
local function place(n) return SHARD_KEYS + 1 + INSTANCE_KEYS * (n - 1) end

-- The n-th instance of this call, loaded once; nil when it does not exist, or its header or journal cannot be read.
local function instance(n)
  local I = instances[n]
  if I ~= nil then return I or nil end
  local k = place(n)
  I = {h = KEYS[k], j = KEYS[k + 1], o = KEYS[k + 2], m = KEYS[k + 3], c = KEYS[k + 4], q = KEYS[k + 5], changed = {}, due = {}}
  instances[n] = false
  local v = server.pcall('HMGET', I.h, unpack(FIELDS))
  if v.err then return disregard(n, I.h, 'its header is a ' .. server.call('TYPE', I.h).ok) end
  if not v[1] and server.call('EXISTS', I.h) == 0 then return nil end
  for f = 2, #FIELDS do v[f] = v[f] or '' end
  local fault = fault_of(I.h, v)
  if fault then return disregard(n, I.h, fault) end
  for f = 1, #FIELDS do I[FIELDS[f]] = v[f] end
  I.pos, I.act, I.strikes = tonumber(I.pos) or 0, tonumber(I.act) or 0, tonumber(I.strikes) or 0
  I.lost, I.stood = tonumber(I.lost) or 0, tonumber(I.stood) or 0
  I.left, I.rest = I.rest, rest_of(I.rest)
  I.len = server.pcall('LLEN', I.j)
  if type(I.len) == 'table' then return disregard(n, I.j, 'its journal is a ' .. server.call('TYPE', I.j).ok) end
  if I.pos > I.len then spoil(I, I.j, '', 'its journal ends at ' .. I.len .. ', and ' .. I.pos .. ' entries were decided') end
  if not I.rest then
    I.rest = {}
    spoil(I, I.h, 'rest', 'what is left over in it cannot be read')
  end
  instances[n] = I
  return I
end

local function set(I, field, value)
  I[field] = value
  I.changed[field] = value
end

-- Queues ----------------------------------------------------------------------------------------------------------
--
-- One sorted set per instance, whose members all have score 0 and are read by prefix, so that the first of each queue is
-- found at once however long it is:
--   w|type|seq       open waits            m|type|number   events kept, by order of acceptance
--   g|seq|index      the wait `seq` got its event in entry `index`, which no turn has been decided over yet
--   d|seq            steps to be handed out later: time stands still, or there are too many for one call
--   c|number|type    types whose oldest event, `number`, may have found a wait

-- A number as text whose order is that of the numbers: how many digits it has, as a letter, then the digits.
local function ordered(n)
  local digits = string.format('%.0f', n)
  return string.char(64 + #digits) .. digits
end

local function enqueue(I, member) redis.call('ZADD', I.q, 0, member) end

local function first_of(I, prefix)
  local member = redis.call('ZRANGEBYLEX', I.q, '[' .. prefix, '(' .. prefix .. '\255', 'LIMIT', 0, 1)[1]
  return member, member and tonumber(string.sub(member, #prefix + 2))
end

-- The same for queues of numbers; what is none goes.
local function first_number(I, prefix)
  while true do
    local member, number = first_of(I, prefix)
    if not member or number and member == prefix .. ordered(number) then return member, number end
    redis.call('ZREM', I.q, member)
    spoil(I, I.q, member, 'its queues hold what does not belong there')
  end
end

local awake = false
local function wake()
  if awake then return end
  awake = true
  if redis.call('LLEN', WAKE) == 0 then redis.call('RPUSH', WAKE, '1') end
end

local function who(I) return I.wf .. '|' .. I.id .. '|' .. I.gen .. '|' end

local function index_member(I) return I.st .. '|' .. I.wf .. '|' .. I.created .. '|' .. I.id end

local function set_status(I, status)
  if I.st == status then return end
  redis.call('ZREM', INDEX, index_member(I))
  set(I, 'st', status)
  redis.call('ZADD', INDEX, 0, index_member(I))
end

-- Records ---------------------------------------------------------------------------------------------------------

local function record(I, seq)
  local blob = redis.call('HGET', I.o, seq)
  return blob and record_of(I, seq, blob) or nil
end

local function save(I, r) redis.call('HSET', I.o, r.s, cmsgpack.pack(r)) end

-- Open records in the order of asking, as many as this call may still take up; the cursor behind them, none when these
-- are all there are; and the fields they stand in, those that cannot be read included.
local function some_of(I, cursor)
  local found, fields, all, more = {}, {}, {}, nil
  if redis.call('HLEN', I.o) <= budget then
    found = redis.call('HGETALL', I.o)
  elseif budget == 0 then
    more = cursor
  else
    repeat
      local page = redis.call('HSCAN', I.o, cursor, 'COUNT', budget)
      cursor = page[1]
      for _, one in ipairs(page[2]) do found[#found + 1] = one end
    until #found >= budget or cursor == '0'
    more = cursor ~= '0' and cursor or nil
  end
  for at = 1, #found, 2 do
    fields[#fields + 1] = found[at]
    all[#all + 1] = record_of(I, found[at], found[at + 1])
  end
  budget = math.max(0, budget - #fields)
  table.sort(all, function(a, b) return a.s < b.s end)
  return all, more, fields
end

-- An instance has a time of its own, which stands still while it is paused: records hold moments of it, timers those of
-- the server. So a pause leaves the records as they are.
local function own_time(I)
  if I.want == '' then return NOW - I.stood end
  return (tonumber(I.paused_at or redis.call('HGET', I.h, 'paused_at')) or NOW) - I.stood
end

local function moment_of(I, r) return r.ab and r.due or r.due + I.stood end

local function intent_member(I, kind, seq, n, queue) return kind .. '|' .. who(I) .. seq .. '|' .. n .. '|' .. queue end

local function held_member(I, worker, kind, seq, token)
  return worker .. '|' .. kind .. '|' .. who(I) .. seq .. '|' .. token
end

local TIMER_KIND = {sleep = 's', wait = 'w', ['do'] = 'b'}

local function timer_member(I, r) return TIMER_KIND[r.k] .. '|' .. who(I) .. r.s end

local function arm(I, r)
  if I.want ~= '' then return end
  local member = timer_member(I, r)
  redis.call('ZADD', TIMERS, moment_of(I, r), member)
  -- The owner sleeps until the earliest timer it knows of, so it must hear of an earlier one.
  if redis.call('ZRANGE', TIMERS, 0, 0)[1] == member then wake() end
end

local function add_intent(I, kind, seq, n, queue)
  redis.call('ZADD', INTENTS, REAL, intent_member(I, kind, seq, n, queue))
  wake()
end

local function append(I, kind, body, n)
  redis.call('RPUSH', I.j, '\1' .. kind .. (n or entry_nonce()) .. (type(body) == 'table' and cmsgpack.pack(body) or body))
  I.len = I.len + 1
end

local function answer(I, kind, r, more)
  local body = {q = r.s, n = r.n, c = r.c, t = NOW, s = r.sa or r.at, a = r.a}
  for field, value in pairs(more) do body[field] = value end
  append(I, kind, body)
end

-- Takes a record out of the shard, whatever its state.
local function unlist(I, r)
  if r.st == 'ready' then
    redis.call('ZREM', INTENTS, intent_member(I, 'a', r.s, r.i, r.qu))
  elseif r.st == 'held' then
    local member = held_member(I, r.by, 'a', r.s, r.tok)
    redis.call('ZREM', HELD, member)
    -- Else its holder learns that nobody wants the result when it renews its lease. Who does this itself knows.
    if r.by ~= A.w then redis.call('PUBLISH', 'workflows:held:' .. r.by, member) end
  elseif r.st ~= 'due' and r.k ~= 'child' then
    redis.call('ZREM', TIMERS, timer_member(I, r))
  end
end

-- Takes a record out of every place that knows it, and leaves the record itself to the caller.
local function disarm(I, r)
  unlist(I, r)
  if r.st == 'ready' or r.st == 'held' then
    set(I, 'act', I.act - 1)
  elseif r.st == 'due' then
    redis.call('ZREM', I.q, 'd|' .. ordered(r.s))
  end
end

local function part_of(n) return 'p:' .. n end

-- Parts of a decision that was never committed are nothing.
local function drop_parts(I)
  for n = 1, I.rest.parts or 0 do redis.call('HDEL', I.m, part_of(n)) end
  I.rest.token, I.rest.parts = nil, nil
end

local function close_turn(I)
  if I.rest.token then drop_parts(I) end
  local held, worker, token = string.match(I.turn, '^(h)|([^|]*)|(.*)$')
  if held then
    redis.call('ZREM', HELD, held_member(I, worker, 't', 0, token))
  elseif I.turn ~= '' then
    redis.call('ZREM', INTENTS, intent_member(I, 't', 0, string.sub(I.turn, 3), I.queue))
  end
  set(I, 'turn', '')
end

-- Events ----------------------------------------------------------------------------------------------------------

local function waiter(r) return 'w|' .. r.ty .. '|' .. ordered(r.s) end

-- The open wait that asked first for a type, if there is one.
local function waiting_for(I, ty)
  while true do
    local member, seq = first_number(I, 'w|' .. ty .. '|')
    local r = member and record(I, seq)
    if not member or r then return r end
    redis.call('ZREM', I.q, member)
    spoil(I, I.q, member, 'its queues name a wait that is not open')
  end
end

-- Hands an event to an open wait. The entry stays noted until a turn has been decided over it: see `put_back`.
local function give(I, r, ty, number, e)
  redis.call('ZREM', I.q, waiter(r))
  disarm(I, r)
  redis.call('HDEL', I.o, r.s)
  enqueue(I, 'g|' .. ordered(r.s) .. '|' .. I.len)
  answer(I, 'E', r, {ty = ty, p = e.p, et = e.et, ev = e.ev, ac = number})
end

local function keep_event(I, ty, number, e)
  redis.call('HSET', I.m, 'e:' .. number, cmsgpack.pack(e))
  enqueue(I, 'm|' .. ty .. '|' .. ordered(number))
end

local function look_for_mail(I, ty, number)
  if not number then return end
  enqueue(I, 'c|' .. ordered(number) .. '|' .. ty)
  I.rest.mail = 1
end

-- An event of the mailbox; nil when it cannot be read.
local function event(I, number)
  local ok, e = pcall(cmsgpack.unpack, redis.call('HGET', I.m, 'e:' .. number))
  if ok and type(e) == 'table' and e.p and e.et and e.ev then return e end
  spoil(I, I.m, 'e:' .. number, 'an event of its mailbox cannot be read')
end

-- While a type has mail and an open wait, its oldest event goes to the wait that asked first; of several types, the
-- event that was accepted first goes first (I6). So nothing is matched until all that was asked for at once is open.
local function match(I)
  while I.rest.mail and not I.rest.at and budget > 0 do
    budget = budget - 1
    local candidate = first_of(I, 'c|')
    if not candidate then
      I.rest.mail = nil
      return
    end
    redis.call('ZREM', I.q, candidate)
    local ty = string.match(candidate, '^c|[^|]*|(.*)$') or ''
    local mail, number = first_number(I, 'm|' .. ty .. '|')
    local r = waiting_for(I, ty)
    if number and r then
      if 'c|' .. ordered(number) .. '|' .. ty == candidate then
        local e = event(I, number)
        redis.call('HDEL', I.m, 'e:' .. number)
        redis.call('ZREM', I.q, mail)
        if e then
          charge_bytes(#e.p)
          give(I, r, ty, number, e)
        end
        number = select(2, first_number(I, 'm|' .. ty .. '|'))
      end
      look_for_mail(I, ty, number)
    end
  end
end

-- Bytes of events that this call has put back.
local returned = 0

-- A wait that was given up may have received its event in an entry nobody will use: that event goes back to its place.
-- Of a detached wait only an entry that has been fed counts: one beyond `limit` may still be of use, if the wait is
-- awaited again. An entry is found in vain once more when it is fed; the note is gone by then.
local function put_back(I, seq, limit)
  local found = false
  local prefix = 'g|' .. ordered(seq) .. '|'
  for _, member in ipairs(redis.call('ZRANGEBYLEX', I.q, '[' .. prefix, '(' .. prefix .. '\255')) do
    local index = tonumber(string.sub(member, #prefix + 1))
    local e = index and index < limit and body_of(I.j, index)
    if e and e.ty and e.ac then
      redis.call('ZREM', I.q, member)
      keep_event(I, e.ty, e.ac, {p = e.p, et = e.et, ev = e.ev})
      returned = returned + #e.p
      look_for_mail(I, e.ty, e.ac)
      found = true
    end
  end
  return found
end

-- Ends ------------------------------------------------------------------------------------------------------------

-- Who waits for the end: nobody, the one whose commit created this instance (its start entry says who), or more.
local function parents_of(I)
  if I.parents == '' then return {} end
  if I.parents == 'creator' then return {body_of(I.j, 0).pa} end
  local ok, parents = pcall(cmsgpack.unpack, I.parents)
  if ok and type(parents) == 'table' then return parents end
  note(I.h, 'parents', 'who waits for its end cannot be read')
  return {}
end

local function is_among(parents, parent)
  for _, p in ipairs(parents) do
    if p.wf == parent.wf and p.id == parent.id and p.gen == parent.gen and p.seq == parent.seq then return true end
  end
  return false
end

local function tell(parents, wf, id, outcome)
  if #parents == 0 then return end
  for _, p in ipairs(parents) do
    local message = {op = 'outcome', sh = p.sh, wf = p.wf, id = p.id, gen = p.gen, seq = p.seq, cwf = wf, cid = id}
    for field, value in pairs(outcome) do message[field] = value end
    redis.call('HSET', RELAY, 'o|' .. p.wf .. '|' .. p.id .. '|' .. p.gen .. '|' .. p.seq, cmsgpack.pack(message))
  end
  wake()
end

-- Tells those who wait for the end and have not been told yet.
local function tell_all(I, outcome)
  local parents = parents_of(I)
  tell({unpack(parents, (I.rest.told or 0) + 1)}, I.wf, I.id, outcome)
end

-- The same for as many as one call may tell: each of them is sent the value.
local function tell_some(I, outcome)
  local parents, told = parents_of(I), I.rest.told or 0
  local bearable = math.floor(SCRIPT_BYTES / (#(outcome.v or outcome.x or '') + 1))
  local upto = math.min(#parents, told + math.max(1, math.min(SLICE, bearable)))
  tell({unpack(parents, told + 1, upto)}, I.wf, I.id, outcome)
  I.rest.told = upto < #parents and upto or nil
end

local function unfinished_member(I) return 'i|' .. I.wf .. '|' .. I.id .. '|' .. I.gen end

-- Takes back open records of a life that has ended, and says so in its journal.
local function withdraw_some(I)
  local found, more, fields = some_of(I, '0')
  for _, r in ipairs(found) do
    unlist(I, r)
    answer(I, 'W', r, {k = r.k})
  end
  if #fields > 0 then redis.call('HDEL', I.o, unpack(fields)) end
  I.bad, I.rest.clear = nil, more and 1 or nil
end

-- What makes a life end at once, however much of it is open: no turn, no mail, and no token counts any more.
local function stop(I)
  if I.turn ~= '' then close_turn(I) end
  I.due, I.rest, I.bad = {}, {}, nil
  set(I, 'act', 0)
  redis.call('UNLINK', I.m, I.q)
end

-- Ends a life of which nothing is kept. More open records than one call can take back are put aside under another key,
-- for `clean.lua`. Returns the doorbells of those taken back, as {queue, nonce}.
local function abandon(I, remains, token)
  local bells = {}
  if string.sub(I.turn, 1, 1) == 'r' then bells[1] = {I.queue, string.sub(I.turn, 3)} end
  if redis.call('HLEN', I.o) > budget then
    redis.call('RENAME', I.o, remains)
    redis.call('ZADD', UNFINISHED, REAL, 'x|' .. who(I) .. token)
    wake()
  else
    for _, r in ipairs((some_of(I, '0'))) do
      unlist(I, r)
      if r.st == 'ready' then bells[#bells + 1] = {r.qu, r.i} end
    end
    redis.call('UNLINK', I.o)
  end
  redis.call('ZREM', UNFINISHED, unfinished_member(I))
  stop(I)
  return bells
end

-- `x` is what those who wait are told of a termination, which itself has no outcome.
local function finish(I, status, outcome, x)
  stop(I)
  withdraw_some(I)
  set_status(I, status)
  set(I, 'ended', NOW)
  set(I, 'want', '')
  append(I, 'Z', {v = outcome.v, x = outcome.x, w = outcome.w, t = NOW})
  local keep = tonumber(status == 'complete' and I.keep_ok or I.keep_err) or 0
  redis.call('ZADD', RETIRE, NOW + keep, I.wf .. '|' .. I.id .. '|' .. I.gen)
  tell_some(I, {v = outcome.v, x = x or outcome.x, st = status})
  announce(I, status)
end

-- What happens next -------------------------------------------------------------------------------------------------

-- Brings open records in line with the instance's time: out of the shard while it stands still, back when it goes on.
-- Each may be met more than once, and in the midst of the opposite walk. Returns how many of those met are held.
local function walk(I)
  local held, found = 0, nil
  found, I.rest.walk = some_of(I, I.rest.walk)
  for _, r in ipairs(found) do
    if r.st == 'held' then held = held + 1 end
    if r.st == 'ready' and I.want ~= '' then
      disarm(I, r)
      r.st, r.i = 'due', nil
      I.due[#I.due + 1] = r.s
      save(I, r)
    elseif r.st == 'ready' then
      -- A claim in paused time has removed it.
      if redis.call('ZADD', INTENTS, 'NX', REAL, intent_member(I, 'a', r.s, r.i, r.qu)) == 1 then wake() end
    elseif (r.st == 'wait' or r.st == 'back') and r.k ~= 'child' then
      if I.want ~= '' then unlist(I, r) else arm(I, r) end
    end
  end
  return held
end

-- Stops time for an instance: the turn revoked, unclaimed attempts taken back, timers out. Returns how many are held, if
-- all open records could be looked at.
local function hold(I, want)
  set(I, 'want', want)
  set(I, 'paused_at', NOW)
  if I.turn ~= '' then close_turn(I) end
  I.rest.walk = '0'
  local held = walk(I)
  return not I.rest.walk and held or nil
end

-- Lets time go on from where it stood.
local function unhold(I)
  local paused_at = tonumber(redis.call('HGET', I.h, 'paused_at')) or NOW
  set(I, 'stood', I.stood + math.max(0, NOW - paused_at))
  set(I, 'want', '')
  I.rest.walk = '0'
  walk(I)
end

-- Only what is held is certain where something cannot be read.
local function park(I)
  local held = hold(I, 'park')
  set(I, 'reason', I.bad)
  if held then set(I, 'act', held) end
end

local function pump(I)
  if FINAL[I.st] then return end
  if I.bad and I.want == '' then park(I) end
  if I.want ~= '' then
    set_status(I, I.act > 0 and 'waitingForPause' or 'paused')
    return
  end
  -- A decision is taken relative to the one before, so that one has to be applied whole.
  if I.len > I.pos and I.turn == '' and not I.rest.at then
    local n = nonce()
    set(I, 'turn', 'r|' .. n)
    add_intent(I, 't', 0, n, I.queue)
  end
  if I.rest.due and budget > 0 then
    local queued = redis.call('ZRANGEBYLEX', I.q, '[d|', '(d|\255', 'LIMIT', 0, budget)
    if #queued < budget then I.rest.due = nil end
    for _, member in ipairs(queued) do
      local seq = tonumber(string.sub(member, 4))
      if seq then I.due[#I.due + 1] = seq else spoil(I, I.q, member, 'its queues hold what does not belong there') end
    end
    if #queued > 0 then redis.call('ZREM', I.q, unpack(queued)) end
  end
  local later = {}
  for _, seq in ipairs(I.due) do
    local r = budget > 0 and record(I, seq)
    if budget == 0 then
      later[#later + 1] = seq
    elseif r and r.st == 'due' then
      r.st, r.i = 'ready', nonce()
      save(I, r)
      set(I, 'act', I.act + 1)
      add_intent(I, 'a', seq, r.i, r.qu)
      budget = budget - 1
    end
  end
  I.due = later
  if I.started == '' then
    set_status(I, 'queued')
  elseif I.turn ~= '' or I.act > 0 or #later > 0 or I.rest.due or I.rest.at or I.rest.mail then
    set_status(I, 'running')
  else
    set_status(I, 'waiting')
  end
end

-- The commit of a decision --------------------------------------------------------------------------------------------

local function lease_is_live(worker)
  local expiry = redis.call('ZSCORE', WORKERS, worker)
  return expiry and tonumber(expiry) > REAL
end

-- Opens what was asked. `born` = {worker, token} makes the one new step start held by its asker (eager continuation).
local function open(I, spec, born)
  local r = {s = spec.s, k = spec.k, n = spec.n, c = spec.c, at = NOW}
  if spec.k == 'do' then
    r.qu, r.g, r.to, r.a, r.f, r.d = spec.qu, spec.g, spec.to, 0, 0, 0
    if born then
      r.st, r.tok, r.by, r.a, r.sa = 'held', born.token, born.worker, 1, NOW
      set(I, 'act', I.act + 1)
      redis.call('ZADD', HELD, 0, held_member(I, born.worker, 'a', r.s, born.token))
    else
      r.st = 'due'
      I.due[#I.due + 1] = r.s
    end
    save(I, r)
  elseif spec.k == 'child' then
    r.st, r.wf, r.id = 'wait', spec.wf, spec.id
    save(I, r)
    local message = spec.m
    message.pgen, message.pseq, message.pwf, message.pid = I.gen, r.s, I.wf, I.id
    redis.call('HSET', RELAY, 'c|' .. who(I) .. r.s, cmsgpack.pack(message))
    wake()
  else
    r.st, r.ms, r.ab = 'wait', spec.ms, spec.ab
    r.due = spec.due or own_time(I) + spec.ms
    if spec.k == 'wait' then
      r.ty = spec.ty
      enqueue(I, waiter(r))
      look_for_mail(I, r.ty, select(2, first_number(I, 'm|' .. r.ty .. '|')))
    end
    save(I, r)
    arm(I, r)
  end
end

-- Gives up what a decision gives up. Returns how many were withdrawn, and whether nothing came back to the mailbox by
-- that; and what of the decision is left, when as many bytes came back as one call may carry.
local function change(I, D, f)
  local withdrawn, alone = 0, true
  for at, w in ipairs(D.w) do
    if returned >= SCRIPT_BYTES then return withdrawn, alone, {w = {unpack(D.w, at)}, o = D.o} end
    local r = record(I, w.s)
    if r then
      disarm(I, r)
      if r.k == 'wait' then redis.call('ZREM', I.q, waiter(r)) end
      redis.call('HDEL', I.o, w.s)
      answer(I, 'W', r, {k = r.k, due = r.due})
      withdrawn = withdrawn + 1
    elseif w.k == 'wait' then
      alone = not put_back(I, w.s, w.d and f or I.len) and alone
    end
  end
  return withdrawn, alone
end

-- The next part of a decision that was too large for one call.
local function take_part(I)
  local name = part_of(I.rest.at)
  local ok, D = pcall(cmsgpack.unpack, redis.call('HGET', I.m, name) or '')
  if ok and type(D) == 'table' and type(D.w) == 'table' and type(D.o) == 'table' then
    local _, _, left = change(I, D, I.pos)
    if left then
      redis.call('HSET', I.m, name, cmsgpack.pack(left))
      return
    end
    for _, spec in ipairs(D.o) do open(I, spec) end
    budget = math.max(0, budget - #D.w - #D.o)
  else
    spoil(I, I.m, name, 'a part of a decision cannot be read')
  end
  redis.call('HDEL', I.m, name)
  I.rest.at = I.rest.at + 1
  if I.rest.at > I.rest.parts then I.rest.at, I.rest.parts = nil, nil end
end

local LOOK = {}
local ENTRY_KIND = {S = 'do', T = 'sleep', X = 'wait', E = 'wait', C = 'child'}

-- What is open, or answered from entry `f` on, although the code that ends the instance has never asked for it: code
-- which was cut short must not pass for code which is done. `e.q` is what it asked for. Nil when there is nothing, `LOOK`
-- when that is more elements or bytes than one call may compare. Then the worker compares, and says with `e.l` how long the journal was:
-- while it holds the turn, what is open can only become entries.
local function unasked(I, e, f)
  if not e then return nil end
  if e.l then return I.len ~= e.l and LOOK or nil end
  local count = e.q and redis.call('HLEN', I.o) + I.len - f or 0
  if count == 0 then return nil end
  if count + #e.q > SLICE then return LOOK end
  local asked, found = {}, {}
  for _, one in ipairs(e.q) do asked[one] = true end
  local function look(seq, kind, n, name)
    local one = string.format('%.0f|%s|%.0f|%s', tonumber(seq) or 0, kind, tonumber(n) or 0, name)
    if not asked[one] then found[#found + 1] = one end
  end
  local open = redis.call('HGETALL', I.o)
  for at = 1, #open, 2 do
    local r = record_of(I, open[at], open[at + 1])
    if r then look(r.s, r.k, r.c, r.n) end
  end
  local entries = page_of(I.j, f, I.len, SLICE, SCRIPT_BYTES)
  if #entries < I.len - f then return LOOK end
  for _, blob in ipairs(entries) do
    local entry = body(blob)
    look(entry.q, ENTRY_KIND[string.sub(blob, 2, 2)] or entry.k or '', entry.c, entry.n or '')
  end
  return found[1] and found
end

-- Applies a decision taken over the journal's first `f` entries, relative to the position decided before: `w` is given
-- up, `o` opened, `g` are the events it was fed, as {seq of the wait, index of the entry}; or `e`, the end. A large one
-- stands in the mailbox in `n` parts by then, and is applied by and by.
-- Returns true when the one opened step was born held.
local function apply(I, D, f, born)
  if D.e then
    set(I, 'pos', f)
    finish(I, D.e.st, D.e)
    return false
  end
  local tail = I.len == f
  local withdrawn, alone, left = change(I, D, f)
  for _, note in ipairs(D.g or {}) do redis.call('ZREM', I.q, 'g|' .. ordered(note[1]) .. '|' .. note[2]) end
  set(I, 'pos', tail and f + withdrawn or f)
  if left then
    redis.call('HSET', I.m, part_of(1), cmsgpack.pack(left))
    I.rest.at, I.rest.parts = 1, 1
    return false
  end
  -- `W` entries at the tail are decided already; an eager birth needs that nothing else is undecided.
  local eager = born and alone and #D.o == 1 and D.o[1].k == 'do' and I.len == I.pos and lease_is_live(born.worker)
  for _, spec in ipairs(D.o) do open(I, spec, eager and born) end
  match(I)
  return eager or false
end

-- Command ids: a repeated call gets the answer of the first (M2). Kept per instance, pruned by age.
local function remembered(I, cid)
  local stored = cid and redis.call('HGET', I.c, cid)
  return stored and string.sub(stored, 15)
end

local function remember(I, cid, value)
  if not cid then return value end
  redis.call('HSET', I.c, cid, string.format('%014.0f', REAL) .. value)
  if redis.call('HLEN', I.c) > 256 then
    local all, drop = redis.call('HGETALL', I.c), {}
    local order = {}
    for at = 1, #all, 2 do order[#order + 1] = {all[at + 1], all[at]} end
    table.sort(order, function(a, b) return string.sub(a[1], 1, 14) < string.sub(b[1], 1, 14) end)
    for at = 1, 128 do drop[at] = order[at][2] end
    redis.call('HDEL', I.c, unpack(drop))
  end
  return value
end

local function is_unfinished(I)
  local rest = I.rest
  return rest.walk or rest.mail or rest.at or rest.clear or rest.told or (rest.due and I.want == '') or false
end

-- Writes down what is left over, so that it does not depend on anybody's memory.
local function leave(I)
  for _, seq in ipairs(I.due) do
    enqueue(I, 'd|' .. ordered(seq))
    I.rest.due = 1
  end
  local text = ''
  if next(I.rest) then
    local values = {}
    for at, part in ipairs(rest_parts()) do values[at] = I.rest[part[1]] or '' end
    text = cmsgpack.pack(values)
  end
  if text ~= I.left then I.changed.rest = text end
  if is_unfinished(I) then
    if redis.call('ZADD', UNFINISHED, 'NX', REAL, unfinished_member(I)) == 1 then wake() end
  elseif I.left ~= '' then
    redis.call('ZREM', UNFINISHED, unfinished_member(I))
  end
end

-- Last of all: writes the headers; what turned out to be unreadable on the way parks its instance.
local function flush()
  for _, I in pairs(instances) do
    if I and not I.gone then
      -- Nothing would ever wake it (I10).
      if I.changed.st == 'waiting' and not I.bad and redis.call('HLEN', I.o) == 0 then
        spoil(I, I.o, '', 'what it waited for is gone: restart or delete it')
      end
      if I.bad then pump(I) end
      leave(I)
      local args = {}
      for field, value in pairs(I.changed) do
        args[#args + 1] = field
        args[#args + 1] = value
      end
      if #args > 0 then redis.call('HSET', I.h, unpack(args)) end
    end
  end
end
