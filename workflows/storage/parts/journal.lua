-- Journals, whose elements are described in `journal.py`.
local journal = {}

-- Rarely:

-- The nonce of an entry that a script writes.
function journal.nonce()
  nonces = nonces + 1
  return string.sub(ARGV[2], 1, 5) .. string.format('%03x', nonces % 4096)
end

-- Returns the element.
function journal.append(I, kind, body, n)
  local element = '\1' .. kind .. (n or journal.nonce()) .. cmsgpack.pack(body)
  redis.call('RPUSH', I.j, element)
  I.len = I.len + 1
  return element
end

-- Rarely:

-- What stands in an element, behind its format, kind and nonce; nothing where it was lost or spoilt.
function journal.body(blob)
  local ok, found = pcall(cmsgpack.unpack, string.sub(blob or '', 11))
  return ok and type(found) == 'table' and found or {}
end

function journal.body_of(list, at) return journal.body(redis.call('LINDEX', list, at)) end

-- What an instance ended with: the body of the element behind its last entry. False where that was lost or spoilt, which is
-- not the same as an end without a result.
function journal.ending_of(list)
  local blob = redis.call('LINDEX', list, -1)
  local body = journal.body(blob)
  return blob and string.sub(blob, 1, 2) == '\1Z' and next(body) ~= nil and body
end

-- Rarely:

-- Elements from `at` to before `upto`: no more than `most`, and none once there are so many bytes. They are read one by
-- one, because one may have a megabyte; so the answer is longer than `bytes` by less than one of them.
function journal.page(list, at, upto, most, bytes)
  local found, weight = {}, 0
  while at < upto and #found < most and weight < bytes do
    local blob = redis.call('LINDEX', list, at)
    if not blob then break end
    found[#found + 1], weight, at = blob, weight + #blob, at + 1
  end
  return found, weight
end

-- Rarely:

-- Values of a hash from `cursor` on, in small portions until there are `most` of them or so many bytes; and the cursor
-- behind them, '' behind the last.
function journal.values(hash, cursor, most, bytes)
  local found, weight = {}, 0
  repeat
    local page = redis.call('HSCAN', hash, cursor, 'COUNT', 10)
    cursor = page[1]
    for at = 2, #page[2], 2 do found[#found + 1], weight = page[2][at], weight + #page[2][at] end
  until cursor == '0' or #found >= most or weight >= bytes
  return found, cursor ~= '0' and cursor or ''
end
