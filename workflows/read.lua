-- Reads an instance in one moment; writes nothing.
-- ARGV   fields = names of header fields, and params, sched, out, err, warn, which the first and last element of the
--        journal hold; [from] = first journal entry wanted, page = most entries, bytes = no further entries once there
--        are so many bytes
-- Reply  false when there is no such instance | 'unreadable' | {now, values, length of the journal, entries, open
--        records, seqs of those whose message to another shard is still on its way}
-- Open records come with the end of the journal only: then no step is missing from both and none is in both.
local values, length = redis.pcall('HMGET', KEYS[12], unpack(A.fields)), redis.pcall('LLEN', KEYS[13])
if values.err or type(length) == 'table' then return reply('unreadable') end
if redis.call('EXISTS', KEYS[12]) == 0 then return reply(false) end
local places, start, ending = {params = 'p', sched = 'sc', out = 'v', err = 'x', warn = 'w'}, nil, {}
if redis.call('HEXISTS', KEYS[12], 'ended') == 1 then
  ending = body_of(KEYS[13], -1)
  length = length - 1
end
local function text(value) return type(value) == 'string' and value end
for n, name in ipairs(A.fields) do
  local place = places[name]
  if place == 'p' or place == 'sc' then
    start = start or body_of(KEYS[13], 0)
    values[n] = text(start[place])
  elseif place then
    values[n] = text(ending[place])
  end
end
local entries, records = {}, {}
if A.from then
  local at, bytes = A.from, 0
  while at < length and #entries < A.page and bytes < A.bytes do
    local some = redis.call('LRANGE', KEYS[13], at, math.min(at + 20, at + A.page - #entries, length) - 1)
    for _, blob in ipairs(some) do
      entries[#entries + 1] = blob
      bytes = bytes + #blob
    end
    at = at + #some
  end
  -- Of another type, it is removed by the next script that changes the instance, which says so (`aside.lua`).
  if at >= length then records = redis.pcall('HVALS', KEYS[14]) end
  if records.err then records = {} end
end
-- The child of such a step may not be there yet. A relay as long as that is backed up, and looking through it would cost
-- everybody more than the answer is worth.
local starting, waiting = {}, redis.pcall('HLEN', KEYS[6])
if #records > 0 and type(waiting) == 'number' and waiting > 0 and waiting <= 2000 then
  local life = redis.call('HMGET', KEYS[12], 'wf', 'id', 'gen')
  local prefix = 'c|' .. (life[1] or '') .. '|' .. (life[2] or '') .. '|' .. (life[3] or '') .. '|'
  for _, id in ipairs(redis.call('HKEYS', KEYS[6])) do
    if string.sub(id, 1, #prefix) == prefix then starting[#starting + 1] = tonumber(string.sub(id, #prefix + 1)) end
  end
end
return reply({NOW, values, length, entries, records, starting})
