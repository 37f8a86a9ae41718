-- Anti-entropy for live instances (M8): rebuilds everything that can be derived, then pumps. Finds nothing on a
-- healthy shard; repairs lost timers, intents, wake-ups and claims after a lost second of Redis or manual damage.
-- ARGV   items: list of {i}
-- Reply  number of instances in which something was repaired
local repaired = 0
for _, a in ipairs(A.items) do
  local I = instance(a.i)
  if I and not FINAL[I.st] then
    local act, fixed = 0, false
    redis.call('ZADD', INDEX, 0, index_member(I))
    for _, r in ipairs(records(I)) do
      if r.st == 'ready' then
        act = act + 1
        if not redis.call('ZSCORE', INTENTS, intent_member(I, 'a', r.s, r.i, r.qu)) then
          add_intent(I, 'a', r.s, r.i, r.qu)
          fixed = true
        end
      elseif r.st == 'held' then
        local member = held_member(I, r.by, 'a', r.s, r.tok)
        if redis.call('ZSCORE', WORKERS, r.by) and redis.call('ZSCORE', HELD, member) then
          act = act + 1
        else
          redis.call('ZREM', HELD, member)
          r.st, r.tok, r.by = 'due', nil, nil
          save(I, r)
          I.due[#I.due + 1] = r.s
          fixed = true
        end
      elseif r.st == 'due' then
        I.due[#I.due + 1] = r.s
      elseif r.k ~= 'child' and I.want == '' and not redis.call('ZSCORE', TIMERS, timer_member(I, r)) then
        arm(I, r)
        fixed = true
      end
    end
    if act ~= I.act then
      set(I, 'act', act)
      fixed = true
    end
    local held, worker, token = string.match(I.turn, '^(h)|([^|]*)|(.*)$')
    if held then
      local member = held_member(I, worker, 't', 0, token)
      if not (redis.call('ZSCORE', WORKERS, worker) and redis.call('ZSCORE', HELD, member)) then
        redis.call('ZREM', HELD, member)
        set(I, 'turn', '')
        fixed = true
      end
    elseif I.turn ~= '' then
      local n = string.sub(I.turn, 3)
      if not redis.call('ZSCORE', INTENTS, intent_member(I, 't', 0, n, I.queue)) then
        add_intent(I, 't', 0, n, I.queue)
        fixed = true
      end
    end
    pump(I)
    if fixed then repaired = repaired + 1 end
  end
end
flush()
return reply(repaired)
