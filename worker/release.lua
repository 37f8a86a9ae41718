-- uses: pump undoing room
-- Gives back what a worker holds without a result.
-- ARGV   w worker; x failure blob of a stalled instance;
--        items: list of {i, k 'a'|'t', g, s seq, t token, how, [reason], [fault]} with how =
--          'back'   somebody else shall do it (lost reply); the attempt never ran, so its number is given back
--          'drain'  the same for an attempt that did run; of a step that runs at most once it has failed
--          'park'   run() and the journal disagree: pause the instance with the reason, resumable after a code fix
--          'strike' run() blocked: the third strike ends the instance
-- Reply  list of 0 (not mine any more) | 1. Sent twice: 0.
local answers = {}
for at, a in ipairs(A.items) do
  local I, done = instance.load(a.i), 0
  if I and I.gen == a.g and not FINAL[I.st] then
    if a.k == 't' and turn.is_held_by(I, A.w, a.t) then
      turn.close(I)
      done = 1
    elseif a.k == 'a' then
      local r = record.get(I, a.s)
      if r and r.state == 'held' and r.token == a.t and r.by == A.w then
        if a.how ~= 'drain' then r.attempts = r.attempts - 1 end
        record.disarm(I, r)
        if a.how ~= 'drain' or not record.interrupt(I, r) then record.back_to_due(I, r) end
        done = 1
      end
    end
  end
  if done == 1 then
    if a.how == 'park' and I.want == '' then
      pausing.hold(I, 'park')
      instance.set(I, 'reason', a.reason)
      instance.set(I, 'fault', a.fault)
    elseif a.how == 'strike' then
      instance.set(I, 'strikes', I.strikes + 1)
      instance.set(I, 'reason', a.reason)
      if I.strikes >= limits.STRIKES then undoing.cut_short(I, 'errored', {x = A.x}, nil, A.x) end
    end
    pump(I)
  end
  answers[at] = done
end
flush()
return reply(answers)
