-- uses: journal
-- What has become of an instance since somebody looked; writes nothing.
-- ARGV   fields = names of header fields, of which out, err and undone are what the journal ends with; of what was seen:
--          gen its life, from how many of its entries, nonce that of the last of them, mark of the open records
--        page, bytes = most entries, none once there are so many bytes; records = most open records (the same bytes),
--        cursor = where to go on among them; [params] = they are wanted once a worker has begun with it; [cuts] = they
--        are wanted; values = the number of what was published last before
-- Reply  false when there is no such instance | 'unreadable' | {now, values, from, length of the journal, entries, open
--        records, cursor, mark, params, cuts, values}; false instead of records that are those of `mark`, and of values where
--        none is new, else packed as they are stored.
-- `from` is 0 when what was seen is not there any more: another life, or entries that Redis has lost (F42). Open records
-- come with the end of the journal only, in pages as in `read.lua`; only those that came whole have a mark.
local header, list, open = KEYS[12], KEYS[13], KEYS[14]
local values, length = redis.pcall('HMGET', header, 'gen', 'ended', 'started', 'vals', unpack(A.fields)), redis.pcall('LLEN', list)
if values.err or type(length) == 'table' then return reply('unreadable') end
if redis.call('EXISTS', header) == 0 then return reply(false) end
local gen, ended, started, published = values[1], values[2], values[3], values[4]
values = {unpack(values, 5, 4 + #A.fields)}
if ended then
  local ending = journal.ending_of(list)
  if not ending then return reply('unreadable') end
  length = length - 1
  for n, name in ipairs(A.fields) do
    if name == 'out' then values[n] = ending.v or false elseif name == 'err' then values[n] = ending.x or false
    elseif name == 'undone' then values[n] = ending.rb or false end
  end
end
local from = A.from
if gen ~= A.gen or from > length then
  from = 0
elseif from > 0 and from < length and string.sub(redis.call('LINDEX', list, from - 1), 3, 10) ~= A.nonce then
  from = 0
end
local start = (A.cuts or (A.params or from ~= A.from) and started) and journal.body_of(list, 0) or {}
local entries, records, cursor, mark = journal.page(list, from, length, A.page, A.bytes), {}, A.cursor, ''
if from + #entries >= length and not ended then
  -- Of another type, it is removed by the next script that changes the instance, which says so (`aside.lua`).
  if type(redis.pcall('HLEN', open)) == 'table' then
    cursor = ''
  else
    records, cursor = journal.values(open, cursor, A.records, A.bytes)
  end
  if A.cursor == '0' and cursor == '' then
    mark = redis.sha1hex(table.concat(records))
    if mark == A.mark then records = false end
  end
end
if published then
  local readable, all = pcall(cmsgpack.unpack, published)
  local is_new = false
  for _, value in pairs(readable and type(all) == 'table' and all or {}) do
    is_new = is_new or type(value) ~= 'table' or type(value.n) ~= 'number' or value.n > (gen == A.gen and from == A.from and A.values or 0)
  end
  published = is_new and published
end
return reply({NOW, values, from, length, entries, records, cursor, mark, started and start.p or false,
  start.cu or false, published})
