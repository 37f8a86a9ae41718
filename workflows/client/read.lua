-- uses: journal
-- Reads an instance in one moment; writes nothing.
-- ARGV   fields = names of header fields, and params, sched, out, err, warn, undone, which the first and last element of the
--        journal hold; [from] = first journal entry wanted, page = most entries, bytes = no further entries once there
--        are so many bytes, records = most open records (the same bytes), cursor = where to go on among them; below
--        zero it is counted from the end; [mail] = most types of kept events
-- Reply  false when there is no such instance | 'unreadable' | {now, values, length of the journal, entries, open
--        records, seqs of those whose message to another shard is still on its way, cursor, kept events as {type, number}}
-- Open records come with the end of the journal only: then no step is missing from both and none is in both. Where they
-- are too many for one reply, they come in pages with a cursor ('' behind the last), each with what was appended meanwhile.
local relay, header, list, open = KEYS[6], KEYS[12], KEYS[13], KEYS[14]
local values, length = redis.pcall('HMGET', header, unpack(A.fields)), redis.pcall('LLEN', list)
if values.err or type(length) == 'table' then return reply('unreadable') end
if redis.call('EXISTS', header) == 0 then return reply(false) end
local places, start, ending = {params = 'p', sched = 'sc', out = 'v', err = 'x', warn = 'w', undone = 'rb'}, nil, {}
if redis.call('HEXISTS', header, 'ended') == 1 then
  ending = journal.ending_of(list)
  if not ending then return reply('unreadable') end
  length = length - 1
end
local function text(value) return type(value) == 'string' and value end
for n, name in ipairs(A.fields) do
  local place = places[name]
  if place == 'p' or place == 'sc' then
    start = start or journal.body_of(list, 0)
    values[n] = text(start[place])
  elseif place then
    values[n] = text(ending[place])
  end
end
local entries, records, cursor = {}, {}, ''
if A.from then
  local from = A.from < 0 and math.max(0, length + A.from) or A.from
  entries = journal.page(list, from, length, A.page, A.bytes)
  cursor = A.cursor
  if from + #entries >= length and cursor ~= '' then
    -- Of another type, it is removed by the next script that changes the instance, which says so (`aside.lua`).
    local count = redis.pcall('HLEN', open)
    if type(count) == 'table' then
      cursor = ''
    else
      records, cursor = journal.values(open, cursor, A.records, A.bytes)
    end
  end
end
-- The child of such a step may not be there yet. A relay as long as that is backed up, and looking through it would cost
-- everybody more than the answer is worth.
local starting, waiting = {}, redis.pcall('HLEN', relay)
if #records > 0 and type(waiting) == 'number' and waiting > 0 and waiting <= 2000 then
  local wf, id = string.match(header, '^[^}]*}:i:([^:]*):([^:]*):h$')
  local prefix = 'c|' .. wf .. '|' .. id .. '|' .. (redis.call('HGET', header, 'gen') or '') .. '|'
  for _, id in ipairs(redis.call('HKEYS', relay)) do
    if string.sub(id, 1, #prefix) == prefix then starting[#starting + 1] = tonumber(string.sub(id, #prefix + 1)) end
  end
end
-- From the queues of the instance, which are read by prefix (queue.lua): two look-ups for each type, however many events
-- there are.
local mail, queues, after = {}, KEYS[17], '[m|'
while A.mail and #mail < A.mail do
  local first = redis.pcall('ZRANGEBYLEX', queues, after, '(m}', 'LIMIT', 0, 1)
  local kind = not first.err and first[1] and string.match(first[1], '^m|([^|]*)|')
  if not kind then break end
  mail[#mail + 1] = {kind, redis.call('ZLEXCOUNT', queues, '[m|' .. kind .. '|', '(m|' .. kind .. '}')}
  after = '[m|' .. kind .. '}'
end
return reply({NOW, values, length, entries, records, starting, cursor, mail})
