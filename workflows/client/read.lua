-- Reads an instance in one moment; writes nothing.
-- ARGV   fields = names of header fields, and params, sched, out, err, warn, which the first and last element of the
--        journal hold; [from] = first journal entry wanted, page = most entries, bytes = no further entries once there
--        are so many bytes, records = most open records (the same bytes), cursor = where to go on among them
-- Reply  false when there is no such instance | 'unreadable' | {now, values, length of the journal, entries, open
--        records, seqs of those whose message to another shard is still on its way}
-- Open records come with the end of the journal only: then no step is missing from both and none is in both. Where they
-- are too many for one reply, they come in pages with a cursor ('' behind the last), each with what was appended meanwhile.
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
local entries, records, cursor = {}, {}, ''
if A.from then
  entries = page_of(KEYS[13], A.from, length, A.page, A.bytes)
  cursor = A.cursor
  if A.from + #entries >= length and cursor ~= '' then
    -- Of another type, it is removed by the next script that changes the instance, which says so (`aside.lua`).
    local open = redis.pcall('HLEN', KEYS[14])
    if type(open) == 'table' then
      cursor = ''
    else
      records, cursor = values_of(KEYS[14], cursor, A.records, A.bytes)
    end
  end
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
return reply({NOW, values, length, entries, records, starting, cursor})
