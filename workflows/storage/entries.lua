-- uses: journal
-- Reads a page of a journal; writes nothing.
-- KEYS   journal        ARGV   from, upto, page = most entries, bytes = no further entries once there are so many bytes
-- Reply  list of entries
return reply((journal.page(KEYS[1], A.from, A.upto, A.page, A.bytes)))
