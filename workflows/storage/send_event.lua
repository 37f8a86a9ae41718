-- uses: pump mailbox command creation
-- Stores an event durably, then delivers it if somebody waits (I6, F25-F28).
-- ARGV   items: list of these (EventItem in intake.py); max: events kept per mailbox; [owner]: only act while this owner
--        holds the shard for at least a second (the pub/sub bridge)
--   ITEM     {i, ev, ty, p, [x], [new], [at], [of]}   which instance of KEYS, event id, name that waits listen to (listening.py),
--            payload blob, failure blob; as which item of create.lua the instance is created if it is not there: with
--            the event or not at all; the line of a wait for the key that this is sent to: unless one is open, refused;
--            the life in the token of the wait that this is an answer to: unless that is open and has none, refused
-- Reply  list of 'delivered' | 'buffered' | 'started' | 'gone' | 'over' | 'ended' | 'unknown' | 'unreadable' | 'full' | 'not-owner'. Same event id:
--        the first answer.
if A.owner then
  local o = redis.call('HMGET', shard.owner, 'token', 'since')
  if o[1] ~= A.owner or (tonumber(o[2]) or REAL) + 1000 > REAL then return reply({'not-owner'}) end
end
local answers = {}
for at, a in ipairs(A.items) do
  local I = instance.load(a.i)
  local made = a.new and not I and not instance.is_unreadable(a.i)
  if made then I = creation.make(a.i, a.new) end
  local before = I and command.remembered(I, a.ev)
  if not I then
    answers[at] = instance.absent(a.i)
  elseif before then
    answers[at] = before
  elseif FINAL[I.st] then
    answers[at] = 'ended'
  else
    local r = mailbox.surely_waiting_for(I, a.ty)
    -- Others that came before it may not have been looked at yet.
    local is_next = r and not I.rest.at and not I.rest.mail
    if a.at and not r then
      redis.call('ZREM', shard.keyed(), a.at)
      answers[at] = 'gone'
    elseif a.of and not (r and mailbox.is_unanswered(I, r, a.ty, a.of)) then
      answers[at] = 'over'
    elseif not is_next and redis.call('HLEN', I.m) - (I.rest.parts or 0) > A.max then
      answers[at] = 'full'
    else
      local number = redis.call('HINCRBY', I.m, 'n', 1)
      local e = {p = a.p, et = NOW, ev = a.ev, x = a.x}
      if is_next then
        mailbox.give(I, r, a.ty, number, e)
      else
        mailbox.keep(I, a.ty, number, e)
        if r then mailbox.look_for(I, a.ty, number) end
      end
      pump(I)
      answers[at] = command.remember(I, a.ev, made and 'started' or is_next and 'delivered' or 'buffered')
    end
  end
end
flush()
return reply(answers)
