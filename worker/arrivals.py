"""What comes in for the engine: one queue, and the sorts of items in it.

Tasks come from the fetchers, outcomes from the callbacks, what is lost and what is to be compared with Redis from the
lease and those who listen. Answers of a round trip that ask for another one wait here as well.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from worker.attempt import Attempt, Outcome
from worker.claim import Task
from worker.warm import WarmReplay
from workflows.storage.records import Decision


@dataclass(slots=True)
class Finished:
    """The outcome of an attempt.

    Attributes:
        ended_ms: when it was there, by the server's clock; ``ended``: by this process's own (``monotonic``).
    """

    attempt: Attempt
    outcome: Outcome
    ended_ms: int
    ended: float


@dataclass(frozen=True, slots=True)
class Beat:
    """An attempt has said something with a heartbeat."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Lost:
    """Held members that Redis no longer attributes to this worker."""

    members: frozenset[str]


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Compare with Redis what this worker holds; ``forget`` after a connection failed, when no memory counts."""

    forget: bool


@dataclass(frozen=True, slots=True)
class Unbegun:
    """An attempt that is not to begin here: somebody has taken its start."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class GiveBack:
    """A turn whose commit was refused."""

    task: Task


@dataclass(frozen=True, slots=True)
class Contradicted:
    """A turn whose end was refused."""

    task: Task
    reason: str


@dataclass(frozen=True, slots=True)
class Compare:
    """A turn whose end has to be compared with more than a script may look at."""

    task: Task
    warm: WarmReplay
    decision: Decision
    entries: Sequence[bytes]
    wire: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Drain:
    """Go on until nothing is in flight, or until then (``monotonic``)."""

    until: float = 0.0


Arrival = Task | Finished | Beat | Lost | Reconcile | Unbegun | GiveBack | Contradicted | Compare | Drain


class Arrivals:
    """The queue. Every thread puts into it, whoever leads takes out."""

    def __init__(self) -> None:
        self._items: deque[Arrival] = deque()
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_rung = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Arrival) -> None:
        """For threads that must not be held up: the engine's own is woken for it."""
        self._items.append(item)
        self.ring()

    def add(self, item: Arrival) -> None:
        """For a thread that is about to lead, if nobody else does."""
        self._items.append(item)

    def ring(self) -> None:
        """Wake the engine's own thread."""
        if not self._is_rung:
            self._is_rung = True
            self._bell.put(None)

    def wait(self, seconds: float) -> bool:
        """Wait so long at most to be rung for. Returns: whether that was so. For the engine's own thread."""
        try:
            self._bell.get(timeout=seconds)
        except queue.Empty:
            return False
        finally:
            self._is_rung = False  # before anybody looks at the items: who rings from now on may have brought more
        return True

    def waiting(self) -> list[Arrival]:
        """Take out everything that has arrived."""
        found = []
        while True:
            try:
                found.append(self._items.popleft())
            except IndexError:
                return found
