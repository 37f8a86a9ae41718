-- The keys of a shard by name, and what concerns all of it.
--
-- KEYS[1..11]           the shard, in the order of SHARD_KEY_NAMES in keys.py
-- KEYS[12+6*(n-1) ..]   instance n: header, journal, open records, mailbox, command ids, queues
local shard = {timers = KEYS[1], intents = KEYS[2], wake = KEYS[3], held = KEYS[4], workers = KEYS[5], relay = KEYS[6],
  index = KEYS[7], retire = KEYS[8], owner = KEYS[9], aside = KEYS[10], unfinished = KEYS[11]}
local SHARD_KEYS, INSTANCE_KEYS = 11, 6

-- Where open waits for a key stand: `keyed` in keys.py. Not among KEYS, which every call pays for.
function shard.keyed() return string.sub(shard.index, 1, -6) .. 'keyed' end

-- In place of the end of a lease: it left by itself; its end was seen; it was found gone. All are over at once.
local LEFT, SEEN, GONE = 0, 1, 2
-- Open records and queued things that one call takes up beyond what it was asked for. What is left over stands in the
-- instance, and `continue.lua` goes on with it (I12).
local SLICE = limits.SCRIPT_ELEMENTS
local budget = SLICE

-- Rarely:

-- For a script that finds out by itself which instance it is about: its keys and those of its shard, as if they had been
-- declared, in the order above.
function shard.enter(keys)
  for n, key in ipairs(keys) do KEYS[n] = key end
  shard.timers, shard.intents, shard.wake, shard.held, shard.workers, shard.relay, shard.index, shard.retire, shard.owner,
    shard.aside, shard.unfinished = unpack(keys)
end
