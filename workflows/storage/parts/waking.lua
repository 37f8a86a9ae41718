-- uses: aside bell
-- Telling whoever is to hear of it that there is something to hand out.
local waking, awake, rings = {}, false, {}

-- The shard's owner, who blocks on this.
local function wake()
  if awake then return end
  awake = true
  if redis.call('LLEN', shard.wake) == 0 then redis.call('RPUSH', shard.wake, '1') end
end

-- Rarely:

-- While its lease lasts, the owner permits whoever makes an intent to ring by itself, with what stands in its field
-- `permit`, as doorbell.py has it:
--   PERMIT   {job, waiting, queues, name, head, tail, limited}   limited = workflows whose intents only the owner hands
--            out, because it knows who has to be put under their limit before (I13)
local permit

local function permitted()
  if permit == nil then
    local o = redis.call('HMGET', shard.owner, 'permit', 'expiry')
    permit = o[1] and (tonumber(o[2]) or 0) > REAL and cmsgpack.unpack(o[1])
  end
  return permit
end

-- Intents of this call included.
local backlog

local function prepare(wf, of, kind, n, member, queue)
  local p = permitted()
  if not p or p.limited[wf] then return false end
  rings[queue] = rings[queue] or {queue = p.name .. queue, waiting = p.waiting .. p.name .. queue, queues = p.queues}
  local id = string.match(shard.intents, '/(%d+)}') .. '-' .. n
  local what = (kind == 't' and 'turn of ' or 'step of ') .. wf .. '/' .. of
  table.insert(rings[queue], {job = p.job .. id, id = id, data = p.head .. member .. p.tail, what = what, member = member})
  return true
end

-- Rings for a new intent, or leaves that to the owner. Returns when it is to be looked at (again). What stands in RQ's
-- keys, or as permit, may be anything: whatever goes wrong, it is the owner who rings, and puts it right (I11).
function waking.ring(...)
  local ok, is_rung = pcall(prepare, ...)
  if ok and is_rung then
    backlog = (backlog or redis.call('ZCARD', shard.intents)) + 1
    return bell.next_look(backlog)
  end
  wake()
  return REAL
end

-- Hangs the doorbells of this call, all of a queue at once.
function waking.hang()
  for _, jobs in pairs(rings) do
    local ok, err = pcall(bell.hang, jobs.waiting, jobs.queues, jobs.queue, jobs)
    if not ok or err then
      for _, one in ipairs(jobs) do redis.call('ZADD', shard.intents, 'XX', REAL, one.member) end
      wake()
    end
  end
end
