-- uses: aside
-- For scripts that Redis must not refuse when its memory is full (F45): proofs of life, what frees memory, and what brings
-- home what has begun. All others are refused at their first write, and so as a whole.
local room = {}
aside.insists = true

-- Whether there is none. To be asked before anything is written: afterwards Redis refuses nothing.
function room.is_short()
  local answer = server.pcall('ZADD', shard.timers, 'XX', 0, '')
  return type(answer) == 'table' and string.find(answer.err, 'OOM', 1, true) ~= nil
end
