"""Observers: code of the user's that is told what becomes of instances, steps and attempts.

Names of types are those of ``subscribe()`` (``workflows/client/instance_event.py``); those that it does not have are
``workflow_parked`` and ``attempt_void``.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from workflows.errors import ConfigError

Noun = Literal["instance", "step", "attempt"]
NOUNS: Final[tuple[Noun, ...]] = ("instance", "step", "attempt")


@dataclass(slots=True, kw_only=True)  # several for each step: see decision 0027
class Transition:
    """Something that has become of an instance, or of a step or attempt of it. What a type does not have is None.

    All observers are given the same one, so none changes it.
    It has no params, results or payloads. What an error says may quote some.

    Attributes:
        type: ``workflow_started``, ``step_completed``, ``attempt_errored`` and so on; see ``docs/observers.md``.
        timestamp: when, in UTC, by the clock of the server.
        namespace, workflow, instance_id: whose.
        generation: of which life; each restart begins a new one.
        created_at: of ``workflow_…`` and ``rollback_…``: when the instance was created.
        step_name, step_count: which step, and which occurrence of that name, from 1.
        queue: of ``step_started`` of a callback, and of attempts: where it runs, without the namespace.
        attempt: of an attempt: which one, from 1. Of the end of a step: how many there were.
        started_at: of the end of an attempt or step: when it began.
        retry_delay_ms: of ``attempt_errored``: how long until the next one; None: it was the last.
        event_type: of ``wait_started`` and ``wait_completed``.
        child_workflow, child_id: the instance that a step waits for.
        error_name, error_message, traceback: of ``…_errored``.
        reason: of ``workflow_parked``, ``cancel_requested`` and ``deadline_exceeded``: why.
            Of ``attempt_void``: ``late``, ``withdrawn`` or ``drained``.
    """

    type: str
    timestamp: datetime
    namespace: str
    workflow: str
    instance_id: str
    generation: str
    created_at: datetime | None = None
    step_name: str | None = None
    step_count: int | None = None
    queue: str | None = None
    attempt: int | None = None
    started_at: datetime | None = None
    retry_delay_ms: int | None = None
    event_type: str | None = None
    child_workflow: str | None = None
    child_id: str | None = None
    error_name: str | None = None
    error_message: str | None = None
    traceback: str | None = None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it, with moments as text; without the fields that its type does not have."""
        found = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in found.items()
            if value is not None
        }


class Observer:
    """Base of those that ``App(observers=[…])`` names; each method does nothing until it is overridden.

    All calls of one observer in one process come from one thread, one after the other, in the order in which things
    happened there. Nothing waits for it: what is more than 10,000 transitions behind is not told the rest, what it
    raises is logged and swallowed, and a process that is killed takes with it what was not told yet.
    """

    def on_instance(self, transition: Transition) -> None:
        """An instance has begun, ended, is asked to end, is rolled back or was parked."""

    def on_step(self, transition: Transition) -> None:
        """``run`` has asked for a step, sleep or wait, was given what came of it, or has given it up."""

    def on_attempt(self, transition: Transition) -> None:
        """An attempt at a step, or at the handler that undoes one, begins or has ended."""


def checked_observers(given: Iterable[Any]) -> tuple[Observer, ...]:
    """Raises ConfigError: one of them is none, or has a method that would have to be awaited."""
    observers = tuple(given)
    for one in observers:
        if not isinstance(one, Observer):
            raise ConfigError(
                f"App(observers=…) takes instances of subclasses of workflows.Observer, not {one!r:.100}."
            )
        for noun in NOUNS:
            if inspect.iscoroutinefunction(getattr(one, f"on_{noun}")):
                raise ConfigError(
                    f"{type(one).__qualname__}.on_{noun} is async. Observers have a thread of their own: write def."
                )
    return observers
