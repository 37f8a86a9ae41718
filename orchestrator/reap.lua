-- uses: pump undoing room
-- Takes what a dead worker held, in batches, and hands it out again under new tokens (F14, F15, F22).
-- ARGV   w worker, items: list of {i, m held member, k, g, s, t}, failure blobs: poison, lost and stalled
-- Reply  how many are left, or -1 when the worker's lease is alive
-- Who is to blame is known when somebody saw a process end: with one death all it ran is suspect, and goes on in
-- processes of its own ('t...'), whose deaths have one cause. A death that nobody saw may be that of a whole machine and
-- says little about any step, so only many of them count.
-- The lease record goes last: a worker that comes back in between must find itself dead, not half alive.
local score = tonumber(redis.call('ZSCORE', shard.workers, A.w) or GONE)
if score > REAL then return reply(-1) end
local alone = string.sub(A.w, 1, 1) == 't'
local function charge(deaths, losses)
  if score == LEFT then return deaths, losses end
  if score == SEEN and (deaths == 0 or alone) then return deaths + 1, losses end
  return deaths, losses + 1
end
for _, a in ipairs(A.items) do
  redis.call('ZREM', shard.held, a.m)
  local I = instance.load(a.i)
  if I and I.gen == a.g and not FINAL[I.st] then
    if a.k == 't' then
      if turn.is_held_by(I, A.w, a.t) then
        local strikes, lost = charge(I.strikes, I.lost)
        turn.close(I)
        if strikes ~= I.strikes then instance.set(I, 'strikes', strikes) end
        if lost ~= I.lost then instance.set(I, 'lost', lost) end
        if strikes >= limits.STRIKES or lost >= limits.LOSSES then
          undoing.cut_short(I, 'errored', {x = A.stalled}, nil, A.stalled)
        end
      end
    else
      local r = record.get(I, a.s)
      if r and r.state == 'held' and r.token == a.t and r.by == A.w then
        record.disarm(I, r)
        local deaths, losses = charge(r.deaths, r.losses)
        if deaths >= limits.DEATHS or losses >= limits.LOSSES then
          redis.call('HDEL', I.o, r.seq)
          record.answer(I, r.kind == 'rb' and 'B' or 'S', r, {x = deaths >= limits.DEATHS and A.poison or A.lost, f = r.failures})
        else
          r.deaths, r.losses = deaths, losses
          if not record.interrupt(I, r) then
            -- What a worker holds that left by itself is a claim whose reply was lost: it never ran.
            if score == LEFT then r.attempts = r.attempts - 1 end
            record.back_to_due(I, r)
          end
        end
      end
    end
    pump(I)
  end
end
flush()
local left = redis.call('ZLEXCOUNT', shard.held, '[' .. A.w .. '|', '[' .. A.w .. '|\255')
if left == 0 then redis.call('ZREM', shard.workers, A.w) end
return reply(left)
