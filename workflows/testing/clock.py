"""Time that stands still until a test moves it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any, Protocol

from workflows.clock import ServerClock
from workflows.errors import ConfigError
from workflows.testing.calls import waiting
from workflows.values.durations import Duration, parse_ms


class Driven(Protocol):
    """What a clock needs of what it drives."""

    def next_due_ms(self) -> int | None:
        """When the next thing falls due; None: never."""
        ...

    def fire(self) -> None:
        """Have done what is due by now."""
        ...

    def settle(self) -> None:
        """Wait until that is done, with its consequences. Raises: IntrospectionError."""
        ...


class TestClock:
    """The clock of a test: ``await clock.advance("7 days")``.

    It begins at the real time and stands still. What an instance waits for (sleeps, retry delays, timeouts of waits,
    retention, schedules) obeys it; leases of processes and the timeout of an attempt that is running do not, and
    ``datetime.now()`` in the code under test knows nothing of it: ``step.now()`` does.
    """

    __test__ = False

    def __init__(self) -> None:
        self._now_ms = ServerClock().now_ms()
        self._engine: Driven | None = None
        self._moving = threading.Lock()

    def attach(self, engine: Driven) -> None:
        """Let this engine fire what falls due."""
        self._engine = engine

    def advance(self, duration: Duration) -> Any:
        """Let time pass: everything that falls due happens, in its order, each with its consequences.

        Args:
            duration: ``"7 days"``, a timedelta, or a number of milliseconds.
        Raises:
            BadDuration.
            IntrospectionError: something goes on for ten real seconds, a step that does not return, say.
        """
        ms = parse_ms(duration, what="the duration of clock.advance")
        return waiting(lambda: self._move(self._now_ms + ms))

    def advance_to(self, moment: datetime) -> Any:
        """Let time pass until an aware datetime; one that has passed changes nothing. See ``advance``."""
        if moment.tzinfo is None:
            raise ConfigError("clock.advance_to needs a datetime with a time zone, such as datetime.now(UTC)")
        ms = round(moment.timestamp() * 1000)
        return waiting(lambda: self._move(ms))

    @property
    def now(self) -> datetime:
        """The moment it shows, in UTC."""
        return datetime.fromtimestamp(self._now_ms / 1000, UTC)

    def _move(self, until_ms: int) -> None:
        engine = self._engine
        if engine is None:
            raise ConfigError("This clock drives no engine (yet)")
        with self._moving:
            engine.settle()
            while (due := engine.next_due_ms()) is not None and due <= until_ms:
                self._now_ms = max(self._now_ms, due)
                engine.fire()
                engine.settle()
            self._now_ms = max(self._now_ms, until_ms)
            engine.fire()
            engine.settle()

    # What stores ask (workflows.clock.Clock)

    def argument(self) -> str:
        return str(self._now_ms)

    def now_ms(self) -> int:
        return self._now_ms

    def observe(self, server_ms: int) -> None:
        """The server is told the time here, not asked."""

    def __repr__(self) -> str:
        return f"<TestClock {self.now.isoformat(timespec='milliseconds')}>"
