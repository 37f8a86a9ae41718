"""Every metric there is: its name, what it means, its labels. ``docs/monitoring.md`` has the same table (a test).

Names follow Prometheus: base units, ``_total`` for what only grows. Labels are names that the code of an app declares,
workflows and queues, and words of closed lists; instance ids, step names and event types are never among them, so the
number of series depends on the code and not on what it has done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]
Source = Literal["worker", "orchestrator", "state", "any"]

# 5 ms to 10 minutes.
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 300.0, 600.0)
# 1 s to 30 days.
LIFETIMES: Final = (
    1.0,
    5.0,
    15.0,
    60.0,
    300.0,
    900.0,
    3600.0,
    14400.0,
    43200.0,
    86400.0,
    259200.0,
    604800.0,
    2592000.0,
)
ENTRIES: Final = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0)

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric.

    Attributes:
        source: who has it: a worker's parent, an orchestrator, whoever reads the state in Redis, or ``any`` process.
        bounds: upper ends of the buckets of a histogram, ascending; the last bucket has none.
    """

    name: str
    kind: Kind
    source: Source
    help: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()


OUTCOMES: Final = ("ok", "retry", "failed", "void")
"""Of an attempt: it returned; it failed and is tried again; it failed for good; nobody wanted its outcome any more."""

