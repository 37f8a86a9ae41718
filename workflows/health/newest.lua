-- uses: shard
-- The newest instances of a shard in a status, of whatever workflows, from the index; writes nothing.
-- ARGV   status; n = how many; workflows = of how many workflows at most, [workflow] = of this one only
-- Reply  {list of {created|id, workflow}, the newest first; whether there may be more}
local found, more = {}, false

local function take(workflow)
  local prefix = A.status .. '|' .. workflow .. '|'
  local members = redis.call('ZREVRANGEBYLEX', shard.index, '(' .. prefix .. '\255', '[' .. prefix, 'LIMIT', 0, A.n + 1)
  for _, member in ipairs(members) do found[#found + 1] = {string.sub(member, #prefix + 1), workflow} end
end

if A.workflow then
  take(A.workflow)
else
  -- From one workflow to the next, however many instances lie between.
  local behind, looked = '[' .. A.status .. '|', 0
  while true do
    local first = redis.call('ZRANGEBYLEX', shard.index, behind, '(' .. A.status .. '|\255', 'LIMIT', 0, 1)[1]
    local workflow = first and string.match(first, '^%a+|([^|]*)|')
    if not workflow then break end
    if looked == A.workflows then
      more = true
      break
    end
    take(workflow)
    behind, looked = '(' .. A.status .. '|' .. workflow .. '|\255', looked + 1
  end
end
table.sort(found, function(one, other) return one[1] > other[1] end)
more = more or #found > A.n
return reply({{unpack(found, 1, math.min(#found, A.n))}, more})
