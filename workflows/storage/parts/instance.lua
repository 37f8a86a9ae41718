-- uses: aside waking notices
-- The instances of a call: their headers, read once and written once, at the end (`pump.lua:flush`).
--
-- A field that is not there has its default: text '' or number 0, `queue` 'default', retentions of limits.RETENTION_MS.
-- HEADER in records.py says the same.
local HEADER = {'st', 'gen', 'created', 'want', 'pos', 'turn', 'act', 'queue', 'strikes', 'lost', 'started', 'keep_ok',
  'keep_err', 'stood', 'parents', 'rest', 'slot', 'meta', 'tell', 'stop'}
-- What the first of them look like, one line each.
local SHAPED = 14
local SHAPE = '^%a+\n[%w_-]+\n%d+\n%a*\n%d*\n[%w|_-]*\n%-?%d*\n[%w_-]*\n%d*\n%d*\n%d*\n%d*\n%d*\n%d*$'
local STATUSES = ' queued running waiting waitingForPause paused complete errored terminated '
local STOP = '^[tcxCX]|%d*|%d*$'
local SLOT = '^([-ahu])|(%d+)|(%d*)|(%x+)|([-=%w_.~]+)$'
local FINAL = {complete = true, errored = true, terminated = true}

local instance, unreadable = {}, {}

