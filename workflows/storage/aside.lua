-- Put before `pump.lua`: whatever stands in one key, only its own instance suffers (I11).
--
-- Anybody who reaches Redis can write anything anywhere, and a command that fails in the middle of a script undoes nothing.
-- So a key of the wrong type is taken out of the way by the command that meets it, which then goes on; a header that
-- cannot be read makes its instance as good as absent, and anything else that cannot be read parks its instance. Each
-- time a note says what it was, where a person finds it (`workflows doctor`).
local ASIDE, OWNER = KEYS[10], KEYS[9]
local SHARD_KEYS, INSTANCE_KEYS = 11, 6
local ASIDE_KEPT = 1000
local ASIDE_MS = 30 * 24 * 3600 * 1000
local server = redis

-- The instances of this call by number: false when absent, and among those the ones that are there but unreadable.
local instances, unreadable = {}, {}

local function shortened(text)
  text = tostring(text)
  return #text <= 200 and text or string.sub(text, 1, 200) .. '... (' .. #text .. ' bytes)'
end

-- Notes what was found. Found again, it is the same note with a later time.
local noted = 0
local function note(key, member, why)
  local entry = cmsgpack.pack({key, shortened(member), why})
  local new = server.pcall('ZADD', ASIDE, REAL, entry)
  if type(new) == 'table' then
    server.call('UNLINK', ASIDE)
    new = server.call('ZADD', ASIDE, REAL, entry)
  end
  noted = noted + new
  server.call('ZREMRANGEBYRANK', ASIDE, 0, -ASIDE_KEPT - 1)
  server.call('PEXPIRE', ASIDE, ASIDE_MS)
end

-- The instance will be parked by the next `pump`, with the first reason found.
local function spoil(I, key, member, why)
  I.bad = I.bad or why
  note(key, member, why)
end

-- Removes a key of the wrong type: what belongs there is gone already. Headers stay, for a person to look at.
local function displace(key)
  local at
  for n, declared in ipairs(KEYS) do
    if declared == key then at = n end
  end
  local place = at and at > SHARD_KEYS and (at - SHARD_KEYS - 1) % INSTANCE_KEYS
  if not at or place == 0 then return false end
  local why = 'was a ' .. server.call('TYPE', key).ok .. ' and has been removed'
  server.call('UNLINK', key)
  if place then
    local I = instances[math.floor((at - SHARD_KEYS - 1) / INSTANCE_KEYS) + 1]
    if I then spoil(I, key, '', why) else note(key, '', why) end
  else
    note(key, '', why)
    -- Asks the shard's owner to derive what was lost from the headers (`sweep.py:pages`).
    server.call('HSET', OWNER, 'mend', REAL)
  end
  return true
end

-- Every command of the scripts goes through here.
local redis = {
  call = function(command, key, ...)
    local answer = server.pcall(command, key, ...)
    if type(answer) == 'table' and answer.err then
      -- Asked again, it fails again, and as itself.
      if string.find(answer.err, 'WRONGTYPE', 1, true) then displace(key) end
      if string.find(answer.err, 'not an integer', 1, true) then server.call('HDEL', key, (...)) end
      return server.call(command, key, ...)
    end
    return answer
  end,
  error_reply = server.error_reply,
}

-- Headers -----------------------------------------------------------------------------------------------------------

-- All of this is run through at every call of a script, so constants are literals, and what only an error needs is made
-- where it is needed.
local FIELDS = {'st', 'gen', 'wf', 'id', 'want', 'pos', 'turn', 'act', 'queue', 'strikes', 'lost', 'started', 'created',
  'keep_ok', 'keep_err', 'stood', 'parents', 'rest'}
-- What the first of them look like, one line each.
local SHAPED = 16
local SHAPE = '%a+\n[%w_-]+\n[%w_-]+\n[%w_-]+\n%a*\n%d*\n[%w|_-]*\n%-?%d*\n[%w_-]+\n%d*\n%d*\n%d*\n%d+\n%d*\n%d*\n%d*'
local STATUSES = ' queued running waiting waitingForPause paused complete errored terminated '

-- Why these values are no header of the instance whose key this is; nil when they are.
local function fault_of(key, v)
  if not v[1] then return 'its header has no field st' end
  local known = string.find(STATUSES, ' ' .. v[1] .. ' ', 1, true)
  if not known or not string.match(table.concat(v, '\n', 1, SHAPED), '^' .. SHAPE .. '$') then
    local f = 0
    for shape in string.gmatch(SHAPE, '[^\n]+') do
      f = f + 1
      if not string.match(v[f], '^' .. shape .. '$') or f == 1 and not known then
        return 'the field ' .. FIELDS[f] .. " of its header is '" .. shortened(v[f]) .. "'"
      end
    end
  end
  -- Longer numbers are exact nowhere: pos, started, created.
  if #v[6] > 9 or #v[12] > 15 or #v[13] > 15 then return 'a number in its header has too many digits' end
  if string.sub(key, -#v[3] - #v[4] - 6) ~= ':i:' .. v[3] .. ':' .. v[4] .. ':h' then
    return 'its header is that of another instance'
  end
end

-- Takes an instance for absent, because nothing can be said about it.
local function disregard(n, key, why)
  unreadable[n] = true
  note(key, '', why)
  return nil
end

-- What to answer about an instance that `instance` did not find.
local function absent(n) return unreadable[n] and 'unreadable' or 'unknown' end

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
local function rest_of(blob)
  if blob == '' then return {} end
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

-- Records -----------------------------------------------------------------------------------------------------------

local function is_record(r, seq)
  if type(r) ~= 'table' or r.s ~= seq or type(r.n) ~= 'string' or type(r.c) ~= 'number' then return false end
  if r.k == 'do' then
    if r.st == 'ready' then
      if type(r.i) ~= 'string' then return false end
    elseif r.st == 'held' then
      if type(r.tok) ~= 'string' or type(r.by) ~= 'string' then return false end
    elseif r.st == 'back' then
      if type(r.due) ~= 'number' then return false end
    elseif r.st ~= 'due' then
      return false
    end
    return type(r.a) == 'number' and type(r.f) == 'number' and type(r.d) == 'number' and type(r.u or 0) == 'number'
      and type(r.qu) == 'string' and string.find(r.qu, '^[%w_-]+$') ~= nil
  end
  if r.st ~= 'wait' then return false end
  if r.k == 'child' then return type(r.wf) == 'string' and type(r.id) == 'string' end
  return type(r.due) == 'number' and (r.k == 'sleep' or r.k == 'wait' and type(r.ty) == 'string')
end

-- What is stored as an open record, or nil, and then the instance is going to be parked.
local function record_of(I, seq, blob)
  local ok, r = pcall(cmsgpack.unpack, blob)
  if ok and is_record(r, tonumber(seq)) then return r end
  spoil(I, I.o, seq, 'its open record ' .. shortened(seq) .. ' cannot be read')
end
