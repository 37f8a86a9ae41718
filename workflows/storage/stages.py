"""Where the time of worker processes goes, stage by stage, as each says of itself in the record that RQ keeps of it.

``worker/stages.py`` adds up, ``workflows/health/stages.py`` makes an answer of what all of them say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of what happens to a step in a worker.

    Attributes:
        kind: ``wait``: a step stands still, as others may beside it; ``beside``: a thread or the loop is busy with it,
            as others may be; ``lead``: the one thread that leads is, so all of these together are never more than the
            time that has passed.
    """

    name: str
    kind: Literal["wait", "beside", "lead"]
    what: str


QUEUE: Final = Stage("queue", "wait", "rung for, until a worker has taken it off its queue")
CLAIM: Final = Stage("claim", "beside", "calls that claim what was taken off its queue")
RUN: Final = Stage("run", "lead", "run() itself: replayed, and on from there")
ENGINE: Final = Stage("engine", "lead", "the worker's own Python: what follows is decided, written down, begun")
REDIS: Final = Stage("redis", "lead", "round trips that settle and commit")
THREAD: Final = Stage("thread", "wait", "begun here, until a thread or the loop was free for it")
CALLBACK: Final = Stage("callback", "beside", "what the step does")
OUTCOME: Final = Stage("outcome", "wait", "done, until the worker took its outcome up")

STAGES: Final = (QUEUE, CLAIM, THREAD, CALLBACK, OUTCOME, RUN, ENGINE, REDIS)
"""In the order in which a step passes them; once for each attempt, in batches where there are many."""


class Spent(NamedTuple):
    """What one stage has taken.

    Attributes:
        passes: how often there was something to measure: an attempt, a doorbell, or a batch.
        seconds: in all, by the clock.
    """

    passes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Totals:
    """What the stages have taken.

    Attributes:
        seconds: the time that this is about; that of several processes is added up.
        spent: by the names of stages; one that is missing took nothing.
    """

    seconds: float = 0.0
    spent: Mapping[str, Spent] = field(default_factory=dict)

    def of(self, stage: Stage) -> Spent:
        return self.spent.get(stage.name, Spent())

    @property
    def steps(self) -> int:
        """Attempts at steps that have ended."""
        return self.of(CALLBACK).passes

    def since(self, before: Totals) -> Totals:
        """What has been added since an earlier look at the same process."""
        return Totals(
            self.seconds - before.seconds,
            {
                stage.name: Spent(now.passes - then.passes, now.seconds - then.seconds)
                for stage in STAGES
                for now, then in [(self.of(stage), before.of(stage))]
            },
        )


def total(parts: Iterable[Totals]) -> Totals:
    """Those of several processes together."""
    found = list(parts)
    return Totals(
        sum(one.seconds for one in found),
        {
            stage.name: Spent(
                sum(one.of(stage).passes for one in found),
                sum(one.of(stage).seconds for one in found),
            )
            for stage in STAGES
        },
    )


class StagesTold(NamedTuple):
    """What a process says of itself.

    Attributes:
        since_start: since it was started.
        lately: of about the last minute.
    """

    since_start: Totals
    lately: Totals


def written(told: StagesTold) -> str:
    """As it stands in the record."""
    return json.dumps([_listed(one) for one in told], separators=(",", ":"))


def read(text: bytes | str | None) -> StagesTold | None:
    """What stands in a record; None if it is nothing that this version can read (I11)."""
    try:
        since_start, lately = json.loads(text or b"")
        return StagesTold(_totals(since_start), _totals(lately))
    except (ValueError, TypeError, OverflowError, AttributeError, RecursionError):
        return None


def _listed(totals: Totals) -> list[Any]:
    return [
        round(totals.seconds, 3),
        {name: [spent.passes, round(spent.seconds, 6)] for name, spent in totals.spent.items() if spent.passes},
    ]


def _totals(listed: Any) -> Totals:
    seconds, spent = listed
    known = {stage.name for stage in STAGES}
    return Totals(
        _finite(seconds),
        {name: Spent(int(passes), _finite(took)) for name, (passes, took) in spent.items() if name in known},
    )


def _finite(number: Any) -> float:
    found = float(number)
    if not 0 <= found < 1e12:
        raise ValueError("no time that could have passed")
    return found
