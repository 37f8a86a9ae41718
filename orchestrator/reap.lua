-- Takes what a dead worker held, in batches, and hands it out again under new tokens (F14, F15, F22).
-- ARGV   w worker, items: list of {i, m held member, k, g, s, t}, poison and stalled = failure blobs
-- Reply  how many are left, or -1 when the worker's lease is alive
-- The lease record goes last: a worker that comes back in between must find itself dead, not half alive.
if lease_is_live(A.w) then return reply(-1) end
for _, a in ipairs(A.items) do
  redis.call('ZREM', HELD, a.m)
  local I = instance(a.i)
  if I and I.gen == a.g and not FINAL[I.st] then
    if a.k == 't' then
      if I.turn == 'h|' .. A.w .. '|' .. a.t then
        set(I, 'turn', '')
        set(I, 'strikes', I.strikes + 1)
        if I.strikes >= STRIKES_MAX then finish(I, 'errored', {x = A.stalled}) end
      end
    else
      local r = record(I, a.s)
      if r and r.st == 'held' and r.tok == a.t and r.by == A.w then
        set(I, 'act', I.act - 1)
        -- After its first death a step is on trial: only what had begun can have killed the worker.
        if r.d == 0 or r.on then r.d = r.d + 1 end
        if r.d >= DEATHS_MAX then
          redis.call('HDEL', I.o, r.s)
          answer(I, 'S', r, {x = A.poison, f = r.e})
        else
          r.st, r.tok, r.by = 'due', nil, nil
          I.due[#I.due + 1] = r.s
          save(I, r)
        end
      end
    end
    pump(I)
  end
end
flush()
local left = redis.call('ZLEXCOUNT', HELD, '[' .. A.w .. '|', '[' .. A.w .. '|\255')
if left == 0 then redis.call('ZREM', WORKERS, A.w) end
return reply(left)
