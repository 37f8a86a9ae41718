"""The only place that asks what time it is; ``tests/test_layers.py`` names what else does.

Scripts take their moment from Redis ``TIME`` (M7): hosts' clocks are never compared. A process that needs a moment
outside a script (the end of an attempt, for the journal) uses the server's clock as last seen plus what its own
monotonic clock has counted since. A test clock replaces both; leases always run on the server's real clock.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    def argument(self) -> str:
        """What scripts get as ``now``: milliseconds, or '' for the server's clock."""

    def now_ms(self) -> int:
        """The server's time in milliseconds since the epoch, as well as this process knows it."""

    def observe(self, server_ms: int) -> None:
        """Take note of the server's time, just read."""


class ServerClock:
    """Real time: the server's."""

    def __init__(self) -> None:
        self._offset_ms = time.time() * 1000 - time.monotonic() * 1000

    def argument(self) -> str:
        return ""

    def now_ms(self) -> int:
        return int(time.monotonic() * 1000 + self._offset_ms)

    def observe(self, server_ms: int) -> None:
        self._offset_ms = server_ms - time.monotonic() * 1000


def here() -> datetime:
    """The moment as this machine tells it, with its time zone: for what people are shown. Nothing is decided by it."""
    return datetime.now().astimezone()


monotonic = time.monotonic
"""Seconds on this process's own clock: only for deadlines inside one process."""
