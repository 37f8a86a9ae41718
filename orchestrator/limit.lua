-- uses: pump room
-- Puts instances under the limit of their workflow, takes them from under it, or says how they are. One that runs is
-- counted at once, whatever the limit says; what nobody has begun with waits for a slot like a new one.
-- ARGV   items: list of {i, and perhaps one of: tag and key = whose slots they take (slot.lua), off = there is no limit
--        any more, again = say once more how it is, because the shard of its slots does not know}
-- Reply  list of {generation, slot} as they are now, {'', ''} for one that is not there or cannot be read. Sent twice: the
--        same.
local answers = {}
for at, a in ipairs(A.items) do
  local I = instance.load(a.i)
  if I and not FINAL[I.st] then
    if a.tag then
      slot.belong(I, a.tag, a.key)
      if I.act <= 0 and string.sub(I.turn, 1, 2) == 'r|' and string.sub(I.slot, 1, 1) ~= 'h' then turn.close(I) end
      pump(I)
    elseif a.off and I.slot ~= '' then
      slot.forget(I)
      pump(I)
    elseif a.again and string.find(I.slot, '^[ah]') then
      slot.tell(I)
    end
  end
  answers[at] = I and {I.gen, I.slot} or {'', ''}
end
flush()
return reply(answers)
