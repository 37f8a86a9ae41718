-- Gives back what a worker holds without a result.
-- ARGV   w worker; x failure blob of a stalled instance;
--        items: list of {i, k 'a'|'t', g, s seq, t token, how, [reason]} with how =
--          'back'   somebody else shall do it (lost reply); the attempt never ran, so its number is given back
--          'drain'  the same for an attempt that did run
--          'park'   run() and the journal disagree: pause the instance with the reason, resumable after a code fix
--          'strike' run() blocked: the third strike ends the instance
-- Reply  list of 0 (not mine any more) | 1. Sent twice: 0.
local answers = {}
for at, a in ipairs(A.items) do
  local I, done = instance(a.i), 0
  if I and I.gen == a.g and not FINAL[I.st] then
    if a.k == 't' and I.turn == 'h|' .. A.w .. '|' .. a.t then
      close_turn(I)
      done = 1
    elseif a.k == 'a' then
      local r = record(I, a.s)
      if r and r.st == 'held' and r.tok == a.t and r.by == A.w then
        disarm(I, r)
        r.st, r.tok, r.by = 'due', nil, nil
        if a.how ~= 'drain' then r.a = r.a - 1 end
        I.due[#I.due + 1] = r.s
        save(I, r)
        done = 1
      end
    end
  end
  if done == 1 then
    if a.how == 'park' and I.want == '' then
      hold(I, 'park')
      set(I, 'reason', a.reason)
    elseif a.how == 'strike' then
      set(I, 'strikes', I.strikes + 1)
      set(I, 'reason', a.reason)
      if I.strikes >= STRIKES_MAX then finish(I, 'errored', {x = A.x}) end
    end
    pump(I)
  end
  answers[at] = done
end
flush()
return reply(answers)
