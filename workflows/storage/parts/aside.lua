-- uses: shard
-- Whatever stands in one key, only its own instance suffers (I11).
--
-- Anybody who reaches Redis can write anything anywhere, and a command that fails in the middle of a script undoes nothing.
-- So a key of the wrong type is taken out of the way by the command that meets it, which then goes on; a header that
-- cannot be read makes its instance as good as absent, and anything else that cannot be read parks its instance. Each
-- time a note says what it was, where a person finds it (`workflows doctor`).
-- The instances of this call by number: false when absent.
local aside, loaded, noted = {insists = false}, {}, 0

-- Every command of the scripts goes through here.
local redis = {
  call = function(command, key, ...)
    local answer = server.pcall(command, key, ...)
    if type(answer) == 'table' and answer.err then return aside.again(answer.err, command, key, ...) end
    return answer
  end,
  error_reply = server.error_reply,
}

-- Rarely:

-- Redis without room refuses a script at the first command that may need memory, unless it has written something before.
-- Taking the expiry off a key that has none is such a write and changes nothing (F45).
local function insist(err)
  if aside.insists and string.find(err, 'OOM', 1, true) then server.call('PERSIST', shard.timers) end
end

function aside.shortened(text)
  text = tostring(text)
  return #text <= 200 and text or string.sub(text, 1, 200) .. '... (' .. #text .. ' bytes)'
end

-- Notes what was found. Found again, it is the same note with a later time.
function aside.note(key, member, why)
  local entry = cmsgpack.pack({key, aside.shortened(member), why})
  local new = server.pcall('ZADD', shard.aside, REAL, entry)
  if type(new) == 'table' then
    if string.find(new.err, 'WRONGTYPE', 1, true) then server.call('UNLINK', shard.aside) end
    insist(new.err)
    new = server.call('ZADD', shard.aside, REAL, entry)
  end
  noted = noted + new
  server.call('ZREMRANGEBYRANK', shard.aside, 0, -limits.ASIDE_KEPT - 1)
  server.call('PEXPIRE', shard.aside, limits.ASIDE_MS)
end

-- The instance will be parked by the next `pump`, with the first reason found.
function aside.spoil(I, key, member, why)
  I.bad = I.bad or why
  aside.note(key, member, why)
end

-- Removes a key of the wrong type: what belongs there is gone already. Headers stay, for a person to look at.
function aside.displace(key)
  local at
  for n, declared in ipairs(KEYS) do
    if declared == key then at = n end
  end
  local place = at and at > SHARD_KEYS and (at - SHARD_KEYS - 1) % INSTANCE_KEYS
  if place == 0 or not at and key ~= shard.keyed() then return false end
  local why = 'was a ' .. server.call('TYPE', key).ok .. ' and has been removed'
  server.call('UNLINK', key)
  if place then
    local I = loaded[math.floor((at - SHARD_KEYS - 1) / INSTANCE_KEYS) + 1]
    if I then aside.spoil(I, key, '', why) else aside.note(key, '', why) end
  else
    aside.note(key, '', why)
    -- Asks the shard's owner to derive what was lost from the headers (`sweep.py:pages`).
    server.call('HSET', shard.owner, 'mend', REAL)
  end
  return true
end

-- A command that has failed, with what was in its way removed. Where that was something else, it fails again, as itself.
function aside.again(err, command, key, ...)
  insist(err)
  if string.find(err, 'WRONGTYPE', 1, true) then aside.displace(key) end
  if string.find(err, 'not an integer', 1, true) then server.call('HDEL', key, (...)) end
  return server.call(command, key, ...)
end
