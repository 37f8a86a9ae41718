-- Anti-entropy for live instances (M8): rebuilds everything that can be derived, then pumps. Finds nothing on a
-- healthy shard; repairs lost timers, intents, wake-ups and claims after a lost second of Redis or manual damage.
-- ARGV   items: list of {i, c = cursor among its open records, [m member of the index it was found by]};
--        [all] = a key of the shard was lost, so everything the shard knows of an instance is derived from it, also of
--        one that has ended
-- Reply  list of {1 repaired | 0, cursor of what is left to be looked at or ''}: an instance with more open records than
--        are left to this call is looked at slice by slice, and alone
local answers, stopped = {}, false
for at, a in ipairs(A.items) do
  local I = instance(a.i)
  local live = I and not FINAL[I.st]
  local whole = not live or redis.call('HLEN', I.o) <= budget
  stopped = stopped or not whole and at > 1
  answers[at] = {0, stopped and a.c or ''}
  if a.m and not (I and a.m == index_member(I)) then redis.call('ZREM', INDEX, a.m) end
  if I and FINAL[I.st] and A.all then
    redis.call('ZADD', INDEX, 0, index_member(I))
    local keep = tonumber(I.st == 'complete' and I.keep_ok or I.keep_err) or 0
    local ended = tonumber(redis.call('HGET', I.h, 'ended')) or NOW
    answers[at][1] = redis.call('ZADD', RETIRE, 'NX', ended + keep, I.wf .. '|' .. I.id .. '|' .. I.gen)
  end
  if live and not stopped then
    local act, fixed = 0, false
    local found, more = some_of(I, a.c)
    answers[at][2] = more or ''
    redis.call('ZADD', INDEX, 0, index_member(I))
    for _, r in ipairs(found) do
      if r.st == 'ready' then
        act = act + 1
        if not I.rest.walk and not redis.call('ZSCORE', INTENTS, intent_member(I, 'a', r.s, r.i, r.qu)) then
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
          if not whole then set(I, 'act', I.act - 1) end
          I.due[#I.due + 1] = r.s
          fixed = true
        end
      elseif r.st == 'due' then
        if redis.call('ZADD', I.q, 0, 'd|' .. ordered(r.s)) == 1 or not I.rest.due then fixed = true end
        I.rest.due = 1
      elseif r.k == 'child' then
        -- What was asked of the child is lost with the message. If there is one, its end will be told all the same.
        if A.all and redis.call('HEXISTS', RELAY, 'c|' .. who(I) .. r.s) == 0 then
          redis.call('HSET', RELAY, 'c|' .. who(I) .. r.s, cmsgpack.pack({op = 'watch', wf = r.wf, id = r.id, pgen = I.gen,
            pseq = r.s, pwf = I.wf, pid = I.id}))
          wake()
        end
      elseif I.want == '' and not I.rest.walk
          and tonumber(redis.call('ZSCORE', TIMERS, timer_member(I, r)) or -1) ~= moment_of(I, r) then
        arm(I, r)
        fixed = true
      end
      if r.k == 'wait' and not redis.call('ZSCORE', I.q, waiter(r)) then
        enqueue(I, waiter(r))
        look_for_mail(I, r.ty, select(2, first_number(I, 'm|' .. r.ty .. '|')))
        fixed = true
      end
    end
    match(I)
    -- Each script keeps the counter together with the records; only all of them at once can show it wrong.
    if whole and act ~= I.act then
      set(I, 'act', act)
      fixed = true
    end
    local held, worker, token = string.match(I.turn, '^(h)|([^|]*)|(.*)$')
    if held then
      local member = held_member(I, worker, 't', 0, token)
      if not (redis.call('ZSCORE', WORKERS, worker) and redis.call('ZSCORE', HELD, member)) then
        close_turn(I)
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
    if fixed then answers[at][1] = 1 end
  end
end
flush()
return reply(answers)
