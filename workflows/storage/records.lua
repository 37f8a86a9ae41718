-- uses: journal
-- Reads a page of an instance's open records; writes nothing.
-- KEYS   open records   ARGV   cursor, page = about the most records, bytes = no further ones once there are so many bytes
-- Reply  {records, cursor of the next page or ''}
local open = KEYS[1]
return reply({journal.values(open, A.cursor, A.page, A.bytes)})
