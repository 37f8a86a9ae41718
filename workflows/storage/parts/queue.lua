-- uses: instance
-- The queues of an instance.
--
-- One sorted set per instance, whose members all have score 0 and are read by prefix, so that the first of each queue is
-- found at once however long it is:
--   w|type|seq       open waits, each under all it is for
--   m|type|number    events kept, by order of acceptance
--   g|seq|index      the wait `seq` got its event in entry `index`, which no turn has been decided over yet
--   d|seq            steps to be handed out later: time stands still, or there are too many for one call
--   c|number|type    types whose oldest event, `number`, may have found a wait
local queue = {}

-- Rarely:

-- A number as text whose order is that of the numbers: how many digits it has, as a letter, then the digits.
function queue.ordered(n)
  local digits = string.format('%.0f', n)
  return string.char(64 + #digits) .. digits
end

function queue.add(I, member) redis.call('ZADD', I.q, 0, member) end

function queue.first(I, prefix)
  local member = redis.call('ZRANGEBYLEX', I.q, '[' .. prefix, '(' .. prefix .. '\255', 'LIMIT', 0, 1)[1]
  return member, member and tonumber(string.sub(member, #prefix + 2))
end

-- The same for queues of numbers; what is none goes.
function queue.first_number(I, prefix)
  while true do
    local member, number = queue.first(I, prefix)
    if not member or number and member == prefix .. queue.ordered(number) then return member, number end
    redis.call('ZREM', I.q, member)
    aside.spoil(I, I.q, member, 'its queues hold what does not belong there')
  end
end

-- Reading by prefix depends on equal scores: one member with another score may hide all others. Returns whether there
-- was any; it goes, and a sweep after the instance was resumed finds what is missing.
function queue.straighten(I)
  local strange = redis.call('ZREMRANGEBYSCORE', I.q, '-inf', '(0') + redis.call('ZREMRANGEBYSCORE', I.q, '(0', '+inf')
  if strange > 0 then aside.spoil(I, I.q, '', 'its queues are out of order') end
  return strange > 0
end
