-- uses: shard journal
-- Why instances have failed or are parked; writes nothing.
-- ARGV   entries = how many of the last entries of a journal are looked through for failed steps, bytes = how many bytes of
--        entries altogether, head = how many of an error: its name and message stand first
-- Reply  for each instance false where it is not there or cannot be read, or {status, want, reason, ended, paused_at, fault,
--        head of its error, steps}; steps = those that failed last, from the last on: {kind, name, count, head of the error;
--        of a wait that timed out the name of that}
local STEPS, read = 3, 0

local function head(blob) return type(blob) == 'string' and string.sub(blob, 1, A.head) or '' end

local function failed_steps(list)
  local steps, at = {}, 2
  while at < A.entries + 2 and #steps < STEPS and read < A.bytes do
    local blob = redis.call('LINDEX', list, -at)
    if not blob then break end
    local kind = string.sub(blob, 2, 2)
    read, at = read + #blob, at + 1
    if kind == 'S' or kind == 'C' or kind == 'X' then
      local body = journal.body(blob)
      local failed = kind == 'X' and (body.si and 'HeartbeatTimeout' or 'EventTimeout') or body.x and head(body.x)
      if failed then steps[#steps + 1] = {kind, body.n or '', body.c or 1, failed} end
    end
  end
  return steps
end

local found = {}
for place = SHARD_KEYS + 1, #KEYS, INSTANCE_KEYS do
  local list = KEYS[place + 1]
  local values = redis.pcall('HMGET', KEYS[place], 'st', 'want', 'reason', 'ended', 'paused_at', 'fault')
  local length = redis.pcall('LLEN', list)
  local ending = not values.err and type(length) == 'number' and values[4] and journal.ending_of(list) or nil
  if values.err or type(length) ~= 'number' or not values[1] then
    found[#found + 1] = false
  else
    local failed = ending and ending.x
    values[#values + 1] = head(failed)
    values[#values + 1] = failed and failed_steps(list) or {}
    found[#found + 1] = values
  end
end
return reply(found)
