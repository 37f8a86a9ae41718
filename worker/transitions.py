"""What has become of instances and attempts in this process, told to all who want to know it.

Everything but the beginning of an attempt is told when Redis has accepted it, so that what came too late is not told,
and a replay tells nothing. Those who listen are called where it happens and must not wait there; what they raise is
logged and holds up nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
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
        """Its outcome was accepted. Called on the engine's thread, as all that follow."""

    def attempt_void(self, attempt: Attempt, why: Void) -> None:
        """It had begun, and nothing came of it here."""

    def turn_committed(self, turn: Committed) -> None:
        """What ``run`` asked for was accepted, or its end."""

    def parked(self, instance: Instance, generation: str, reason: str) -> None:
        """It cannot be replayed here and was paused."""


class Transitions(Listener):
    """Tells every listener, in their order."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = tuple(listeners)

    def attempt_begun(self, attempt: Attempt) -> None:
        for one in self._listeners:
            try:
                one.attempt_begun(attempt)
            except Exception:
                _not_told(one)

    def attempt_ended(self, attempt: Attempt, outcome: Outcome, ended_ms: int) -> None:
        for one in self._listeners:
            try:
                one.attempt_ended(attempt, outcome, ended_ms)
            except Exception:
                _not_told(one)

    def attempt_void(self, attempt: Attempt, why: Void) -> None:
        for one in self._listeners:
            try:
                one.attempt_void(attempt, why)
            except Exception:
                _not_told(one)

    def turn_committed(self, turn: Committed) -> None:
        for one in self._listeners:
            try:
                one.turn_committed(turn)
            except Exception:
                _not_told(one)

    def parked(self, instance: Instance, generation: str, reason: str) -> None:
        for one in self._listeners:
            try:
                one.parked(instance, generation, reason)
            except Exception:
                _not_told(one)


def _not_told(listener: Listener) -> None:
    _log.exception("transition not told", extra={"listener": type(listener).__name__})
