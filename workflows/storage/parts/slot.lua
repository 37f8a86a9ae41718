-- uses: instance
-- What an instance has of the limit on those that run at a time. Slots are counted in the shard of workflow and key
-- (`slots.lua`); the header's `slot` says how far an instance of a limited workflow is, as state|n|order|tag|key:
--   state  '-' it has none, 'a' asked for one, 'h' has one, 'u' the limit is gone
--   n      how often it has asked, so that each answer is known
--   order  of those that wait: woken ones first, then by age
--   tag    of the path to the key in the params (Concurrency), and key: whose slots these are
--
-- What both sides tell each other, as messages.py has it:
--   SLOT     {op, wf, id, gen, n, key, ord, st}
--   GRANT    {op, wf, id, gen, n, key, ord}
local slot = {}

-- Rarely:

function slot.of(I)
  if not I.limited then
    local st, n, ord, tag, key = string.match(I.slot, SLOT)
    I.limited = {st = st, n = tonumber(n), ord = ord, tag = tag, key = key}
  end
  return I.limited
end

-- Tells the shard of its slots how it is. Each asking has a message of its own, so none takes another's place.
function slot.tell(I)
  local s = slot.of(I)
  local message = {op = 'slot', wf = I.wf, id = I.id, gen = I.gen, n = s.n, key = s.key, ord = s.ord, st = s.st}
  redis.call('HSET', shard.relay, string.format('s|%s%.0f', instance.who(I), s.n), cmsgpack.pack(message))
  wake()
end

local function write(I)
  local s = slot.of(I)
  instance.set(I, 'slot', string.format('%s|%.0f|%s|%s|%s', s.st, s.n, s.ord, s.tag, s.key))
end

local function become(I, st)
  slot.of(I).st = st
  write(I)
  slot.tell(I)
end

-- One that runs without a slot, because its workflow had no limit when it began, is counted whatever the limit says.
local function adopt(I)
  slot.free(I)
  local s = slot.of(I)
  s.n, s.ord = s.n + 1, ''
  become(I, 'h')
end

local function ask(I)
  local s = slot.of(I)
  s.n = s.n + 1
  s.ord = I.started == '' and string.format('1%015.0f', tonumber(I.created)) or string.format('0%015.0f', NOW)
  become(I, 'a')
end

-- Gives back what it has, or no longer asks for it.
function slot.free(I)
  local st = slot.of(I).st
  if st == 'a' or st == 'h' then become(I, '-') end
end

-- Of one that is paused: what is in flight keeps the slot until it has ended.
function slot.stand_still(I)
  local st = slot.of(I).st
  if I.act <= 0 then slot.free(I) elseif st == '-' or st == 'a' then adopt(I) end
end

-- Whether it may not go on because it has no slot. Then it is queued, and has asked for one if there is something to do.
function slot.is_missing(I)
  local s = slot.of(I)
  if s.st == 'u' then return false end
  if s.st ~= 'h' and (I.turn ~= '' or I.act > 0) then adopt(I) end
  if s.st == 'h' then return false end
  if I.len > I.pos or #I.due > 0 or I.rest.due or I.rest.at or I.rest.mail then
    instance.set_status(I, 'queued')
    if s.st == '-' then ask(I) end
  else
    instance.set_status(I, 'waiting')
    slot.free(I)
  end
  return true
end

-- It is given the slot it asked for at the n-th time. Returns whether it still wants it.
function slot.take(I, n)
  local s = slot.of(I)
  if s.n ~= n or s.st ~= 'a' and s.st ~= 'h' then return false end
  s.st = 'h'
  write(I)
  return true
end

-- Counts it under this path and key from now on.
function slot.belong(I, tag, key)
  if I.slot == '' then I.limited = {st = '-', n = 0, ord = ''} end
  local s = slot.of(I)
  if s.st ~= 'u' and s.tag == tag and s.key == key then return end
  slot.free(I)
  s.st, s.tag, s.key = '-', tag, key
  write(I)
end

-- Its workflow has no limit any more. How often it has asked stays known, so that no answer of before fits later on.
function slot.forget(I)
  slot.free(I)
  slot.of(I).st = 'u'
  write(I)
end
