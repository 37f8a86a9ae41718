-- Put before every script: the arguments all scripts share.
--
-- ARGV[1]  now in ms, or '' for the server's own clock. Leases always use the server's clock (M7).
-- ARGV[2]  ten random characters, from which this call's nonces are made: Redis seeds math.random alike for every call.
-- ARGV[3]  msgpack map with the script's own arguments.
-- ARGV[4]  number of the database, which a script has no other way to know.
local clock = redis.call('TIME')
local REAL = clock[1] * 1000 + math.floor(clock[2] / 1000)
local NOW = ARGV[1] ~= '' and tonumber(ARGV[1]) or REAL
local A = cmsgpack.unpack(ARGV[3])
local nonces = 0
local function nonce()
  nonces = nonces + 1
  return ARGV[2] .. string.format('%x', nonces)
end
local function entry_nonce()
  nonces = nonces + 1
  return string.sub(ARGV[2], 1, 5) .. string.format('%03x', nonces % 4096)
end
-- What stands in an element of a journal, behind its format, kind and nonce; nothing where it was lost or spoilt.
local function body(blob)
  local ok, found = pcall(cmsgpack.unpack, string.sub(blob or '', 11))
  return ok and type(found) == 'table' and found or {}
end
local function body_of(journal, at) return body(redis.call('LINDEX', journal, at)) end
-- Elements of a list from `at` to before `upto`: no more than `most`, and none once there are so many bytes. They are
-- read one by one, because one may have a megabyte; so the answer is longer than `bytes` by less than one of them.
local function page_of(list, at, upto, most, bytes)
  local found, weight = {}, 0
  while at < upto and #found < most and weight < bytes do
    local blob = redis.call('LINDEX', list, at)
    if not blob then break end
    found[#found + 1], weight, at = blob, weight + #blob, at + 1
  end
  return found, weight
end
-- Values of a hash from `cursor` on, in small portions until there are `most` of them or so many bytes; and the cursor
-- behind them, '' behind the last.
local function values_of(hash, cursor, most, bytes)
  local found, weight = {}, 0
  repeat
    local page = redis.call('HSCAN', hash, cursor, 'COUNT', 10)
    cursor = page[1]
    for at = 2, #page[2], 2 do found[#found + 1], weight = page[2][at], weight + #page[2][at] end
  until cursor == '0' or #found >= most or weight >= bytes
  return found, cursor ~= '0' and cursor or ''
end
-- Tells those who wait for an instance's end to look; channels are shared by all databases (Keyspace.ended_channel).
local function announce(I, status) redis.call('PUBLISH', I.h .. ':' .. ARGV[4], status) end
local function reply(value) return cmsgpack.pack(value) end
