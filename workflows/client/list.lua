-- uses: shard
-- Lists one shard's instances of a workflow by moment of creation, from the index; writes nothing.
-- ARGV   wf, statuses, [tags] = all meant have each of these; low, high = where the range begins and ends, as '[' or '('
--        and a place, created|id: the bounds of ZRANGEBYLEX; n = most of each status, [oldest] = oldest first;
--        [count] = say how many there are, in place of it
-- Reply  list of {place, status}, in order within each status, so up to `n` of each: whoever asked sorts them; '' for a
--        status: found by a tag. Or a number: as many at most, with tags
-- Several ways lead to those that have tags and a status. Read is the one along which there are fewest.
local function bound(edge, prefix) return string.sub(edge, 1, 1) .. prefix .. string.sub(edge, 2) end

local function length(way)
  local number = 0
  for _, one in ipairs(way) do
    number = number + redis.call('ZLEXCOUNT', shard.index, bound(A.low, one[1]), bound(A.high, one[1]))
  end
  return number
end

local best, fewest = {}, nil
for _, status in ipairs(A.statuses) do best[#best + 1] = {status .. '|' .. A.wf .. '|', status} end
if A.tags or A.count then fewest = length(best) end
for _, tag in ipairs(A.tags or {}) do
  local way = {{'#|' .. A.wf .. '|' .. tag .. '|', ''}}
  local number = length(way)
  if number < fewest then best, fewest = way, number end
end
if A.count then return reply(fewest) end
local found = {}
for _, one in ipairs(best) do
  local prefix = one[1]
  local low, high = bound(A.low, prefix), bound(A.high, prefix)
  local members
  if A.oldest then
    members = redis.call('ZRANGEBYLEX', shard.index, low, high, 'LIMIT', 0, A.n)
  else
    members = redis.call('ZREVRANGEBYLEX', shard.index, high, low, 'LIMIT', 0, A.n)
  end
  for _, member in ipairs(members) do found[#found + 1] = {string.sub(member, #prefix + 1), one[2]} end
end
return reply(found)