-- The n-th instance of this call, loaded once; nil when it does not exist, or its header or journal cannot be read.
function instance.load(n)
  local I = loaded[n]
  if I ~= nil then return I or nil end
  loaded[n] = false
  local k = SHARD_KEYS + 1 + INSTANCE_KEYS * (n - 1)
  local header, list = KEYS[k], KEYS[k + 1]
  local v = server.pcall('HMGET', header, unpack(HEADER))
  if v.err then return instance.disregard(n, header, 'its header is a ' .. server.call('TYPE', header).ok) end
  if not v[1] and server.call('EXISTS', header) == 0 then return nil end
  for f = 2, #HEADER do v[f] = v[f] or '' end
  -- Longer numbers are exact nowhere: created, pos, started.
  if not v[1] or #v[3] > 15 or #v[5] > 9 or #v[11] > 15 or not string.find(STATUSES, ' ' .. v[1] .. ' ', 1, true)
      or not string.find(table.concat(v, '\n', 1, SHAPED), SHAPE) then
    return instance.disregard(n, header, instance.fault_of(v))
  end
  local len = server.pcall('LLEN', list)
  if type(len) == 'table' then return instance.disregard(n, list, 'its journal is a ' .. server.call('TYPE', list).ok) end
  local wf, id = string.match(header, '^[^}]*}:i:([^:]*):([^:]*):h$')
  -- All at once: a table that grows field by field is made anew five times.
  I = {wf = wf, id = id, h = header, j = list, o = KEYS[k + 2], m = KEYS[k + 3], c = KEYS[k + 4], q = KEYS[k + 5], len = len,
    changed = {}, due = {}, st = v[1], gen = v[2], created = v[3], want = v[4], pos = tonumber(v[5]) or 0, turn = v[6],
    act = tonumber(v[7]) or 0, queue = v[8] ~= '' and v[8] or 'default', strikes = tonumber(v[9]) or 0,
    lost = tonumber(v[10]) or 0, started = v[11], keep_ok = v[12], keep_err = v[13], stood = tonumber(v[14]) or 0,
    parents = v[15], left = v[16], rest = v[16] == '' and {} or instance.rest_of(v[16]), slot = v[17],
    meta = v[18], tell = v[19], stop = v[20]}
  if I.pos > len then aside.spoil(I, list, '', 'its journal ends at ' .. len .. ', and ' .. I.pos .. ' entries were decided') end
  if not I.rest then
    I.rest = {}
    aside.spoil(I, header, 'rest', 'what is left over in it cannot be read')
  end
  if v[17] ~= '' and not string.match(v[17], SLOT) then
    I.slot = ''
    aside.spoil(I, header, 'slot', 'whether it has a slot cannot be read')
  end
  if v[20] ~= '' and not (#v[20] <= 28 and string.match(v[20], STOP)) then
    I.stop = ''
    aside.spoil(I, header, 'stop', 'when it is to end cannot be read')
  end
  loaded[n] = I
  return I
end

function instance.set(I, field, value)
  I[field] = value
  I.changed[field] = value
end

function instance.who(I) return I.wf .. '|' .. I.id .. '|' .. I.gen .. '|' end

-- `m` at its end: it has metadata.
function instance.index_member(I)
  return I.st .. '|' .. I.wf .. '|' .. I.created .. '|' .. I.id .. (I.meta == '' and '' or '|m')
end

function instance.set_status(I, status)
  if I.st == status then return end
  redis.call('ZREM', shard.index, instance.index_member(I))
  instance.set(I, 'st', status)
  redis.call('ZADD', shard.index, 0, instance.index_member(I))
  if I.tell ~= '' then notices.publish(I, status) end
end

-- Writes the header, with what is left over in it, so that this does not depend on anybody's memory.
function instance.write(I)
  local text = next(I.rest) and instance.packed_rest(I) or ''
  if text ~= I.left then I.changed.rest = text end
  if text ~= '' and instance.is_unfinished(I) then
    if redis.call('ZADD', shard.unfinished, 'NX', REAL, instance.unfinished_member(I)) == 1 then wake() end
  elseif I.left ~= '' then
    redis.call('ZREM', shard.unfinished, instance.unfinished_member(I))
  end
  local args = {}
  for field, value in pairs(I.changed) do
    args[#args + 1] = field
    args[#args + 1] = value
  end
  if #args > 0 then redis.call('HSET', I.h, unpack(args)) end
end

-- Rarely:

-- What is left over in an instance, by place in the header's field `rest`; a pattern stands for text, else it is a number:
--   due     steps are queued to be handed out
--   walk    cursor of a walk over the open records, which brings each in line with whether time stands still
--   mail    events may have found a wait that has not been looked at
--   at      the part of a decision that is to be applied next, of `parts` parts kept in the mailbox
--   token   the parts are those of this turn, which has not committed them (yet)
--   clear   open records of a life that has ended
--   told    how many of those who wait for its end have been told
local function rest_parts()
  return {{'due'}, {'walk', '^%d+$'}, {'mail'}, {'at'}, {'parts'}, {'token', '^[%w_-]+$'}, {'clear'}, {'told'}}
end

-- The same as a table; nil when it cannot be read.
function instance.rest_of(blob)
  local ok, values = pcall(cmsgpack.unpack, blob)
  local parts = rest_parts()
  if not ok or type(values) ~= 'table' or #values ~= #parts then return nil end
  local rest = {}
  for at, part in ipairs(parts) do
    local value = values[at]
    if value ~= '' then
      if part[2] and not (type(value) == 'string' and string.match(value, part[2])) then return nil end
      if not part[2] and not (type(value) == 'number' and value > 0 and value < 1e6) then return nil end
      rest[part[1]] = value
    end
  end
  return (not rest.at or rest.parts) and rest or nil
end

function instance.packed_rest(I)
  local values = {}
  for at, part in ipairs(rest_parts()) do values[at] = I.rest[part[1]] or '' end
  return cmsgpack.pack(values)
end

function instance.is_unfinished(I)
  local rest = I.rest
  -- Steps that are due are handed out when time goes on, and when it has a slot.
  local due = rest.due and I.want == '' and not string.find(I.slot, '^[-a]')
  return rest.walk or rest.mail or rest.at or rest.clear or rest.told or due or false
end

-- Rarely:

-- Why these values are no header.
function instance.fault_of(v)
  if not v[1] then return 'its header has no field st' end
  local f = 0
  for shape in string.gmatch(SHAPE, '[^^\n$]+') do
    f = f + 1
    if not string.match(v[f], '^' .. shape .. '$') or f == 1 and not string.find(STATUSES, ' ' .. v[f] .. ' ', 1, true) then
      return 'the field ' .. HEADER[f] .. " of its header is '" .. aside.shortened(v[f]) .. "'"
    end
  end
  return 'a number in its header has too many digits'
end

-- Takes an instance for absent, because nothing can be said about it.
function instance.disregard(n, key, why)
  unreadable[n] = true
  aside.note(key, '', why)
  return nil
end

function instance.is_unreadable(n) return unreadable[n] or false end

-- What to answer about an instance that `load` did not find.
function instance.absent(n) return unreadable[n] and 'unreadable' or 'unknown' end

-- Rarely:

-- Where the keys of the n-th instance begin.
function instance.place(n) return SHARD_KEYS + 1 + INSTANCE_KEYS * (n - 1) end

-- Makes the n-th instance of this call, which `load` did not find.
function instance.create(n, generation, queue, keep_ok, keep_err, tell)
  loaded[n] = nil
  local fields = {'st', 'queued', 'gen', generation, 'created', NOW}
  local function put(field, value, default)
    if value ~= default then
      fields[#fields + 1] = field
      fields[#fields + 1] = value
    end
  end
  put('queue', queue, 'default')
  put('keep_ok', keep_ok, limits.RETENTION_MS)
  put('keep_err', keep_err, limits.RETENTION_MS)
  put('tell', tell or '', '')
  redis.call('HSET', KEYS[instance.place(n)], unpack(fields))
  return instance.load(n)
end

-- Rarely:

-- Its further lines of the index, one for each tag of its metadata (metadata.py).
local function tag_members(I)
  local found = {}
  if I.meta == '' then return found end
  local ok, meta = pcall(cmsgpack.unpack, I.meta)
  if not (ok and type(meta) == 'table' and type(meta[2]) == 'table') then
    aside.note(I.h, 'meta', 'its metadata cannot be read')
    return found
  end
  for _, tag in ipairs(meta[2]) do
    if type(tag) == 'string' and #found < limits.METADATA_KEYS then
      found[#found + 1] = '#|' .. I.wf .. '|' .. tag .. '|' .. I.created .. '|' .. I.id .. '|m'
    end
  end
  return found
end

function instance.enlist(I)
  redis.call('ZADD', shard.index, 0, instance.index_member(I))
  for _, member in ipairs(tag_members(I)) do redis.call('ZADD', shard.index, 0, member) end
end

function instance.unlist(I)
  redis.call('ZREM', shard.index, instance.index_member(I))
  for _, member in ipairs(tag_members(I)) do redis.call('ZREM', shard.index, member) end
end

-- Whether a line of the index is one of its.
function instance.is_listed_as(I, line)
  if line == instance.index_member(I) then return true end
  for _, member in ipairs(tag_members(I)) do
    if member == line then return true end
  end
  return false
end

-- Rarely:

-- How long it stays readable once it has ended like this, in ms.
function instance.retention(I, status) return tonumber(status == 'complete' and I.keep_ok or I.keep_err) or limits.RETENTION_MS end

function instance.retire_member(I) return I.wf .. '|' .. I.id .. '|' .. I.gen end

function instance.unfinished_member(I) return 'i|' .. instance.retire_member(I) end

-- Rarely:

-- An instance has a time of its own, which stands still while it is paused: records hold moments of it, timers those of
-- the server. So a pause leaves the records as they are.
function instance.own_time(I)
  if I.want == '' then return NOW - I.stood end
  return (tonumber(I.paused_at or redis.call('HGET', I.h, 'paused_at')) or NOW) - I.stood
end
