-- uses: decision room
-- Anti-entropy for live instances (M8): rebuilds everything that can be derived, then pumps. Finds nothing on a
-- healthy shard; repairs lost timers, intents, wake-ups and claims after a lost second of Redis or manual damage.
-- ARGV   items: list of {i, c = cursor among its open records, [m line of the index it was found by, [tagged] = one for
--        a tag, of which nothing but this line is looked at]};
--        [all] = a key of the shard was lost, so everything the shard knows of an instance is derived from it, also of
--        one that has ended
-- Reply  list of {1 repaired | 0, cursor of what is left to be looked at or '', [generation, slot]}, these where its workflow
--        has or had a limit (slot.lua). An instance with more open records than are left to this call is looked at slice
--        by slice, and alone
local answers, stopped = {}, false
for at, a in ipairs(A.items) do
  local I = instance.load(a.i)
  local live = I and not FINAL[I.st] and not a.tagged
  local whole = not live or redis.call('HLEN', I.o) <= budget
  stopped = stopped or not whole and at > 1
  answers[at] = {0, stopped and a.c or ''}
  if a.m and not (I and instance.is_listed_as(I, a.m)) then redis.call('ZREM', shard.index, a.m) end
  if I and FINAL[I.st] and A.all then
    instance.enlist(I)
    local ended = tonumber(redis.call('HGET', I.h, 'ended')) or NOW
    answers[at][1] = redis.call('ZADD', shard.retire, 'NX', ended + instance.retention(I, I.st), instance.retire_member(I))
  end
  if live and not stopped then
    queue.straighten(I)
    local act, fixed = 0, false
    local found, more = record.some(I, a.c)
    -- What is taken back before a rollback has left the queues for good.
    local is_queued = not I.rest.clear
    answers[at][2] = more or ''
    instance.enlist(I)
    for _, r in ipairs(found) do
      if r.state == 'ready' then
        act = act + 1
        if not I.rest.walk and not redis.call('ZSCORE', shard.intents, record.intent_member(I, 'a', r.seq, r.intent, r.queue)) then
          record.add_intent(I, 'a', r.seq, r.intent, r.queue)
          fixed = true
        end
      elseif r.state == 'held' then
        local member = record.held_member(I, r.by, 'a', r.seq, r.token)
        if redis.call('ZSCORE', shard.workers, r.by) and redis.call('ZSCORE', shard.held, member) then
          act = act + 1
        else
          record.disarm(I, r)
          if not record.interrupt(I, r) then record.back_to_due(I, r) end
          fixed = true
        end
      elseif r.state == 'due' and is_queued then
        if redis.call('ZADD', I.q, 0, 'd|' .. queue.ordered(r.seq)) == 1 or not I.rest.due then fixed = true end
        I.rest.due = 1
      elseif r.kind == 'child' then
        -- What was asked of the child is lost with the message. If there is one, its end will be told all the same.
        if A.all and redis.call('HEXISTS', shard.relay, ending.asked_as(I, r)) == 0 then
          ending.ask(I, r, {op = 'watch', wf = r.workflow, id = r.id})
        end
      elseif record.is_timed(r) and I.want == '' and not I.rest.walk
          and tonumber(redis.call('ZSCORE', shard.timers, record.timer_member(I, r)) or -1) ~= record.moment(I, r) then
        record.arm(I, r)
        fixed = true
      end
      if r.kind == 'wait' and is_queued and mailbox.listen(I, r) then fixed = true end
    end
    mailbox.match(I)
    -- Each script keeps the counter together with the records; only all of them at once can show it wrong.
    if whole and act ~= I.act then
      instance.set(I, 'act', act)
      fixed = true
    end
    if I.stop ~= '' and I.want == '' and not deadline.is_armed(I) then
      deadline.arm(I)
      fixed = true
    end
    local member, key, worker = turn.member(I)
    if member and not (redis.call('ZSCORE', key, member) and (not worker or redis.call('ZSCORE', shard.workers, worker))) then
      turn.close(I)  -- `pump` opens it again
      fixed = true
    end
    pump(I)
    if fixed then answers[at][1] = 1 end
    if I.slot ~= '' then answers[at][3], answers[at][4] = I.gen, I.slot end
  end
end
flush()
return reply(answers)
