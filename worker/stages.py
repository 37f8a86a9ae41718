"""Where the time of this process goes: a clock is asked where one stage ends and the next begins.

Nearly all of it is added up by whoever leads the engine, one thread at a time, so nothing is locked; what cannot be
asked there, such as when a callback has begun and ended, is noted where it happens and comes along with its outcome.
Whoever reads at that moment finds the last few millionths of a second in one stage and not in the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import cast

from worker.arrivals import Finished
from workflows.clock import monotonic
from workflows.storage import stages
from workflows.storage.stages import Spent, Stage, StagesTold, Totals
from workflows.telemetry import metrics
from workflows.telemetry.figures import Figures, Series, Value

LATELY_SECONDS = 60.0
_QUEUE_SECONDS = metrics.QUEUE_SECONDS.name
_OF_STAGES = (metrics.STAGE_PASSES, metrics.STAGE_SECONDS)


class Stages:
    """Those of one engine.

    Args:
        figures: of the process; they have how long doorbells rang, and how long claiming took.
    """

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._began = monotonic()
        self._steps = self._runs = self._rounds = self._trips = 0
        self._waited = self._called = self._left = 0.0
        self._ran = self._led = self._redis = 0.0
        # At most one for each renewal of the lease within that time.
        self._kept: deque[tuple[float, Totals]] = deque([(self._began, Totals())])

    # For whoever leads ------------------------------------------------------------------------------------------------

    def finished(self, item: Finished, now: float) -> None:
        """An attempt's outcome is taken up."""
        attempt = item.attempt
        begun = attempt.begun
        if begun:
            attempt.begun = 0.0  # it may come again, after a round trip that failed
            ended = item.ended
            self._steps += 1
            self._waited += begun - attempt.queued
            self._called += ended - begun
            self._left += now - ended

    def ran(self, seconds: float) -> None:
        """A ``run`` has gone on."""
        self._runs += 1
        self._ran += seconds

    def led(self, began: float, in_redis: float) -> None:
        """A round is over."""
        self._rounds += 1
        if in_redis:
            self._trips += 1
            self._redis += in_redis
        self._led += monotonic() - began

    # For those who want to know, on other threads ---------------------------------------------------------------------

    def totals(self) -> Totals:
        """Since the start."""
        counted = self._figures.read()
        found: dict[Stage, Spent] = {
            stages.QUEUE: _rung(counted),
            stages.CLAIM: _claimed(counted),
            stages.THREAD: Spent(self._steps, self._waited),
            stages.CALLBACK: Spent(self._steps, self._called),
            stages.OUTCOME: Spent(self._steps, self._left),
            stages.RUN: Spent(self._runs, self._ran),
            stages.ENGINE: Spent(self._rounds, max(0.0, self._led - self._ran - self._redis)),
            stages.REDIS: Spent(self._trips, self._redis),
        }
        return Totals(monotonic() - self._began, {stage.name: spent for stage, spent in found.items()})

    def told(self) -> StagesTold:
        """The same, and what has been added in the last minute: as far back as somebody asked then. For one thread."""
        now, found = monotonic(), self.totals()
        while len(self._kept) > 1 and self._kept[1][0] <= now - LATELY_SECONDS:
            self._kept.popleft()
        before = self._kept[0][1]
        self._kept.append((now, found))
        return StagesTold(found, found.since(before))

    def series(self) -> dict[Series, Value]:
        """The same for ``/metrics``."""
        found: dict[Series, Value] = {}
        for name, (passes, seconds) in self.totals().spent.items():
            if passes:
                found[metrics.STAGE_SECONDS.name, (name,)] = seconds
                found[metrics.STAGE_PASSES.name, (name,)] = passes
        return found


def _rung(counted: Mapping[Series, Value]) -> Spent:
    """How long doorbells of all queues rang."""
    lists = [value for (name, _), value in counted.items() if name == _QUEUE_SECONDS and isinstance(value, list)]
    return Spent(int(sum(sum(one[:-1]) for one in lists)), sum(one[-1] for one in lists))


def _claimed(counted: Mapping[Series, Value]) -> Spent:
    """How long claiming took, which fetchers count."""
    passes, seconds = (cast(float, counted.get((metric.name, (stages.CLAIM.name,)), 0)) for metric in _OF_STAGES)
    return Spent(int(passes), seconds)
