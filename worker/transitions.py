"""What has become of instances and attempts in this process, told to all who want to know it.

Everything but the beginning of an attempt is told when Redis has accepted it, so that what came too late is not told,
and a replay tells nothing. Those who listen are called where it happens and must not wait there; what they raise is
logged and holds up nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Literal

from worker.attempt import Attempt, Outcome
from worker.warm import WarmReplay
from workflows.storage.keys import Instance
from workflows.storage.records import Decision

_log = logging.getLogger("workflows.worker")

Void = Literal["late", "withdrawn", "drained"]
"""Why nothing came of an attempt: its outcome was not accepted; it was taken away, cancelled or ended by others;
its worker was shut down."""


@dataclass(slots=True)  # not frozen, like what else is made at every step: that would make it twice as dear
class Committed:
    """A turn that Redis has accepted, by itself or together with the outcome of an attempt.

    Attributes:
        warm: the replay that decided, which has been fed the entries.
        entries: those it was decided over, encoded; ``base`` is the place of the first of them.
        now_ms: when, by the server's clock.
    """

    instance: Instance
    generation: str
    warm: WarmReplay
    decision: Decision
    base: int
    entries: Sequence[bytes]
    now_ms: int

    @property
    def is_first(self) -> bool:
        """Whether a life of the instance begins with it."""
        return self.base == 0


class Listener:
    """Somebody who wants to know; each method is for one kind of transition, and does nothing."""

    def attempt_begun(self, attempt: Attempt) -> None:
        """Its callback begins now; called on the thread or loop that it runs on."""

    def attempt_ended(self, attempt: Attempt, outcome: Outcome, ended_ms: int) -> None:
        """Its outcome was accepted. Called by whoever leads the engine, as all that follow."""

    def attempt_void(self, attempt: Attempt, why: Void) -> None:
        """It had begun, and nothing came of it here."""

    def turn_committed(self, turn: Committed) -> None:
        """What ``run`` asked for was accepted, or its end."""

    def parked(self, instance: Instance, generation: str, reason: str) -> None:
        """It cannot be replayed here and was paused."""


class Transitions(Listener):
    """Tells every listener that does something about it, in their order."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._told: dict[str, tuple[MethodType, ...]] = {
            name: tuple(getattr(one, name) for one in listeners if getattr(type(one), name) is not nothing)
            for name, nothing in vars(Listener).items()
            if callable(nothing)
        }

    def attempt_begun(self, attempt: Attempt) -> None:
        _tell(self._told["attempt_begun"], attempt)

    def attempt_ended(self, attempt: Attempt, outcome: Outcome, ended_ms: int) -> None:
        _tell(self._told["attempt_ended"], attempt, outcome, ended_ms)

    def attempt_void(self, attempt: Attempt, why: Void) -> None:
        _tell(self._told["attempt_void"], attempt, why)

    def turn_committed(self, turn: Committed) -> None:
        _tell(self._told["turn_committed"], turn)

    def parked(self, instance: Instance, generation: str, reason: str) -> None:
        _tell(self._told["parked"], instance, generation, reason)


def _tell(told: Sequence[MethodType], *what: object) -> None:
    for one in told:
        try:
            one(*what)
        except Exception:
            _log.exception("transition not told", extra={"listener": type(one.__self__).__name__})
