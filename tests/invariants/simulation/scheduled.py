"""What a run knows of its schedule."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from workflows.storage.manifest import KnownWorkflow
from workflows.storage.schedules import KnownSchedule, ScheduleState
from workflows.values.schedules import OVERLAPS, CronSchedule

PROGRAMS = ("sequential", "parallel", "race", "retry", "sleeper")


@dataclass
class Scheduled:
    """A schedule of one of the programs.

    Attributes:
        left: so many firings may still fall due.
        holds: so often it is still paused or let go on.
        views: what orchestrators have read and decided, and not yet acted upon.
        promised: firings that were to be created, by what everybody could read.
        before: how far it had come after the step before, and which of its instances there were.
    """

    known: KnownSchedule
    holds: int
    left: int = 5
    views: list[tuple[bytes, ScheduleState]] = field(default_factory=list)
    promised: set[int] = field(default_factory=set)
    before: tuple[ScheduleState, frozenset[str]] | None = None

    def forget(self) -> None:
        """Redis has forgotten something, and with it goes every connection and what was read over it."""
        self.views.clear()
        self.promised.clear()
        self.before = None


def scheduled(rng: random.Random) -> Scheduled:
    """A schedule such as a seed decides."""
    overlap = rng.choice((*OVERLAPS, *OVERLAPS[1:]))
    known = KnownSchedule(KnownWorkflow(rng.choice(PROGRAMS)), CronSchedule("* * * * *", overlap=overlap))
    return Scheduled(known, rng.choice((0, 1, 2, 3)))
