-- uses: record
-- The turn of an instance: nobody's, to be claimed under a nonce, or held by a worker under a token.
local turn = {}

-- Rarely:

function turn.is_held_by(I, worker, token) return I.turn == 'h|' .. worker .. '|' .. token end

-- Rarely:

function turn.is_ready(I, nonce) return I.turn == 'r|' .. nonce end

function turn.hold(I, worker, token)
  instance.set(I, 'turn', 'h|' .. worker .. '|' .. token)
  redis.call('ZADD', shard.held, 0, record.held_member(I, worker, 't', 0, token))
end

-- Rarely:

function turn.open(I)
  local n = nonce()
  instance.set(I, 'turn', 'r|' .. n)
  record.add_intent(I, 't', 0, n, I.queue)
end

-- Rarely:

-- The member of `held` or `intents` that goes with it, and the key; nil when it is nobody's.
function turn.member(I)
  local held, worker, token = string.match(I.turn, '^(h)|([^|]*)|(.*)$')
  if held then return record.held_member(I, worker, 't', 0, token), shard.held, worker end
  if I.turn ~= '' then return record.intent_member(I, 't', 0, string.sub(I.turn, 3), I.queue), shard.intents end
end

-- A decision that is too large for one call comes in parts, which are kept in the mailbox.
function turn.part_name(n) return 'p:' .. n end

-- Parts of a decision that was never committed are nothing.
function turn.drop_parts(I)
  for n = 1, I.rest.parts or 0 do redis.call('HDEL', I.m, turn.part_name(n)) end
  I.rest.token, I.rest.parts = nil, nil
end

function turn.close(I)
  if I.rest.token then turn.drop_parts(I) end
  local member, key = turn.member(I)
  if member then redis.call('ZREM', key, member) end
  instance.set(I, 'turn', '')
end
