-- uses: pump mailbox ending undoing published streams
-- What `run` has decided, applied. Its fields are those of `Decision` in records.py.
local decision = {}

-- Opens what was asked: {the first values of an open record, [a message to the child's shard]}. `born` = {worker, token}
-- makes the one new step start held by its asker (eager continuation).
function decision.open(I, asked, born)
  if born then return record.begin(I, asked[1], born.worker, born.token) end
  local r = record.of(asked[1])
  r.asked = NOW
  if record.is_step(r) then
    r.attempts, r.failed, r.deaths, r.losses = 0, 0, 0, 0
    record.back_to_due(I, r)
  elseif r.kind == 'child' then
    record.save(I, r)
    ending.ask(I, r, asked[2])
  else
    r.due = r.due or instance.own_time(I) + r.ms
    if r.kind == 'wait' then mailbox.listen(I, r) end
    record.save(I, r)
    record.arm(I, r)
  end
end

-- Gives up what a decision gives up. Returns how many were withdrawn, and whether nothing came back to the mailbox by
-- that; and what of the decision is left, when as many bytes came back as one call may carry.
function decision.change(I, D, f)
  local withdrawn, alone = 0, true
  for at, one in ipairs(D.w) do
    if mailbox.returned >= limits.SLICE_BYTES then return withdrawn, alone, {w = {unpack(D.w, at)}, o = D.o} end
    local seq, kind, is_detached = one[1], one[2], one[3]
    local r = record.get(I, seq)
    if r then
      record.disarm(I, r)
      if r.policy then ending.part_with(I, r) end
      redis.call('HDEL', I.o, seq)
      record.answer(I, 'W', r, {k = r.kind, due = r.due})
      withdrawn = withdrawn + 1
    elseif kind == 'wait' then
      alone = not mailbox.put_back(I, seq, is_detached and f or I.len) and alone
    end
  end
  return withdrawn, alone
end

local LOOK = {}

-- Rarely:

-- Ends this life and begins the next, which has other params and the mailbox: what is given up may have received an event,
-- which goes back there.
function decision.begin_next(I, D, f)
  local left = D
  while left do
    mailbox.returned = 0
    left = select(3, decision.change(I, left, f))
  end
  redis.call('ZREMRANGEBYLEX', I.q, '[g|', '(g|\255')
  for _, name in ipairs(D.e.va or {}) do
    local mail, number = queue.first_number(I, 'm|' .. name .. '|')
    if mail then
      redis.call('ZREM', I.q, mail)
      redis.call('HDEL', I.m, 'e:' .. number)
    end
  end
  local start = journal.body_of(I.j, 0)
  start.p, start.t, start.cu = D.e.v, NOW, nil
  published.hand_on(I)
  I.rest = {mail = I.rest.mail}
  local why = I.stop ~= '' and redis.call('HGET', I.h, 'stop_for')
  local carry = I.stop ~= '' and deadline.carry(I)
  streams.drop(I.h)
  ending.renew(I, D.e.gen, start)
  if why then redis.call('HSET', I.h, 'stop_for', why) end
  if carry then carry() end
end

-- Applies a decision taken over the journal's first `f` entries, relative to the position decided before: `w` is given
-- up, `o` opened, `g` are the events it was fed, as {seq of the wait, index of the entry}, `v` what it has published; or
-- `e`, the end. A large one stands in the mailbox in `n` parts by then, and is applied by and by.
-- Returns true when the one opened step was born held.
function decision.apply(I, D, f, born)
  if D.v then published.add(I, D.v) end
  if D.e and D.e.gen then
    decision.begin_next(I, D, f)
    return false
  end
  if D.e then
    instance.set(I, 'pos', f)
    if D.e.rb == 'begin' then
      undoing.begin(I, D.e.x)
    elseif D.e.rb then
      undoing.done(I, D.e)
    else
      ending.finish(I, D.e.st, D.e)
    end
    return false
  end
  local tail = I.len == f
  local withdrawn, alone, left = decision.change(I, D, f)
  for _, note in ipairs(D.g or {}) do redis.call('ZREM', I.q, 'g|' .. queue.ordered(note[1]) .. '|' .. note[2]) end
  instance.set(I, 'pos', tail and f + withdrawn or f)
  if left then
    redis.call('HSET', I.m, turn.part_name(1), cmsgpack.pack(left))
    I.rest.at, I.rest.parts = 1, 1
    return false
  end
  -- `W` entries at the tail are decided already; an eager birth needs that nothing else is undecided.
  local eager = born and alone and #D.o == 1 and D.o[1][1][1] == 'do' and I.len == I.pos and record.lease_is_live(born.worker)
  for _, spec in ipairs(D.o) do decision.open(I, spec, eager and born) end
  if I.rest.mail then mailbox.match(I) end
  return eager or false
end

-- Rarely:

local ENTRY_KIND = {S = 'do', B = 'rb', T = 'sleep', X = 'wait', E = 'wait', C = 'child'}

-- What is open, or answered from entry `f` on, although the code that ends the instance has never asked for it: code
-- which was cut short must not pass for code which is done. `e.q` is what it asked for. Nil when there is nothing, `LOOK`
-- when that is more elements or bytes than one call may compare. Then the worker compares, and says with `e.l` how long the journal was:
-- while it holds the turn, what is open can only become entries.
function decision.unasked(I, e, f)
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
    local r = record.decode(I, open[at], open[at + 1])
    if r then look(r.seq, r.kind, r.count, r.name) end
  end
  local entries = journal.page(I.j, f, I.len, SLICE, limits.SLICE_BYTES)
  if #entries < I.len - f then return LOOK end
  for _, blob in ipairs(entries) do
    local entry = journal.body(blob)
    -- A request to end answers nothing.
    if string.sub(blob, 2, 2) ~= 'K' then
      look(entry.q, ENTRY_KIND[string.sub(blob, 2, 2)] or entry.k or '', entry.c, entry.n or '')
    end
  end
  return found[1] and found
end

-- Rarely:

-- The next part of a decision that was too large for one call.
function decision.take_part(I)
  local name = turn.part_name(I.rest.at)
  local ok, D = pcall(cmsgpack.unpack, redis.call('HGET', I.m, name) or '')
  if ok and type(D) == 'table' and type(D.w) == 'table' and type(D.o) == 'table' then
    local _, _, left = decision.change(I, D, I.pos)
    if left then
      redis.call('HSET', I.m, name, cmsgpack.pack(left))
      return
    end
    for _, spec in ipairs(D.o) do decision.open(I, spec) end
    -- What was opened is handed out by the same call.
    budget = math.max(0, budget - #D.w)
  else
    aside.spoil(I, I.m, name, 'a part of a decision cannot be read')
  end
  redis.call('HDEL', I.m, name)
  I.rest.at = I.rest.at + 1
  if I.rest.at > I.rest.parts then I.rest.at, I.rest.parts = nil, nil end
end
