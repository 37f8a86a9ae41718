-- Pauses a schedule, or lets it go on from now: what fell due in between is not made up for. Stands for as long as the
-- app has the schedule, whoever is restarted.
-- KEYS   schedules
-- ARGV   id, paused = whether it is to be
-- Reply  1 it was not | 0 it was already. What cannot be read counts as a schedule nobody has seen; sent twice: 0.
local schedules = KEYS[1]
local ok, state = pcall(cmsgpack.unpack, redis.call('HGET', schedules, A.id) or '')
if not ok or type(state) ~= 'table' or type(state.at) ~= 'number' then state = {at = NOW} end
if (state.paused ~= nil) == A.paused then return reply(0) end
if A.paused then
  state.paused = NOW
else
  state.paused, state.waits, state.at = nil, nil, math.max(NOW, state.at)
end
redis.call('HSET', schedules, A.id, cmsgpack.pack(state))
return reply(1)
