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
local reply = cmsgpack.pack
-- The server itself; what scripts call `redis` may be more careful (aside.lua).
local server = redis
