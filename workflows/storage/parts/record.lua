-- uses: instance queue journal
-- Open records: what an instance has asked for and not yet got. A record's presence together with its token is the lock;
-- removing the record is the cancellation.
--
-- Stored as values in the order of `of` and `encode`, `false` for what is absent; OpenStep and its like in records.py say
-- the same. Values behind them are those of a later version, and are kept.
--
--   asked     ms of its instance's time            config     retries and back-off, packed by the worker
--   state     due | ready | held | back            attempts   begun, this one included; failed: ended with an error
--   due       ms when it fires or is tried again   deaths, losses   workers that ended while they held it
--   intent    nonce while ready                    failures   the last few: {attempt, begun, ended, blob}
--   token, by who holds it since begun             absolute   due is the server's time, not its instance's
--   heartbeat   ms that whoever has the token of a wait may be silent; heard   of its last heartbeat, in its instance's time
--   sensitive   people are not shown the payload of its event
--   details, heard   of the last heartbeat of an attempt
--   policy    what becomes of a child that is waited for no more: terminate | cancel; absent: it goes on
--   rollback  a handler undoes it: 'rb' is the kind of those handlers, whose records are those of steps
local record = {}

function record.held_member(I, worker, kind, seq, token)
  return worker .. '|' .. kind .. '|' .. instance.who(I) .. seq .. '|' .. token
end

function record.lease_is_live(worker)
  local expiry = redis.call('ZSCORE', shard.workers, worker)
  return expiry and tonumber(expiry) > REAL
end

-- A step that begins with whoever asks for it: the values it is asked with, and the rest of them. Not by way of a record,
-- because this is done for each step of a row.
function record.begin(I, v, worker, token)
  v[5], v[6] = NOW, 'held'
  v[10], v[11], v[12], v[13], v[14], v[15], v[16], v[17], v[18], v[19] = 1, 0, 0, 0, false, false, token, worker, NOW, false
  instance.set(I, 'act', I.act + 1)
  redis.call('ZADD', shard.held, 0, record.held_member(I, worker, 'a', v[2], token))
  redis.call('HSET', I.o, v[2], cmsgpack.pack(v))
end

-- A step that this worker holds under this token, as far as that is concerned; nil when it does not, or the record cannot
-- be read. For results, which need no more of it.
function record.held(I, seq, worker, token)
  local ok, v = pcall(cmsgpack.unpack, redis.call('HGET', I.o, seq))
  local is_step = ok and type(v) == 'table' and (v[1] == 'do' or v[1] == 'rb')
  if is_step and v[2] == seq and v[6] == 'held' and v[16] == token and v[17] == worker then
    return {kind = v[1], seq = seq, state = 'held', token = token, by = worker}
  end
end

-- Rarely:

function record.is_step(r) return r.kind == 'do' or r.kind == 'rb' end

-- The values behind the first `n`, if there are any.
local function behind(v, n) return #v > n and {unpack(v, n + 1)} or nil end

-- The record whose values these are; nil when they are of no kind.
function record.of(v)
  local kind = v[1]
  if kind == 'do' or kind == 'rb' then
    return {kind = v[1], seq = v[2], name = v[3], count = v[4], asked = v[5], state = v[6], queue = v[7], timeout = v[8],
      config = v[9], attempts = v[10], failed = v[11], deaths = v[12], losses = v[13], due = v[14] or nil,
      intent = v[15] or nil, token = v[16] or nil, by = v[17] or nil, begun = v[18] or nil, failures = v[19] or nil,
      rollback = v[20] or nil, details = v[21] or nil, heard = v[22] or nil, more = behind(v, 22)}
  elseif kind == 'sleep' then
    return {kind = v[1], seq = v[2], name = v[3], count = v[4], asked = v[5], due = v[6] or nil, ms = v[7],
      absolute = v[8] or nil, more = behind(v, 8)}
  elseif kind == 'wait' then
    return {kind = v[1], seq = v[2], name = v[3], count = v[4], asked = v[5], due = v[6] or nil, ms = v[7], type = v[8],
      heartbeat = v[9] or nil, heard = v[10] or nil, sensitive = v[11] or nil, more = behind(v, 11)}
  elseif kind == 'child' then
    return {kind = v[1], seq = v[2], name = v[3], count = v[4], asked = v[5], workflow = v[6], id = v[7],
      policy = v[8] or nil, more = behind(v, 8)}
  end
