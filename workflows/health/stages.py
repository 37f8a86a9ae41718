"""Where the time of a step goes in the workers: what each says of itself, added up and set against the steps."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from workflows.client.explaining import surroundings
from workflows.storage.keys import rq_worker
from workflows.storage.manifest import load_manifest
from workflows.storage.outage import server_errors
from workflows.storage.processes import STAGES as FIELD
from workflows.storage.stages import STAGES, Stage, StagesTold, Totals, read, total
from workflows.storage.store import Store


@dataclass(frozen=True, slots=True)
class StageShare:
    """One stage within a span of time.

    Attributes:
        passes: how often there was something to measure: an attempt, a doorbell, or a batch of them.
        us_per_step: microseconds for each step that ended; None: none did.
        share: of all that was not waiting, from 0 to 1; None for waiting, or where there was nothing.
    """

    stage: Stage
    passes: int
    seconds: float
    us_per_step: float | None
    share: float | None

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "stage": self.stage.name,
            "kind": self.stage.kind,
            "what": self.stage.what,
            "passes": self.passes,
            "seconds": round(self.seconds, 6),
            "us_per_step": None if self.us_per_step is None else round(self.us_per_step, 1),
            "share": None if self.share is None else round(self.share, 4),
        }


@dataclass(frozen=True, slots=True)
class StageSpan:
    """What the stages have taken within some time.

    Attributes:
        seconds: that time, of all processes together.
        steps: attempts at steps that ended.
        busy: which part of it the one thread of each process that leads was at work, from 0 to 1. Near 1 another
            process helps, where there is a core for it.
        stages: in the order in which a step passes them.
    """

    seconds: float
    steps: int
    busy: float
    stages: tuple[StageShare, ...]

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "seconds": round(self.seconds, 3),
            "steps": self.steps,
            "busy": round(self.busy, 4),
            "stages": [one.as_dict() for one in self.stages],
        }


@dataclass(frozen=True, slots=True)
class StageProfile:
    """Where the time goes.

    Attributes:
        processes: worker processes that say so; ``silent``: those that do not, of another version say.
        lately: of about the last minute of each, as it said a few seconds ago.
        since_start: of each since it was started.
    """

    processes: int
    silent: int
    lately: StageSpan
    since_start: StageSpan

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "processes": self.processes,
            "silent": self.silent,
            "lately": self.lately.as_dict(),
            "since_start": self.since_start.as_dict(),
        }


def stage_profile(store: Store) -> StageProfile:
    """Ask all workers' records, in a few round trips, whose cost depends on the number of queues and workers alone.

    Raises: ServerUnavailable, redis.RedisError.
    """
    queues = surroundings(store, queues=load_manifest(store).queues()).queues
    return stages_of(store, {name for queue in queues.values() for name in queue.workers})


def stages_of(store: Store, workers: Collection[str]) -> StageProfile:
    """The same of the workers with these names, in one round trip."""
    names = sorted(workers)
    with server_errors(store.redis):
        answers = store.answers([["HGET", rq_worker(name), FIELD] for name in names])
    return profile_of([None if isinstance(answer, Exception) else read(answer) for answer in answers])


def profile_of(told: Iterable[StagesTold | None]) -> StageProfile:
    """The profile of what processes say; None: one says nothing."""
    found = list(told)
    heard = [one for one in found if one is not None]
    return StageProfile(
        processes=len(heard),
        silent=len(found) - len(heard),
        lately=span_of(total(one.lately for one in heard)),
        since_start=span_of(total(one.since_start for one in heard)),
    )


def span_of(totals: Totals) -> StageSpan:
    """The same in relation to the steps and to each other."""
    took: Mapping[Stage, float] = {stage: totals.of(stage).seconds for stage in STAGES}
    worked = sum(seconds for stage, seconds in took.items() if stage.kind != "wait")
    led = sum(seconds for stage, seconds in took.items() if stage.kind == "lead")
    return StageSpan(
        seconds=totals.seconds,
        steps=totals.steps,
        busy=min(1.0, led / totals.seconds) if totals.seconds > 0 else 0.0,
        stages=tuple(
            StageShare(
                stage=stage,
                passes=totals.of(stage).passes,
                seconds=seconds,
                us_per_step=seconds * 1e6 / totals.steps if totals.steps else None,
                share=seconds / worked if stage.kind != "wait" and worked > 0 else None,
            )
            for stage, seconds in took.items()
        ),
    )
