-- Takes a request off the inbox, and keeps it with its reason where it was refused.
-- KEYS   inbox, refused          ARGV   id, reason ('' = applied), keep
-- Reply  1 | 0 (was gone). Sent twice: 0, and nothing is kept twice.
local entry = redis.call('XRANGE', KEYS[1], A.id, A.id)[1]
if not entry then return reply(0) end
if A.reason ~= '' then
  local fields = entry[2]
  fields[#fields + 1] = 'reason'
  fields[#fields + 1] = A.reason
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', A.keep, '*', unpack(fields))
end
redis.call('XDEL', KEYS[1], A.id)
if redis.call('XLEN', KEYS[1]) == 0 then redis.call('DEL', KEYS[1]) end
return reply(1)
