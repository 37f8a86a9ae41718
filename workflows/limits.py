"""Every bound and default that users, producers or operators can run into, named with its unit.

How much one look of a process takes, and how often it looks, stands beside that look: nobody meets it.

Numbers marked (model) are the ones of https://developers.cloudflare.com/workflows/reference/limits/ as read in
September 2026; the others are ours, each with its reason. A limit that users may change is a default here and travels
as an option from there on.
"""

from __future__ import annotations

from typing import Final

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

# Values
PAYLOAD_BYTES: Final = 1024 * 1024  # params, a step's result, an event's payload, run()'s result (model: 1 MiB)
CODEC_DEPTH: Final = 64  # containers inside containers; deeper is a mistake or an attack (F52)
CODEC_ITEMS: Final = 100_000  # members of all containers of one value together; bounds memory and time (F52)
FAILURE_BYTES: Final = 32 * 1024  # one stored error with its traceback, whatever the exception carries (F53)
FAILURES_KEPT: Final = 10  # failed attempts kept with a step: enough to see a pattern, bounded for 10,000 retries
FAILURES_BYTES: Final = 32 * 1024  # of them together; the last is always kept. Open records are taken up by the slice

HEARTBEAT_BYTES: Final = 4 * 1024  # what an attempt says with a heartbeat; it stands in the open record of its step

# Results that are streams of bytes
STREAM_CHUNK_BYTES: Final = 16 * 1024 * 1024  # one chunk that a callback yields (model: 16 MiB)
STORED_CHUNK_BYTES: Final = 256 * 1024  # one chunk as it is stored, and comes back (model: 256 KiB)
STREAM_BYTES: Final = 256 * 1024 * 1024  # one stream; ours: it takes that much of the memory of Redis
STREAMS_BYTES: Final = 1024 * 1024 * 1024  # all of an instance (model: 1 GiB of state)
STREAMS: Final = 1_000  # of an instance; ours: one call removes them all
STREAM_KEPT_MS: Final = 60 * 1000  # chunks of an attempt that came to nothing outlive its timeout by so much

# Durations
DURATION_MS_MAX: Final = 365 * DAY_MS  # sleeps, waits, retry delays and timeouts (model: 365 days)
EVENT_TIMEOUT_MS: Final = 24 * HOUR_MS  # wait_for_event without a timeout (model: 24 hours)
EVENT_TIMEOUT_MS_MIN: Final = 1 * SECOND_MS  # shortest wait for an event (model: 1 second)
STEP_TIMEOUT_MS: Final = 10 * MINUTE_MS  # one attempt of a step (model: 10 minutes)
CANCEL_GRACE_MS: Final = 10 * MINUTE_MS  # for what run does after it was asked to end: one attempt of a step
RETENTION_MS: Final = 7 * DAY_MS  # an ended instance stays readable this long (model: 3 to 30 days; ours 7)
DELAY_FUNCTION_SECONDS: Final = 5  # a retry delay given as a function must answer in this time (model: 5 s)

# Steps and retries
STEPS: Final = 10_000  # calls of step.do per instance; sleeps and waits are free (model: 10,000)
STEPS_MAX: Final = 25_000  # highest value the limit of steps can be set to (model: 25,000)
RETRY_LIMIT: Final = 5  # retries after the first attempt (model: 5)
RETRY_LIMIT_MAX: Final = 10_000  # highest number of retries of a step (model: 10,000)
BACKOFF_RATE_MAX: Final = 100  # highest factor from one wait to the next
RETRY_DELAY_MS: Final = 10 * SECOND_MS  # before the first retry (Cloudflare's documentation: 10 seconds)

# Instances and events
BATCH: Final = 100  # instances in one create_batch (model: 100)
MAILBOX_EVENTS: Final = (
    10_000  # events an instance keeps until something waits for them; ours, so a sender cannot fill Redis
)
LIST_PAGE: Final = 100  # instances in one page of a list, unless told otherwise
LIST_PAGE_MAX: Final = 1_000
LIST_LOOKED: Final = 2_000  # instances whose headers one page looks at; then it is short, and has a cursor
METADATA_KEYS: Final = 10  # of one instance; ours: they stand in its header, which every script reads
METADATA_KEY_CHARACTERS: Final = 40
METADATA_VALUE_CHARACTERS: Final = 100
VALUES: Final = 20  # that `run` publishes for those who look, by name; ours: they stand in its header, as one field
VALUE_BYTES: Final = 4 * 1024  # of each of them; more is what steps return
VALUE_NAME_CHARACTERS: Final = 64
WATCHERS: Final = 500  # instances waiting for the end of one; ours: they stand in its header, which every script reads

# One call of a script (I12), so that none keeps the server from others for long
SCRIPT_ELEMENTS: Final = 200  # open records, queued things or items it takes up
SCRIPT_BYTES: Final = 1024 * 1024  # values it carries, beyond the first
SLICE_BYTES: Final = 512 * 1024  # values it reads and writes once more: a megabyte of them takes ten milliseconds
TURN_ENTRIES: Final = 256  # journal entries that one turn is decided over; the next turn begins behind them

# What becomes of an attempt or a turn whose worker was lost (decision 0016)
DEATHS: Final = 3  # processes that were seen to end while they ran it: it is what killed them
LOSSES: Final = 10  # workers that were found gone while they held it: says little about any one step
STRIKES: Final = 3  # processes that ended in `run`, or interrupted it, one after the other

