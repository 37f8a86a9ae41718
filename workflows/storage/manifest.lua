-- Publishes what an app contains, so that producers and orchestrators need none of its code.
-- KEYS   manifest, versions
-- ARGV   app, json, code = its version, how = 'register' | 'start' | 'renew', stale = ms after which content that nobody
--        renews may be replaced, [first] = when this process saw it published first, in case Redis has forgotten
-- Reply  {first, replaced = code whose content gave way or '', newer = code whose content stands instead or ''}
-- Who is started by somebody publishes in any case. Who only renews never replaces content that is newer and still
-- renewed, or registered by hand: two versions at work at the same time would replace each other for ever.
-- Sent twice: the same content. Crash right after: the next renewal finds it.
-- Without this write, a Redis without room would refuse the others, and no worker could start (F45).
local manifest, versions = KEYS[1], KEYS[2]
redis.call('PERSIST', manifest)
local function read(blob)
  local ok, it = pcall(cmsgpack.unpack, blob or '')
  return ok and type(it) == 'table' and tonumber(it.first) and tonumber(it.seen) and it.code and it or nil
end
local function version(sha) return read(redis.call('HGET', versions, A.app .. '|' .. sha)) end
local function put(sha, it) redis.call('HSET', versions, A.app .. '|' .. sha, cmsgpack.pack(it)) end
local mine, stored = redis.sha1hex(A.json), redis.call('HGET', manifest, A.app)
local theirs = stored and redis.sha1hex(stored)
local own = version(mine) or {first = A.first or REAL, seen = 0, code = A.code}
own.first = math.max(own.first, A.first or 0)  -- Redis may have forgotten
if A.how ~= 'register' then own.seen = REAL end  -- nobody is at work yet
local replaced, newer = '', ''
local other = theirs and theirs ~= mine and version(theirs)
if other == nil then other = {first = math.max(REAL, own.first + 1), seen = REAL, code = 'unknown'} end
if A.how ~= 'renew' then
  -- Later than what it replaces, also within one millisecond.
  own.first, own.pinned = math.max(REAL, other and other.first + 1 or 0), A.how == 'register' or nil
elseif other and other.first > own.first and (other.pinned or other.seen > REAL - A.stale) then
  newer = other.code
end
if other then
  put(theirs, other)
  if newer == '' then replaced = other.code end
end
put(mine, own)
if newer == '' and theirs ~= mine then redis.call('HSET', manifest, A.app, A.json) end
local all = redis.call('HGETALL', versions)
for n = 1, #all, 2 do
  local kept = string.sub(all[n], 1, #A.app + 1) ~= A.app .. '|'
    or string.sub(all[n], #A.app + 2) == (newer == '' and mine or theirs)
  local it = not kept and read(all[n + 1])
  if not kept and not (it and it.seen > REAL - 20 * A.stale) then redis.call('HDEL', versions, all[n]) end
end
return reply({own.first, replaced, newer})
