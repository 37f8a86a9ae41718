-- uses: shard calendar
-- Telling whoever listens how instances move (F30: as lossy as pub/sub), for apps that want it: `tell` of a header is the
-- version of the code that created it. Keyspace.notices_channel builds the same name.
local notices = {}

-- Rarely:

local TYPES = {queued = 'queued', started = 'started', paused = 'paused', errored = 'errored', terminated = 'terminated',
  complete = 'completed'}

-- Publishes that an instance has this status now, or has `started`; nothing for those that nobody is told of.
function notices.publish(I, status)
  if not TYPES[status] then return end
  local namespace = string.match(I.h, '^{([^/]*)/')
  redis.call('PUBLISH', 'workflows:' .. namespace .. ':' .. ARGV[4] .. ':notifications', cjson.encode({
    type = 'cf.workflows.workflow.instance.' .. TYPES[status],
    source = {type = 'workflows.workflow', workflowName = I.wf},
    payload = {versionId = I.tell, instanceId = I.id},
    metadata = {eventSchemaVersion = 1, eventTimestamp = calendar.text(NOW)},
  }))
end