end

-- The same back again. Not by a loop over names: this is done four times for each step.
function record.encode(r)
  local v
  if record.is_step(r) then
    v = {r.kind, r.seq, r.name, r.count, r.asked, r.state, r.queue, r.timeout, r.config, r.attempts, r.failed, r.deaths,
      r.losses, r.due or false, r.intent or false, r.token or false, r.by or false, r.begun or false, r.failures or false,
      r.rollback, r.details, r.heard}
    if r.more or r.details then v[20], v[21], v[22] = r.rollback or false, r.details or false, r.heard or false end
  elseif r.kind == 'sleep' then
    v = {r.kind, r.seq, r.name, r.count, r.asked, r.due, r.ms, r.absolute or false}
  elseif r.kind == 'wait' then
    v = {r.kind, r.seq, r.name, r.count, r.asked, r.due, r.ms, r.type, r.heartbeat, r.heard, r.sensitive}
    if r.more or r.sensitive then v[9], v[10], v[11] = r.heartbeat or false, r.heard or false, r.sensitive or false end
  else
    v = {r.kind, r.seq, r.name, r.count, r.asked, r.workflow, r.id, r.policy}
    if r.more then v[8] = r.policy or false end
  end
  for _, value in ipairs(r.more or {}) do v[#v + 1] = value end
  return cmsgpack.pack(v)
end

-- Rarely:

local function is_open_step(r)
  if r.state == 'ready' then
    if type(r.intent) ~= 'string' then return false end
  elseif r.state == 'held' then
    if type(r.token) ~= 'string' or type(r.by) ~= 'string' then return false end
  elseif r.state == 'back' then
    if type(r.due) ~= 'number' then return false end
  elseif r.state ~= 'due' then
    return false
  end
  return type(r.attempts) == 'number' and type(r.failed) == 'number' and type(r.deaths) == 'number'
    and type(r.losses) == 'number' and type(r.queue) == 'string' and string.find(r.queue, '^[%w_-]+$') ~= nil
end

local function is_open(r, seq)
  if r.seq ~= seq or type(r.name) ~= 'string' or type(r.count) ~= 'number' then return false end
  if record.is_step(r) then return is_open_step(r) end
  if r.kind == 'child' then return type(r.workflow) == 'string' and type(r.id) == 'string' end
  if r.kind == 'wait' and r.heartbeat and not (type(r.heartbeat) == 'number' and type(r.ms) == 'number'
      and type(r.heard or 0) == 'number') then
    return false
  end
  return type(r.due) == 'number' and (r.kind == 'sleep' or type(r.type) == 'string')
end

-- What is stored as an open record, or nil, and then the instance is going to be parked.
function record.decode(I, seq, blob)
  local ok, values = pcall(cmsgpack.unpack, blob)
  local r = ok and type(values) == 'table' and record.of(values)
  if r and is_open(r, tonumber(seq)) then return r end
  aside.spoil(I, I.o, seq, 'its open record ' .. aside.shortened(seq) .. ' cannot be read')
end

function record.get(I, seq)
  local blob = redis.call('HGET', I.o, seq)
  return blob and record.decode(I, seq, blob) or nil
end

-- Rarely:

-- Takes a record out of the shard, whatever its state.
function record.unlist(I, r)
  if r.state == 'ready' then
    redis.call('ZREM', shard.intents, record.intent_member(I, 'a', r.seq, r.intent, r.queue))
  elseif r.state == 'held' then
    local member = record.held_member(I, r.by, 'a', r.seq, r.token)
    redis.call('ZREM', shard.held, member)
    -- Else its holder learns that nobody wants the result when it renews its lease. Who does this itself knows.
    if r.by ~= A.w then redis.call('PUBLISH', 'workflows:held:' .. r.by, member) end
  elseif record.is_timed(r) then
    redis.call('ZREM', shard.timers, record.timer_member(I, r))
    if r.kind == 'wait' then record.unkey(I, r) end
  end
end

-- Takes a record out of every place that knows it, and leaves the record itself to the caller.
function record.disarm(I, r)
  record.unlist(I, r)
  if r.state == 'ready' or r.state == 'held' then
    instance.set(I, 'act', I.act - 1)
  elseif r.state == 'due' then
    redis.call('ZREM', I.q, 'd|' .. queue.ordered(r.seq))
  elseif r.kind == 'wait' then
    record.unlisten(I, r)
  end
end

-- Rarely:

function record.save(I, r) redis.call('HSET', I.o, r.seq, record.encode(r)) end

function record.intent_member(I, kind, seq, n, queue) return kind .. '|' .. instance.who(I) .. seq .. '|' .. n .. '|' .. queue end

function record.add_intent(I, kind, seq, n, queue)
  local member = record.intent_member(I, kind, seq, n, queue)
  redis.call('ZADD', shard.intents, waking.ring(I.wf, I.id, kind, n, member, queue), member)
end

-- Lets a step that is disarmed be handed out again, by the next `pump`, which also writes the record.
function record.back_to_due(I, r)
  r.state, r.due, r.intent, r.token, r.by = 'due', nil, nil, nil, nil
  I.due[#I.due + 1] = r
end

-- Rarely:

-- Open records in the order of asking, as many as this call may still take up; the cursor behind them, none when these
-- are all there are; and the fields they stand in, those that cannot be read included. A hash that Redis keeps as one
-- piece, with up to 512 small records in it, comes whole.
function record.some(I, cursor)
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
    all[#all + 1] = record.decode(I, found[at], found[at + 1])
  end
  budget = math.max(0, budget - #fields)
  table.sort(all, function(a, b) return a.seq < b.seq end)
  return all, more, fields
end

-- Rarely:

local TIMER_KIND = {sleep = 's', wait = 'w', ['do'] = 'b', rb = 'b'}

function record.timer_member(I, r) return TIMER_KIND[r.kind] .. '|' .. instance.who(I) .. r.seq end

-- Whether a timer belongs to it: of steps, to those that wait for their next attempt.
function record.is_timed(r) return r.kind ~= 'child' and (not record.is_step(r) or r.state == 'back') end

-- When whoever has the token of a wait has been silent for too long, if that comes before its timeout does.
function record.silent_at(r)
  local at = r.heartbeat and (r.heard or r.due - r.ms) + r.heartbeat
  return at and at < r.due and at or nil
end

function record.moment(I, r) return r.absolute and r.due or (record.silent_at(r) or r.due) + I.stood end

function record.arm(I, r)
  if I.want ~= '' then return end
  local member = record.timer_member(I, r)
  redis.call('ZADD', shard.timers, record.moment(I, r), member)
  -- The owner sleeps until the earliest timer it knows of, so it must hear of an earlier one.
  if redis.call('ZRANGE', shard.timers, 0, 0)[1] == member then wake() end
end

-- What a wait listens to, see `listening.py`.
function record.types(r) return string.gmatch(r.type, '[^|]+') end

function record.has_key(name) return string.find(name, '=', 1, true) end

function record.keyed_line(I, r, ty) return ty .. '|' .. instance.who(I) .. r.seq end

function record.unkey(I, r)
  if not record.has_key(r.type) then return end
  for ty in record.types(r) do
    if record.has_key(ty) then redis.call('ZREM', shard.keyed(), record.keyed_line(I, r, ty)) end
  end
end

-- Where a wait stands in the queue of a type.
function record.waiter(r, ty) return 'w|' .. ty .. '|' .. queue.ordered(r.seq) end

function record.unlisten(I, r)
  for ty in record.types(r) do redis.call('ZREM', I.q, record.waiter(r, ty)) end
end

-- Rarely:

-- Writes what came of it into the journal.
function record.answer(I, kind, r, more)
  local body = {q = r.seq, n = r.name, c = r.count, t = NOW, s = r.begun or r.asked, a = r.attempts, rb = r.rollback}
  for field, value in pairs(more) do body[field] = value end
  journal.append(I, kind, body)
end

-- Rarely:

-- Takes a step from whoever holds it.
function record.give_back(I, r)
  record.disarm(I, r)
  record.back_to_due(I, r)
end

-- Rarely:

-- A poll looks again: {in how many ms, for how many in all, failure blob when that is over}. Its last look is at the end
-- of its time. A look that came to its end is no death.
function record.look_again(I, r, poll)
  local left = r.asked + poll[2] - NOW
  if left <= 0 then
    redis.call('HDEL', I.o, r.seq)
    record.answer(I, 'S', r, {x = poll[3], f = r.failures, g = r.config})
    return
  end
  r.state, r.due, r.token, r.by = 'back', instance.own_time(I) + math.min(poll[1], left), nil, nil
  r.deaths, r.losses = 0, 0
  record.arm(I, r)
  record.save(I, r)
end

-- Rarely:

-- Has a step tried again in so many ms of its instance's time, because of this: {attempt, begun, ended, failure blob}.
function record.try_again(I, r, delay, failed)
  r.failed, r.token, r.by = r.failed + 1, nil, nil
  r.failures = r.failures or {}
  r.failures[#r.failures + 1] = failed
  local weight = 0
  for _, one in ipairs(r.failures) do weight = weight + #one[4] end
  while #r.failures > limits.FAILURES_KEPT or weight > limits.FAILURES_BYTES and #r.failures > 1 do
    weight = weight - #table.remove(r.failures, 1)[4]
  end
  -- Time stands still while pausing: a back-off is kept then, not armed.
  if delay <= 0 and I.want == '' then
    record.back_to_due(I, r)
  else
    r.state, r.due = 'back', instance.own_time(I) + delay
    record.arm(I, r)
    record.save(I, r)
  end
end

-- Rarely:

-- What `StepInterrupted` is stored as (failure.py).
local function interruption()
  local text = 'the attempt was cut off by the end of its worker, or of what that holds: what it does may have happened, '
    .. 'or part of it'
  local name = 'StepInterrupted'
  return '\1' .. cmsgpack.pack({n = name, m = 'workflows.errors', q = name, s = text, t = '', r = true})
end

-- How long a step waits after so many failures; the same as `delay_ms` in retries.py, without jitter.
local function wait_of(config, failed)
  local wait = config.d
  if config.b == 'linear' then wait = wait * failed end
  if config.b == 'exponential' then wait = wait * (config.r or 2) ^ math.min(failed - 1, 64) end
  return math.floor(math.min(wait, config.m or limits.DURATION_MS_MAX, limits.DURATION_MS_MAX))
end

-- An attempt that is out of the shard was cut off. Of a step that runs at most once it has failed, for it may have done
-- its work: what comes of that is written. Returns false of any other step, about which nothing is done.
function record.interrupt(I, r)
  local ok, config = pcall(cmsgpack.unpack, r.config or '')
  if not ok or type(config) ~= 'table' or config.o == nil then return false end
  local failed = {r.attempts, r.begun or NOW, NOW, interruption()}
  if config.o and r.failed < config.l then
    record.try_again(I, r, wait_of(config, r.failed + 1), failed)
  else
    redis.call('HDEL', I.o, r.seq)
    local failures = r.failures or {}
    failures[#failures + 1] = failed
    if #failures > limits.FAILURES_KEPT then table.remove(failures, 1) end
    record.answer(I, r.kind == 'rb' and 'B' or 'S', r, {x = failed[4], f = failures, g = r.config})
  end
  return true
end

-- Rarely:

-- What an attempt has said with its heartbeat.
function record.hear(r, details) r.details, r.heard = details, NOW end

-- Rarely:

-- A worker takes a step. Returns the record as stored.
function record.hold(I, r, worker, token)
  r.state, r.token, r.by, r.begun, r.intent = 'held', token, worker, NOW, nil
  redis.call('ZADD', shard.held, 0, record.held_member(I, worker, 'a', r.seq, token))
  local blob = record.encode(r)
  redis.call('HSET', I.o, r.seq, blob)
  return blob
end
