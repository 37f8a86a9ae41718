-- uses: journal
-- Reads a page of an instance's open records; writes nothing.
-- KEYS   open records   ARGV   cursor, page = about the most records, bytes = no further ones once there are so many bytes
-- Reply  {records, cursor of the next page or ''}
return reply({journal.values(KEYS[1], A.cursor, A.page, A.bytes)})
