"""What is undone once an instance has failed, in which order, and how that ends. Pure: it follows from the journal.

A step that was begun with a handler says so in its entry, be that its result or its withdrawal. All of them stand
before the ``RollingBack`` entry; behind it come the handlers' own. So whoever replays the journal, wherever and
whenever, finds the same handler to be next: that of the step that was asked for last and is not undone yet. A handler
that failed for good is the last one.

What the code says counts for one thing only: what such a handler does. One that the code has no more fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workflows.authoring import rollback
from workflows.authoring.callback import Callback
from workflows.authoring.commands import Do, Undo
from workflows.authoring.retries import StepConfig
from workflows.errors import InstanceTerminated, NonDeterminismError
from workflows.storage.journal import RollingBack, Settled, Undone, Withdrawn
from workflows.values import codec

TERMINATED = "Instance terminated during rollback"


@dataclass(frozen=True, slots=True)
class _Handled:
    """A step of this code that has a handler."""

    command: Do
    callback: Callback
    handler: Callback


class Undoing:
    """What there is to undo, from the first step that has a handler.

    Attributes:
        error: why, for handlers; None before the ``RollingBack`` entry.
        is_terminated: it was not ``run`` that failed.
        failed: the failure blob of the handler that ended it early.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.is_terminated = False
        self.failed: bytes | None = None
        self._handled: dict[int, _Handled] = {}
        self._begun: dict[int, Settled | Withdrawn] = {}
        self._left: list[int] = []
        self._seq = 0
        self._lives: Callable[[int], str] = lambda seq: ""

    def handled(self, command: Do, callback: Callback, handler: Callback) -> None:
        """The code gives this step a handler."""
        self._handled[command.seq] = _Handled(command, callback, handler)

    def note(self, entry: Settled | Withdrawn) -> None:
        """A step was begun. One that nobody ever tried has done nothing."""
        if entry.rollback and entry.attempts:
            self._begun.setdefault(entry.seq, entry)

    def begin(self, entry: RollingBack, error: BaseException, asked: int, lives: Callable[[int], str]) -> None:
        """From here on handlers run.

        Args:
            error: what left ``run``.
            lives: the generation in which a step was asked for.
            asked: how many commands ``run`` has asked for; those that undo them are counted on.
        """
        self.is_terminated = entry.is_terminated
        self.error = InstanceTerminated(TERMINATED) if entry.is_terminated else error
        self._left = sorted(self._begun)
        self._seq = asked + 1
        self._lives = lives

    @property
    def has_begun(self) -> bool:
        """Whether the ``RollingBack`` entry was there."""
        return self.error is not None

    @property
    def outcome(self) -> str | bytes:
        """As ``End.rollback`` has it, once nothing is next."""
        if self.failed is not None:
            return self.failed
        return "complete" if self._begun else "none"

    @property
    def next(self) -> Undo | None:
        """The handler that is open; None when there is none any more."""
        if not self._left or self.failed is not None:
            return None
        entry = self._begun[self._left[-1]]
        known = self._handled.get(entry.seq)
        config = None if known is None else known.command.rollback
        return Undo(
            self._seq,
            entry.name,
            entry.count,
            StepConfig() if config is None else config,
            None if known is None else known.command.queue,
            step_config=StepConfig() if known is None else known.command.config,
            attempts=entry.attempts,
            generation=self._lives(entry.seq),
        )

    def callback(self) -> Callback:
        """What to run for ``next``."""
        entry = self._begun[self._left[-1]]
        known = self._handled.get(entry.seq)
        if known is None:
            return rollback.missing()
        assert self.error is not None
        value = entry.value if isinstance(entry, Settled) else None
        try:
            output: Any = None if value is None else known.callback.rebuild(codec.decode(value))
        except Exception as error:
            raise NonDeterminismError(
                f'The stored result of step "{entry.name}" cannot be given to its rollback: {error}'
            ) from error
        return rollback.RollbackCallback(known.handler, self.error, output)

    def undone(self, entry: Undone) -> None:
        """``next`` has ended."""
        self._left.pop()
        self._seq += 1
        self.failed = entry.error
