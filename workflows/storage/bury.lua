-- uses: waking room
-- Ends the leases of workers in one shard before their time, because their processes are known to be gone.
-- ARGV   workers, how = 'seen' (somebody saw this very process end) | 'gone' (found gone, with others perhaps)
-- Reply  how many leases it ended. Sent twice: 0. Crash right after: the reaper's next look finds them.
-- Who saw the end has the say about the blame, also when it was found before; what its worker has given up stays so.
local score = A.how == 'seen' and SEEN or GONE
local ended = 0
for _, worker in ipairs(A.workers) do
  local expiry = tonumber(redis.call('ZSCORE', shard.workers, worker) or LEFT)
  if expiry > score then
    redis.call('ZADD', shard.workers, score, worker)
    ended = ended + 1
  end
end
if ended > 0 then wake() end
return reply(ended)
