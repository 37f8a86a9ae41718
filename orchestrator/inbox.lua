-- Reads requests off the inbox one by one, so that what is too large for one is not carried anywhere.
-- KEYS   inbox
-- ARGV   n = most requests, bytes = no further ones once there are so many bytes, fields and most = what one may have
-- Reply  list of {id, fields and values, or false for one that is too large, its fields, its bytes}; reads only
local inbox = KEYS[1]
local found, bytes, start = {}, 0, '-'
while #found < A.n and bytes < A.bytes do
  local entry = redis.call('XRANGE', inbox, start, '+', 'COUNT', 1)[1]
  if not entry then break end
  local size, count = 0, #entry[2] / 2
  for _, text in ipairs(entry[2]) do size = size + #text end
  bytes = bytes + size
  found[#found + 1] = {entry[1], count <= A.fields and size <= A.most and entry[2] or false, count, size}
  start = '(' .. entry[1]
end
return reply(found)
