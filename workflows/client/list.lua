-- uses: shard
-- Lists one shard's instances of a workflow by moment of creation, from the index; writes nothing.
-- ARGV   wf, statuses, low, high = where the range begins and ends, as '[' or '(' and a place, created|id: the bounds of
--        ZRANGEBYLEX; n = most of each status, [oldest] = oldest first; [count] = say how many there are, in place of it
-- Reply  list of {place, status}, in order within each status, so up to `n` of each: whoever asked sorts them; or a number
local function bound(edge, prefix) return string.sub(edge, 1, 1) .. prefix .. string.sub(edge, 2) end
local found, number = {}, 0
for _, status in ipairs(A.statuses) do
  local prefix = status .. '|' .. A.wf .. '|'
  local low, high = bound(A.low, prefix), bound(A.high, prefix)
  local members = {}
  if A.count then
    number = number + redis.call('ZLEXCOUNT', shard.index, low, high)
  elseif A.oldest then
    members = redis.call('ZRANGEBYLEX', shard.index, low, high, 'LIMIT', 0, A.n)
  else
    members = redis.call('ZREVRANGEBYLEX', shard.index, high, low, 'LIMIT', 0, A.n)
  end
  for _, member in ipairs(members) do found[#found + 1] = {string.sub(member, #prefix + 1), status} end
end
return reply(A.count and number or found)
