-- Reads an instance in one moment; writes nothing.
-- ARGV   fields = names of header fields; [from] = first journal entry wanted, page = most entries, bytes = no further
--        entries once there are so many bytes
-- Reply  false when there is no such instance | {now, header values, length of the journal, entries, open records}
-- Open records come with the end of the journal only: then no step is missing from both and none is in both.
local values = redis.call('HMGET', KEYS[10], unpack(A.fields))
if redis.call('EXISTS', KEYS[10]) == 0 then return reply(false) end
local entries, records, length = {}, {}, 0
if A.from then
  length = redis.call('LLEN', KEYS[11])
  local at, bytes = A.from, 0
  while at < length and #entries < A.page and bytes < A.bytes do
    local some = redis.call('LRANGE', KEYS[11], at, at + math.min(20, A.page - #entries) - 1)
    for _, blob in ipairs(some) do
      entries[#entries + 1] = blob
      bytes = bytes + #blob
    end
    at = at + #some
  end
  if at >= length then records = redis.call('HVALS', KEYS[12]) end
end
return reply({NOW, values, length, entries, records})
