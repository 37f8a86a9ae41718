-- uses: shard
-- Lists one shard's instances of a workflow by moment of creation, from the index; writes nothing.
-- ARGV   wf, statuses, n = most instance.loaded, after = created|id of the last one seen or '', [oldest] = oldest first
-- Reply  list of {created|id, status}, in order within each status, so up to `n` of each: whoever asked sorts them
local found = {}
for _, status in ipairs(A.statuses) do
  local prefix = status .. '|' .. A.wf .. '|'
  local members
  if A.oldest then
    local start = A.after == '' and '[' .. prefix or '(' .. prefix .. A.after
    members = redis.call('ZRANGEBYLEX', shard.index, start, '(' .. prefix .. '\255', 'LIMIT', 0, A.n)
  else
    local start = '(' .. prefix .. (A.after == '' and '\255' or A.after)
    members = redis.call('ZREVRANGEBYLEX', shard.index, start, '[' .. prefix, 'LIMIT', 0, A.n)
  end
  for _, member in ipairs(members) do found[#found + 1] = {string.sub(member, #prefix + 1), status} end
end
return reply(found)
