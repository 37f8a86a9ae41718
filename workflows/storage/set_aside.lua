-- uses: aside room
-- Takes members that nobody can read out of a shard's keys, and notes them where a person finds them (I11).
-- ARGV   items: list of {k = which of the shard's keys, m member or field, why}; notes: list of {key, member, why} of what
--        was found elsewhere
-- Reply  how many notes are new. Sent twice: 0.
for _, a in ipairs(A.items) do
  local key = KEYS[a.k]
  redis.call(redis.call('TYPE', key).ok == 'hash' and 'HDEL' or 'ZREM', key, a.m)
  aside.note(key, a.m, a.why)
end
for _, found in ipairs(A.notes) do aside.note(found[1], found[2], found[3]) end
return reply(noted)
