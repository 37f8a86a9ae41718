-- uses: journal
-- Reads a page of a journal; writes nothing.
-- KEYS   journal        ARGV   from, upto, page = most entries, bytes = no further entries once there are so many bytes
-- Reply  list of entries
local list = KEYS[1]
return reply((journal.page(list, A.from, A.upto, A.page, A.bytes)))