# What is kept of what was
COMMAND_IDS: Final = 256  # ids of commands and events an instance remembers; beyond that the older half goes
ASIDE_KEPT: Final = 1_000  # notes on what could not be read, of one shard
ASIDE_MS: Final = 30 * DAY_MS  # they go after so long
REFUSED_KEPT: Final = 1_000  # requests from the inbox that could not be applied
REFUSED_BYTES: Final = 256  # what is left of each of their fields and values
REASON_CHARACTERS: Final = 500  # what is left of why
FORGED_KEPT_SECONDS: Final = 7 * 24 * 3600  # jobs that are no doorbells, in RQ's failed registry

# Requests in the inbox
REQUEST_BYTES: Final = PAYLOAD_BYTES + 64 * 1024  # one entry with all its fields: a full payload and what is around it
REQUEST_FIELDS: Final = 16  # fields of one entry; a request has six at most
PRODUCERS: Final = 100  # with a stream of their own; each is looked at once a second, and shares every round

# Names, in characters
WORKFLOW_NAME_CHARACTERS: Final = 64  # (model)
INSTANCE_ID_CHARACTERS: Final = 100  # (model)
EVENT_TYPE_CHARACTERS: Final = 100  # (model)
EVENT_KEY_CHARACTERS: Final = (
    500  # of what events are sent to everybody by; beyond about a hundred a digest stands for it
)
EVENT_TYPES: Final = 20  # that one wait can be for: each is a line in the queues of its instance
STEP_NAME_CHARACTERS: Final = 256  # (model)
NAMESPACE_CHARACTERS: Final = 64  # of an app's name, which begins every key
QUEUE_NAME_CHARACTERS: Final = 64
PRODUCER_NAME_CHARACTERS: Final = 48  # with `inbox-` and an entry's id around it, it is still an instance's id
COMMAND_ID_CHARACTERS: Final = 200  # ids by which repeated commands and events are known; at least 128 are kept each

# Instances that run at a time
CONCURRENT_MAX: Final = 1_000_000  # highest limit of a workflow; that many slots are members of one sorted set
SLOT_PATH_CHARACTERS: Final = 200  # of the path to a key in the params
SLOT_KEY_CHARACTERS: Final = 60  # of a key's value, as it stands in members; a longer one ends with a digest

# Schedules
SCHEDULES: Final = 100  # cron lines of all workflows of a namespace (model: 100 per account)
CATCH_UP_MS: Final = 1 * MINUTE_MS  # firings that are later are skipped, except for the last one
CATCH_UP_MS_MIN: Final = 10 * SECOND_MS  # of a schedule that says so itself; it is looked once a second
JITTER_MS_MAX: Final = DAY_MS
BACKFILL: Final = 1_000  # firings that one backfill creates instances for
SCHEDULE_CHARACTERS: Final = 256  # one cron expression (model: 256)

# Processes
SHARDS: Final = 16  # of a namespace, unless told otherwise at its first use
CONCURRENCY: Final = 64  # steps at a time in one worker process
CONCURRENCY_MAX: Final = 10_000
PROCESSES_MAX: Final = 256  # of one parent
WARM: Final = 10_000  # suspended replays kept by one worker process
SHARDS_MAX: Final = 4096  # of one namespace; each costs every worker and orchestrator a call now and then
GRACE_SECONDS_MAX: Final = 24 * 3600  # longest drain of a worker: a step that takes longer is better given back
LEASE_SECONDS_MIN: Final = 3  # a lease is renewed about three times; shorter ones would be lost to a pause
LEASE_SECONDS_MAX: Final = 3600  # work of a dead machine waits for as long

# Doorbells: an unclaimed intent is looked at again after so long, because its doorbell may be lost. Of a backlog, in
# which it most likely just waits, only so many a second and shard, but each once a minute
RING_AGAIN_MS: Final = 2 * SECOND_MS
RING_AGAIN_MS_MAX: Final = 1 * MINUTE_MS
RINGS_PER_SECOND: Final = 50
DOORBELL_SECONDS: Final = 24 * 3600  # then RQ's job is gone, whatever has become of it

# Clients
CONNECTIONS: Final = 100  # of one client at a time; calls beyond that wait (also ?max_connections= in the URL)
CONNECTION_WAIT_SECONDS: Final = 30  # longest wait of a call for one of them (also ?timeout= in the URL)
ANNOUNCED_BYTES: Final = 4 * 1024  # of an outcome that result() is told; a larger one is read by whoever waits
SUBSCRIPTION_SECONDS: Final = 0.1  # longest pause of subscribe() between two looks at an instance

# Observers
OBSERVER_TRANSITIONS: Final = 10_000  # that wait for one observer of a process; what comes then is not told
OBSERVER_SECONDS: Final = 2.0  # for what is not told yet when a worker process ends

# Connections
SOCKET_TIMEOUT_SECONDS: Final = 10.0  # one that has said nothing for this long is taken for dead (F48); blocking reads
# stay well below it (also ?socket_timeout= in the URL)
SOCKET_TIMEOUT_SECONDS_MIN: Final = 3.0  # a blocking read may take more than one
CONNECT_TIMEOUT_SECONDS: Final = 5.0  # (also ?socket_connect_timeout= in the URL)
OUTAGE_SECONDS: Final = 30.0  # longest outage of Redis that result() waits through
