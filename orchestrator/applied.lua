-- Takes requests off the inbox, and keeps those that were refused, cut short, with the reason.
-- KEYS   inbox, refused
-- ARGV   items: list of {id, reason ('' = applied)}, keep = most refused ones, texts and cut = how many fields and values
--        of one, and how many bytes of each
-- Reply  how many were there. Sent twice: 0, and nothing is kept twice.
local inbox, refused = KEYS[1], KEYS[2]
local n = 0
for _, a in ipairs(A.items) do
  local entry = redis.call('XRANGE', inbox, a.id, a.id)[1]
  if entry then
    if a.reason ~= '' then
      local kept = {}
      for at = 1, math.min(#entry[2], A.texts) do kept[at] = string.sub(entry[2][at], 1, A.cut) end
      kept[#kept + 1] = 'reason'
      kept[#kept + 1] = a.reason
      redis.call('XADD', refused, 'MAXLEN', '~', A.keep, '*', unpack(kept))
    end
    n = n + redis.call('XDEL', inbox, a.id)
  end
end
if redis.call('XLEN', inbox) == 0 then redis.call('DEL', inbox) end
return reply(n)
