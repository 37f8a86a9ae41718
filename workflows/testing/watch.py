"""Stores that tell what passes through them, and fail when told to.

All stores of a test engine are of this kind, so one place knows when anything has happened, which instances were made
in which order, and where a crash can be put (every call of every process goes through ``Store.execute``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

import redis

from workflows.clock import Clock, monotonic
from workflows.storage.intake import created
from workflows.storage.keys import Keyspace
from workflows.storage.store import BlockingMove, Call, Store

Role = Literal["worker", "orchestrator", "test"]
When = Literal["before", "after", "lost"]

IDLE = frozenset(
    {
        "alive",
        "dispatch",
        "inbox",
        "list",
        "meta",
        "own",
        "pop",
        "read",
        "renew",
        "process",
        "ring",
        "schedule",
        "sweep",
    }
)
"""Scripts that change no instance, or are called all the time, whether there is something to do or not."""

ENDING = frozenset({"terminate", "cancel", "delete"})
_DECIDE = frozenset({"commit", "settle"})

Key = tuple[str, str]
"""Workflow and id."""


class PlayedProcess:
    """One process as the test engine plays it: all its stores share a fate.

    Attributes:
        has_begun: it runs by itself; before that nothing befalls it.
    """

    def __init__(self, role: Role) -> None:
        self.role = role
        self.has_begun = True
        self.dead = False
        self.stores: list[Store] = []

    def check(self) -> None:
        """Raises redis.ConnectionError once it is dead, so that nothing it still does reaches Redis."""
        if self.dead:
            raise redis.ConnectionError(f"this {self.role} was killed by the test")

    def end(self) -> None:
        """Its threads are over: what it left running reaches nothing any more, and others get its connections."""
        self.dead = True
        self.release()

    def release(self) -> None:
        """Give back its connections; those of its threads that go on get others."""
        for store in self.stores:
            store.release()


class Count:
    """A number that only grows, and how to wait until it has."""

    def __init__(self) -> None:
        self._grown = threading.Condition()
        self._value = 0

    @property
    def value(self) -> int:
        """The number now."""
        return self._value

    def grow(self) -> None:
        """One more."""
        with self._grown:
            self._value += 1
            self._grown.notify_all()

    def wait(self, value: int, seconds: float) -> bool:
        """Wait until it is more than ``value``. Returns: whether it is."""
        deadline = monotonic() + seconds
        with self._grown:
            while self._value == value:
                left = deadline - monotonic()
                if left <= 0:
                    return False
                self._grown.wait(left)
        return True


class Watch:
    """What has happened.

    Attributes:
        changes: grows with everything that happens.
        ends: grows when something has happened that may have ended an instance. Whoever waits for an end and looks at
            every change takes as long for it as the engine for its work.
        created: the instances made since the start, in this order.
        fault: asked before every call of a process what to do with it (see ``crash.py``); None for nothing.
    """

    def __init__(self) -> None:
        self.changes = Count()
        self.ends = Count()
        self.created: list[Key] = []
        self.fault: Callable[[PlayedProcess, Sequence[str], Callable[[], Any]], Any] | None = None

    def bump(self) -> None:
        """Something has happened that concerns everybody."""
        self.changes.grow()
        self.ends.grow()

    def note(self, calls: Sequence[Call], answers: Sequence[Any]) -> None:
        """Take note of calls that were answered."""
        for call, answer in zip(calls, answers, strict=True):
            if not isinstance(answer, Exception):
                self.created += [key for key in created(call, answer) if key not in self.created]
        if any(call.script.name not in IDLE for call in calls):
            self.changes.grow()
            if any(_may_end(call) for call in calls):
                self.ends.grow()


def _may_end(call: Call) -> bool:
    """Whether this is how instances end. Rarer ways are found by who looks again after a moment."""
    if call.script.name in _DECIDE:
        return any("e" in item.get("d", ()) for item in call.arguments["items"])
    return call.script.name in ENDING


class WatchedStore(Store):
    """A store of one process, over a connection pool that all of them share."""

    def __init__(
        self,
        connection: redis.Redis,
        keys: Keyspace,
        clock: Clock | None,
        process: PlayedProcess,
        watch: Watch,
        *,
        hot: bool = False,
    ) -> None:
        super().__init__(connection, keys, clock, hot=hot)
        self._process = process
        self._watch = watch

    def execute(self, calls: Sequence[Call], *, behind: BlockingMove | None = None) -> list[Any]:
        """See ``Store.execute``."""
        self._process.check()

        def send() -> list[Any]:
            answers = super(WatchedStore, self).execute(calls, behind=behind)
            self._watch.note(calls, answers)
            return answers

        fault = self._watch.fault
        answers: list[Any] = send() if fault is None else fault(self._process, [c.script.name for c in calls], send)
        self._process.check()
        return answers

    def close(self) -> None:
        """Give its connections back; the pool belongs to the test run."""
        self.release()
