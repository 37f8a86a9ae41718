-- uses: record turn deadline
-- An instance's time stands still, and goes on again.
local pausing = {}

-- Rarely:

-- Brings open records in line with the instance's time: out of the shard while it stands still, back when it goes on.
-- Each may be met more than once, and in the midst of the opposite walk. Returns how many of those met are held.
function pausing.walk(I)
  local held, found = 0, nil
  found, I.rest.walk = record.some(I, I.rest.walk)
  for _, r in ipairs(found) do
    if r.state == 'held' then held = held + 1 end
    if r.state == 'ready' and I.want ~= '' then
      record.give_back(I, r)
    elseif r.state == 'ready' then
      -- A claim in paused time has removed it.
      if redis.call('ZADD', shard.intents, 'NX', REAL, record.intent_member(I, 'a', r.seq, r.intent, r.queue)) == 1 then wake() end
    elseif record.is_timed(r) then
      if I.want ~= '' then redis.call('ZREM', shard.timers, record.timer_member(I, r)) else record.arm(I, r) end
    end
  end
  return held
end

-- Stops time for an instance: the turn revoked, unclaimed attempts taken back, timers out. Returns how many are held, if
-- all open records could be looked at.
function pausing.hold(I, want)
  instance.set(I, 'want', want)
  instance.set(I, 'paused_at', NOW)
  if I.turn ~= '' then turn.close(I) end
  if I.stop ~= '' then deadline.disarm(I) end
  I.rest.walk = '0'
  local held = pausing.walk(I)
  return not I.rest.walk and held or nil
end

-- Time goes on from where it stood; what waited for that is up to the caller.
function pausing.go_on(I)
  local paused_at = tonumber(redis.call('HGET', I.h, 'paused_at')) or NOW
  instance.set(I, 'stood', I.stood + math.max(0, NOW - paused_at))
  instance.set(I, 'want', '')
  instance.set(I, 'reason', '')
  if I.stop ~= '' then deadline.arm(I) end
end

-- Lets time go on.
function pausing.release(I)
  pausing.go_on(I)
  I.rest.walk = '0'
  pausing.walk(I)
end

-- Only what is held is certain where something cannot be read.
function pausing.park(I)
  local held = pausing.hold(I, 'park')
  instance.set(I, 'reason', I.bad)
  instance.set(I, 'fault', 'corrupt')
  if held then instance.set(I, 'act', held) end
end
