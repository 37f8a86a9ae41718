-- uses: shard
-- Reads some fields of the headers of several instances; writes nothing.
-- ARGV   fields
-- Reply  for each instance the values, false for one that is not there; all are false where the header cannot be read
local found = {}
for place = SHARD_KEYS + 1, #KEYS, INSTANCE_KEYS do
  local values = redis.pcall('HMGET', KEYS[place], unpack(A.fields))
  found[#found + 1] = values.err and {} or values
end
return reply(found)
