-- uses: pausing slot
-- For every script that changes an instance: facts first, then `pump`, then `flush`.
--
-- `pump` is the only place that decides what happens next: it derives status, intents and the next turn from the facts,
-- so no script can forget to wake an instance (I10).

-- Steps that are due and wait for a later call: `due` of an instance holds records, and seqs of those that are written.
local function write_due(I, from)
  for at = from, #I.due do
    local r = I.due[at]
    if type(r) == 'table' then
      record.save(I, r)
      I.due[at] = r.seq
    end
  end
end

local function pump(I)
  if FINAL[I.st] then return end
  if I.bad and I.want == '' then pausing.park(I) end
  if I.want ~= '' then
    write_due(I, 1)
    instance.set_status(I, I.act > 0 and 'waitingForPause' or 'paused')
    if I.slot ~= '' then slot.stand_still(I) end
    return
  end
  if I.slot ~= '' and slot.is_missing(I) then
    write_due(I, 1)
    return
  end
  -- Until nothing is open any more there is nothing to hand out.
  if I.rest.clear then
    write_due(I, 1)
    instance.set_status(I, 'running')
    return
  end
  -- A decision is taken relative to the one before, so that one has to be applied whole.
  if I.len > I.pos and I.turn == '' and not I.rest.at then turn.open(I) end
  if I.rest.due and budget > 0 then
    local queued = redis.call('ZRANGEBYLEX', I.q, '[d|', '(d|\255', 'LIMIT', 0, budget)
    if #queued < budget then I.rest.due = nil end
    for _, member in ipairs(queued) do
      local seq = tonumber(string.sub(member, 4))
      if seq then I.due[#I.due + 1] = seq else aside.spoil(I, I.q, member, 'its queues hold what does not belong there') end
    end
    if #queued > 0 then redis.call('ZREM', I.q, unpack(queued)) end
  end
  local taken = 0
  while taken < #I.due and budget > 0 do
    taken = taken + 1
    local r = I.due[taken]
    if type(r) ~= 'table' then r = record.get(I, r) end
    if r and r.state == 'due' then
      r.state, r.intent = 'ready', nonce()
      record.save(I, r)
      instance.set(I, 'act', I.act + 1)
      record.add_intent(I, 'a', r.seq, r.intent, r.queue)
      budget = budget - 1
    end
  end
  write_due(I, taken + 1)
  I.due = {unpack(I.due, taken + 1)}
  if I.started == '' then
    instance.set_status(I, 'queued')
  elseif I.turn ~= '' or I.act > 0 or #I.due > 0 or I.rest.due or I.rest.at or I.rest.mail then
    instance.set_status(I, 'running')
  else
    instance.set_status(I, 'waiting')
    if I.slot ~= '' then slot.free(I) end
  end
end

-- Last of all: writes the headers and rings; what turned out to be unreadable on the way parks its instance.
local function flush()
  for _, I in pairs(loaded) do
    if I then
      -- Nothing would ever wake it (I10).
      if I.changed.st == 'waiting' and not I.bad and redis.call('HLEN', I.o) == 0 then
        aside.spoil(I, I.o, '', 'what it waited for is gone: restart or delete it')
      end
      if I.bad then pump(I) end
      for _, seq in ipairs(I.due) do
        queue.add(I, 'd|' .. queue.ordered(seq))
        I.rest.due = 1
      end
      instance.write(I)
    end
  end
  if next(rings) then waking.hang() end
end
