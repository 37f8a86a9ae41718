"""Suspects that are handed over to a process of their own (see ``alone.py``), until it has taken them over.

A step or turn that may be what killed a worker is run where nothing else is: if that process dies of it, nothing else
does, and nobody else is blamed (F22). The process takes it over in Redis, which then tells this worker that it is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set

from worker.claim import Task
from workflows.clock import monotonic
from workflows.storage.keys import Held

# A suspect that nobody has taken over for so long is run here after all.
HAND_OVER_SECONDS = 20.0


class Suspects:
    """Those that were handed over and not taken yet; changed by whoever leads the engine.

    Args:
        isolate: asks for a process of its own for something claimed; answers whether that was possible. None: there is
            nobody to ask, so suspects run here.
    """

    def __init__(self, isolate: Callable[[Held], bool] | None) -> None:
        self._isolate = isolate
        # By token: what was handed over, and until when somebody must have taken it.
        self._handed: dict[str, tuple[Task, float]] = {}

    @property
    def tokens(self) -> Set[str]:
        return self._handed.keys()

    @property
    def tasks(self) -> list[Task]:
        return [task for task, _ in list(self._handed.values())]

    def hand_over(self, task: Task) -> bool:
        """Have somebody else take a suspect from here. Returns: False when there is no way to get such a process."""
        if self._isolate is None or not self._isolate(task.held):
            return False
        self._handed[task.token] = (task, monotonic() + HAND_OVER_SECONDS)
        return True

    def taken_over(self, members: frozenset[str]) -> Iterator[Task]:
        """Those among these held members; each is forgotten as it is given."""
        for task in self.tasks:
            if task.held.member in members:
                del self._handed[task.token]
                yield task

    def overdue(self) -> Iterator[Task]:
        """Those that nobody has taken over in time; each is forgotten as it is given, and this worker's own again."""
        for task, until in list(self._handed.values()):
            if monotonic() >= until:
                del self._handed[task.token]
                yield task