INSTANCES_BEGUN: Final = Metric(
    "workflows_instances_begun_total",
    "counter",
    "worker",
    "Instances whose run has begun, restarted ones included.",
    ("workflow",),
)
INSTANCES_ENDED: Final = Metric(
    "workflows_instances_ended_total",
    "counter",
    "worker",
    "Instances that ended by themselves, after their rollback if they have one.",
    ("workflow", "outcome"),
)
INSTANCE_SECONDS: Final = Metric(
    "workflows_instance_seconds",
    "histogram",
    "worker",
    "From the creation of an instance to its end, whether it was restarted or not.",
    ("workflow", "outcome"),
    LIFETIMES,
)
ATTEMPTS: Final = Metric(
    "workflows_attempts_total",
    "counter",
    "worker",
    "Attempts at steps that have ended: ok, retry, failed, or void (nobody wanted the outcome any more).",
    ("workflow", "queue", "outcome"),
)
ATTEMPT_SECONDS: Final = Metric(
    "workflows_attempt_seconds",
    "histogram",
    "worker",
    "From when a worker took an attempt to its end.",
    ("workflow", "queue"),
    SECONDS,
)
TIMEOUTS: Final = Metric(
    "workflows_timeouts_total",
    "counter",
    "worker",
    "Attempts that ran into the timeout of their step; they count as retry or failed as well.",
    ("workflow", "queue"),
)
QUEUE_SECONDS: Final = Metric(
    "workflows_queue_seconds",
    "histogram",
    "worker",
    "From when work was handed out to when a worker took it off its queue.",
    ("queue",),
    SECONDS,
)
TURNS: Final = Metric(
    "workflows_turns_total",
    "counter",
    "worker",
    "Decisions of run that were committed; warm: yes if a suspended replay went on, no if run began at its start.",
    ("workflow", "warm"),
)
REPLAY_SECONDS: Final = Metric(
    "workflows_replay_seconds",
    "histogram",
    "worker",
    "How long run took to get from its start to where the journal had come to.",
    ("workflow",),
    SECONDS,
)
REPLAY_ENTRIES: Final = Metric(
    "workflows_replay_entries",
    "histogram",
    "worker",
    "Journal entries that run was fed from its start.",
    ("workflow",),
    ENTRIES,
)
EVENTS: Final = Metric(
    "workflows_events_total",
    "counter",
    "worker",
    "Events that instances have received.",
    ("workflow",),
)
STAGE_SECONDS: Final = Metric(
    "workflows_stage_seconds_total",
    "counter",
    "worker",
    "Where time goes: what steps have waited for and worked at, stage by stage.",
    ("stage",),
)
STAGE_PASSES: Final = Metric(
    "workflows_stage_passes_total",
    "counter",
    "worker",
    "How often each stage was passed, by a step or by a batch of them; of callback: attempts.",
    ("stage",),
)
STALLS: Final = Metric(
    "workflows_stalls_total",
    "counter",
    "worker",
    "Times that run blocked its worker and was interrupted.",
)
WORKER_DEATHS: Final = Metric(
    "workflows_worker_deaths_total",
    "counter",
    "worker",
    "Worker processes that ended although nobody had asked them to.",
)
SLOTS: Final = Metric("workflows_slots", "gauge", "worker", "Attempts that the worker processes may run at once.")
SLOTS_USED: Final = Metric("workflows_slots_used", "gauge", "worker", "Of these, how many are taken.")
RECONNECTS: Final = Metric(
    "workflows_reconnects_total",
    "counter",
    "any",
    "Times that a part of the process lost Redis, or was refused by it, and tried again.",
)
BUILD_INFO: Final = Metric(
    "workflows_build_info",
    "gauge",
    "any",
    "1; version of the library, and of the app's code where it is known.",
    ("version", "code"),
)
WORKERS_LOST: Final = Metric(
    "workflows_workers_lost_total",
    "counter",
    "orchestrator",
    "Workers whose lease was over, from which work was taken back.",
)
INBOX_REFUSED: Final = Metric(
    "workflows_inbox_refused_total",
    "counter",
    "orchestrator",
    "Requests of producers that were refused.",
)
REDIS_UP: Final = Metric(
    "workflows_redis_up",
    "gauge",
    "state",
    "1 if the state could be read; else there is nothing else about it.",
    ("namespace",),
)
INSTANCES: Final = Metric(
    "workflows_instances",
    "gauge",
    "state",
    "Instances that there are, by status.",
    ("namespace", "workflow", "status"),
)
PARKED: Final = Metric(
    "workflows_parked",
    "gauge",
    "state",
    "Instances that are paused because they cannot go on, of those looked at: the first 100 paused ones of each shard.",
    ("namespace", "workflow"),
)
RETRYING: Final = Metric(
    "workflows_retrying",
    "gauge",
    "state",
    "Instances with a failed step that waits to be tried again, or a poll, of 1,000 timers of each shard.",
    ("namespace", "workflow"),
)
UNCLAIMED: Final = Metric(
    "workflows_unclaimed",
    "gauge",
    "state",
    "Attempts and turns that no worker has taken yet.",
    ("namespace", "queue"),
)
UNCLAIMED_AGE: Final = Metric(
    "workflows_unclaimed_age_seconds",
    "gauge",
    "state",
    "How long the oldest of them has been waiting.",
    ("namespace", "queue"),
)
WORKERS: Final = Metric(
    "workflows_workers",
    "gauge",
    "state",
    "Worker processes that serve a queue.",
    ("namespace", "queue"),
)
SLOTS_FREE: Final = Metric(
    "workflows_slots_free",
    "gauge",
    "state",
    "Attempts that these could begin at once; a process that serves several queues counts in each.",
    ("namespace", "queue"),
)
TIMERS_LATE: Final = Metric(
    "workflows_timers_late_seconds",
    "gauge",
    "state",
    "How long the oldest timer has been due.",
    ("namespace",),
)
SHARDS_UNOWNED: Final = Metric(
    "workflows_shards_unowned",
    "gauge",
    "state",
    "Shards that no orchestrator tends.",
    ("namespace",),
)
ORCHESTRATORS: Final = Metric(
    "workflows_orchestrators",
    "gauge",
    "state",
    "Orchestrators that are alive.",
    ("namespace",),
)

METRICS: Final = tuple(value for value in dict(vars()).values() if isinstance(value, Metric))
"""All of them, in the order in which they are shown."""

BY_NAME: Final = {metric.name: metric for metric in METRICS}


def of(source: Source) -> list[Metric]:
    """Those that one source has, those of ``any`` included unless it is ``state``."""
    return [one for one in METRICS if one.source == source or (one.source == "any" and source != "state")]
