"""How the figures of a process reach the one that started it and serves them: in lines, each with what one series has
grown by. What a process that dies has not told yet is lost, a second's worth; what it has told stays counted.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from workflows.telemetry.figures import Figures, Series, Value, add, difference
from workflows.telemetry.metrics import BY_NAME, Metric

TELL_SECONDS: Final = 1.0
# Of a counter or histogram: add this. Of a gauge: this is it now.
MORE, NOW = b"+", b"="


def is_told(line: bytes) -> bool:
    """Whether a line is one of these."""
    return line[:1] in (MORE, NOW)


class Telling:
    """The side of the process that counts; what was counted before it was made is not told.

    Args:
        read: what has been counted by now.
        gauges: what there is to say of this moment.
    """

    def __init__(
        self, read: Callable[[], dict[Series, Value]], gauges: Callable[[], Mapping[Metric, float]] = dict
    ) -> None:
        self._read = read
        self._gauges = gauges
        self._told = read()
        self._telling = threading.Lock()

    def tell(self, write: Callable[[bytes], bool]) -> None:
        """Tell what has not been told yet.

        Args:
            write: takes one line; answers whether it is on its way. If not, it is tried again next time.
        """
        with self._telling:
            now = self._read()
            for series, more in difference(now, self._told).items():
                if not write(MORE + json.dumps([*series, more], separators=(",", ":")).encode()):
                    return
                self._told[series] = now[series]
            for metric, value in self._gauges().items():
                if not write(NOW + json.dumps([metric.name, [], value], separators=(",", ":")).encode()):
                    return


class Gathered:
    """The other side: the figures of a process and all it has started, whether they still live or not."""

    def __init__(self, own: Figures) -> None:
        self._own = own
        self._heard: dict[Series, Value] = {}
        self._gauges: dict[int, dict[Series, float]] = {}

    def hear(self, child: int, lines: Iterable[bytes]) -> None:
        """What a child has told; lines that mean nothing here, those of another version say, are passed over."""
        for line in lines:
            try:
                name, labels, value = json.loads(line[1:])
                series = (name, tuple(labels))
                metric = BY_NAME[name]
                if len(labels) != len(metric.labels) or not _is_value(metric, value):
                    continue
            except (ValueError, TypeError, KeyError):
                continue
            if line[:1] == NOW:
                self._gauges.setdefault(child, {})[series] = value
            else:
                add(self._heard, {series: value})

    def forget(self, child: int) -> None:
        """It has ended: what it has counted stays, what it was like does not."""
        self._gauges.pop(child, None)

    def values(self) -> dict[Series, Value]:
        """All of it; gauges of several children are added up."""
        found: dict[Series, Value] = {}
        for part in (self._heard, self._own.read(), *self._gauges.values()):
            add(found, part)  # type: ignore[arg-type]
        return found


def _is_value(metric: Metric, value: Any) -> bool:
    if metric.kind != "histogram":
        return isinstance(value, (int, float))
    is_list = isinstance(value, list) and len(value) == len(metric.bounds) + 2
    return is_list and all(isinstance(one, (int, float)) for one in value)
