-- Reads some of the messages for other shards, whichever: one that cannot be delivered now stands in nobody's way.
-- KEYS   relay
-- ARGV   n = most messages, bytes = no further ones once there are so many bytes
-- Reply  {ids, blobs}; reads only
local relay = KEYS[1]
local ids, blobs, weight = {}, {}, 0
for at, id in ipairs(redis.call('HRANDFIELD', relay, A.n)) do
  if weight >= A.bytes then break end
  ids[at], blobs[at] = id, redis.call('HGET', relay, id)
  weight = weight + #blobs[at]
end
return reply({ids, blobs})
