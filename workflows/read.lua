-- Reads an instance in one moment; writes nothing.
-- ARGV   fields = names of header fields, and params, sched, out, err, warn, which the first and last element of the
--        journal hold; [from] = first journal entry wanted, page = most entries, bytes = no further entries once there
--        are so many bytes
-- Reply  false when there is no such instance | {now, values, length of the journal, entries, open records}
-- Open records come with the end of the journal only: then no step is missing from both and none is in both.
local values = redis.call('HMGET', KEYS[10], unpack(A.fields))
if redis.call('EXISTS', KEYS[10]) == 0 then return reply(false) end
local length = redis.call('LLEN', KEYS[11])
local places, start, ending = {params = 'p', sched = 'sc', out = 'v', err = 'x', warn = 'w'}, nil, {}
if redis.call('HEXISTS', KEYS[10], 'ended') == 1 then
  ending = body_of(KEYS[11], -1)
  length = length - 1
end
for n, name in ipairs(A.fields) do
  local place = places[name]
  if place == 'p' or place == 'sc' then
    start = start or body_of(KEYS[11], 0)
    values[n] = start[place] or false
  elseif place then
    values[n] = ending[place] or false
  end
end
local entries, records = {}, {}
if A.from then
  local at, bytes = A.from, 0
  while at < length and #entries < A.page and bytes < A.bytes do
    local some = redis.call('LRANGE', KEYS[11], at, math.min(at + 20, at + A.page - #entries, length) - 1)
    for _, blob in ipairs(some) do
      entries[#entries + 1] = blob
      bytes = bytes + #blob
    end
    at = at + #some
  end
  if at >= length then records = redis.call('HVALS', KEYS[12]) end
end
return reply({NOW, values, length, entries, records})
