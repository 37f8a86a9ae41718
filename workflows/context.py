"""What a step's callback learns about itself: ``ctx``."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class StepName:
    """Which step: its name as given, and the how-manieth of that name in this run, from 1."""

    name: str
    count: int

    def __getitem__(self, key: str) -> Any:
        return _item(self, key)


@dataclass(frozen=True, slots=True)
class StepContext:
    """Given to a callback that has a parameter named ``ctx``; attributes and keys are the same.

    Attributes:
        step: name and count.
        attempt: 1 for the first try.
        config: the resolved settings; a copy, changing it changes nothing.
        idempotency_key: the same for every attempt of one step occurrence, and for no other: hand it to the payment
            provider, and a repeated attempt charges once.
        cancelled: set when the result is not wanted any more (timeout, lost race, terminate); check it in long loops.
    Source: https://developers.cloudflare.com/workflows/build/step-context/
    """

    step: StepName
    attempt: int
    config: dict[str, Any]
    idempotency_key: str
    cancelled: threading.Event = field(default_factory=threading.Event)
    _commands: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def next_command_id(self) -> str:
        """An id for the next command this attempt gives to another instance: the same in every attempt."""
        return f"{self.idempotency_key}/{next(self._commands)}"

    def heartbeat(self) -> bool:
        """Whether to go on: False once the attempt is cancelled."""
        return not self.cancelled.is_set()

    def __getitem__(self, key: str) -> Any:
        return _item(self, key)


def _item(holder: Any, key: str) -> Any:
    if key in holder.__dataclass_fields__:
        return getattr(holder, key)
    raise KeyError(key)


running: ContextVar[StepContext | None] = ContextVar("running", default=None)
