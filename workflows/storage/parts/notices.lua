-- uses: shard
-- Telling whoever listens how instances move (F30: as lossy as pub/sub), for apps that want it: `tell` of a header is the
-- version of the code that created it. Keyspace.notices_channel builds the same name.
local notices = {}

-- Rarely:

local TYPES = {queued = 'queued', started = 'started', paused = 'paused', errored = 'errored', terminated = 'terminated',
  complete = 'completed'}

-- A moment as text: scripts have no calendar. Days are counted in eras of 400 years that begin with March.
local function moment(ms)
  local days, left = math.floor(ms / 86400000) + 719468, ms % 86400000
  local era = math.floor(days / 146097)
  local day = days - era * 146097
  local year = math.floor((day - math.floor(day / 1460) + math.floor(day / 36524) - math.floor(day / 146096)) / 365)
  day = day - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local month = math.floor((5 * day + 2) / 153)
  day = day - math.floor((153 * month + 2) / 5) + 1
  month = month < 10 and month + 3 or month - 9
  year = year + era * 400 + (month <= 2 and 1 or 0)
  local seconds = math.floor(left / 1000)
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%03dZ', year, month, day, math.floor(seconds / 3600),
    math.floor(seconds / 60) % 60, seconds % 60, left % 1000)
end

-- Publishes that an instance has this status now, or has `started`; nothing for those that nobody is told of.
function notices.publish(I, status)
  if not TYPES[status] then return end
  local namespace = string.match(I.h, '^{([^/]*)/')
  redis.call('PUBLISH', 'workflows:' .. namespace .. ':' .. ARGV[4] .. ':notifications', cjson.encode({
    type = 'cf.workflows.workflow.instance.' .. TYPES[status],
    source = {type = 'workflows.workflow', workflowName = I.wf},
    payload = {versionId = I.tell, instanceId = I.id},
    metadata = {eventSchemaVersion = 1, eventTimestamp = moment(NOW)},
  }))
end
