"""The names of all log events of this library, and what each says. A closed list: whoever filters or counts lines can
rely on it. A test finds others in the sources, and keeps ``docs/monitoring.md`` equal to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EVENTS: Final[Mapping[str, str]] = {
    # Instances and steps
    "instance begun": "`run` has begun; only with `WORKFLOWS_LOG_INSTANCES=1`",
    "instance complete": "it has returned; only with `WORKFLOWS_LOG_INSTANCES=1`",
    "instance terminated": "it was terminated, and its rollback has ended; only with `WORKFLOWS_LOG_INSTANCES=1`",
    "instance continued": "it goes on as another life of the same instance; only with `WORKFLOWS_LOG_INSTANCES=1`",
    "instance errored": "it has failed; the traceback is there unless that of the step was",
    "instance is rolled back": "it has failed, and its handlers begin",
    "attempt failed": "and is tried again in `next_try_in`",
    "step failed": "the last attempt at it has failed",
    "parked": "the instance cannot be replayed by this code and was paused",
    "cannot replay": "the same, for an error of the library's own",
    "cannot decide": "the same, while it was decided ahead: the turn tries again",
    "schedule fired": "an instance was created by its cron line",
    # Code that does not behave
    "run blocks its worker": "it computes or blocks, and was interrupted; where it stands is on standard error",
    "callback blocks the loop": "an async callback does not await: others wait; `at` is where",
    "a task asked the process to exit": "`SystemExit` in a task of the loop, which goes on",
    "a process forked by a step ends": "it came back from the callback that had forked it",
    "observer failed": "an observer of the app has raised",
    "observer falls behind": "it hears more than it can take, and is not told of some",
    "transition not told": "a listener inside the worker has raised: an error of the library",
    # Worker processes
    "worker ready": "it has registered and takes work",
    "draining": "it takes no more work and waits for what runs",
    "parent is gone": "it drains for that",
    "worker process ended": "nobody had asked it to; its parent starts another",
    "process alone ended": "one that ran nothing but a suspect step ended with an error",
    "silent process killed": "it gave no sign of life for `seconds`",
    "worker gives up": "it cannot go on, and ends",
    "thread died": "one of its own threads: it gives back what it holds, and ends",
    "exit": "it ends now, for this reason",
    "goes on alone": "this process takes over a step that may have killed a worker",
    "not taken over": "such a process found no such step, or no Redis",
    "nobody took over": "no such process came: it runs here after all",
    "left to the reaper": "what a worker held at its end could not be given back",
    "death not told": "a parent could not tell Redis which process ended; the lease will run out",
    "unknown workflow put back": "work for code that this worker does not have",
    "forged job refused": "an RQ job that is not ours",
    "other code published": "the manifest is that of another version of the app",
    "no sign of life": "the file of `WORKFLOWS_HEALTH_FILE` cannot be touched",
    "notice": "a sentence for whoever has started the process; with `--log-format json` only",
    # Leases
    "lease lost": "this worker was taken for dead, and goes on under another name",
    "lease not renewed": "Redis did not answer; tried again",
    "lease left to expire": "at its end, Redis did not answer",
    "leases left to expire": "the same of an orchestrator's on its shards",
    "registration left to expire": "the same of RQ's record of the worker",
    "registration left to the beat": "RQ's record could not be made at the start, and will be",
    "worker lost": "its lease was over, and `released` things went to others",
    "workers gone": "their connections were closed: their work is taken back at once",
    "shard lost": "another orchestrator has it",
    # Redis
    "redis failed": "a call failed, and is tried again",
    "redis is back": "after that",
    "redis is full": "nothing new is begun until there is room; said once a minute",
    "append-only file not written anew": "Redis refused; see operations",
    "connections are not watched": "Redis does not let us; deaths are noticed by leases",
    "hears nothing": "a subscription was lost, and is made again",
    "tried again later": "a key of RQ's could not be mended",
    "cannot go on here": "part of an orchestrator's round failed, and is tried again",
    "set aside": "something that cannot be read was taken out of the way",
    "repaired": "a sweep has found instances that had lost something",
    # Requests
    "requests refused": "of the inbox: `count` with the same reason",
    "published event": "a plain PUBLISH was delivered",
    "published event refused": "or not",
    "bridge lost redis": "what is published meanwhile is lost",
    "limit": "a limit on running instances has changed",
    # Metrics and dashboard
    "metrics served": "where they can be read",
    "metrics failed": "they could not be put together: an error of the library; served again when asked again",
    "metrics not served": "the port is taken, say; tried again each second",
    "ui_action": "somebody has changed something on the dashboard: `user`, `action`, `instance`, `outcome`",
    "ui_error": "a page or a job of the dashboard failed",
}
