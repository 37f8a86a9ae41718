"""What a process counts: plain dictionaries, cheap enough to be filled at every step whether anybody looks or not.

Every thread has a dictionary of its own and is the only one to write to it, so nothing is ever locked to count.
Whoever wants to know adds them up: copying a dictionary is one operation of the interpreter, and a histogram that is
read while one value is being added is short of that value, or of its part of the sum, until it is read again.
"""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left
from typing import Any, Final

from workflows.telemetry.metrics import Labels, Metric

Series = tuple[str, Labels]
"""Name of a metric, and the values of its labels in their order."""

Value = float | list[float]
"""A number; of a histogram how many values came into each bucket, and behind them their sum."""


class Figures:
    """The counters and histograms of one process; they only grow."""

    def __init__(self) -> None:
        self._local = threading.local()
        # A thread that has ended is not kept, nor what hangs on it: a process may have many in its life.
        self._all: list[tuple[weakref.ref[threading.Thread], dict[Series, Any]]] = []
        self._ended: dict[Series, Value] = {}
        self._looking = threading.Lock()

    def count(self, metric: Metric, labels: Labels = (), by: float = 1) -> None:
        """Add to a counter."""
        mine = self._mine()
        series = (metric.name, labels)
        mine[series] = mine.get(series, 0) + by

    def observe(self, metric: Metric, labels: Labels, value: float) -> None:
        """Add a value to a histogram."""
        mine = self._mine()
        series = (metric.name, labels)
        buckets = mine.get(series)
        if buckets is None:
            buckets = mine[series] = [0] * (len(metric.bounds) + 2)
        buckets[bisect_left(metric.bounds, value)] += 1
        buckets[-1] += value

    def _mine(self) -> dict[Series, Any]:
        try:
            found: dict[Series, Any] = self._local.figures
        except AttributeError:
            found = self._local.figures = {}
            with self._looking:
                self._add_up_ended()
                self._all.append((weakref.ref(threading.current_thread()), found))
        return found

    def read(self) -> dict[Series, Value]:
        """All series that there are by now, with their values."""
        with self._looking:
            self._add_up_ended()
            found = {series: _copied(value) for series, value in self._ended.items()}
            for _, figures in self._all:
                add(found, figures.copy())
        return found

    def _add_up_ended(self) -> None:
        alive = []
        for known, figures in self._all:
            thread = known()
            if thread is not None and thread.is_alive():
                alive.append((known, figures))
            else:
                add(self._ended, figures)
        self._all = alive


def add(total: dict[Series, Value], more: dict[Series, Any]) -> None:
    """Add ``more`` to ``total``, series by series."""
    for series, value in more.items():
        before = total.get(series)
        if before is None:
            total[series] = _copied(value)
        elif isinstance(before, list) and isinstance(value, list) and len(before) == len(value):
            total[series] = [one + other for one, other in zip(before, value, strict=True)]
        elif not isinstance(before, list) and not isinstance(value, list):
            total[series] = before + value


def difference(now: dict[Series, Value], before: dict[Series, Value]) -> dict[Series, Value]:
    """What has been added since ``before``; series that have not grown are left out."""
    grown: dict[Series, Value] = {}
    for series, value in now.items():
        old = before.get(series)
        if old == value:
            continue
        if isinstance(value, list):
            grown[series] = [one - other for one, other in zip(value, old or [0] * len(value), strict=True)]  # type: ignore[arg-type]
        else:
            grown[series] = value - (old or 0)  # type: ignore[operator]
    return grown


def _copied(value: Any) -> Value:
    return list(value) if isinstance(value, list) else value


figures: Final = Figures()
"""Those of this process."""
