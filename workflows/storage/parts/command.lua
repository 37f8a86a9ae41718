-- uses: aside
-- Command ids: a repeated call gets the answer of the first (M2). Kept per instance, pruned by age.
local command = {}

-- Rarely:

function command.remembered(I, cid)
  local stored = cid and redis.call('HGET', I.c, cid)
  return stored and string.sub(stored, 15)
end

function command.remember(I, cid, value)
  if not cid then return value end
  redis.call('HSET', I.c, cid, string.format('%014.0f', REAL) .. value)
  if redis.call('HLEN', I.c) > limits.COMMAND_IDS then
    local all, drop = redis.call('HGETALL', I.c), {}
    local order = {}
    for at = 1, #all, 2 do order[#order + 1] = {all[at + 1], all[at]} end
    table.sort(order, function(a, b) return string.sub(a[1], 1, 14) < string.sub(b[1], 1, 14) end)
    for at = 1, limits.COMMAND_IDS / 2 do drop[at] = order[at][2] end
    redis.call('HDEL', I.c, unpack(drop))
  end
  return value
end
