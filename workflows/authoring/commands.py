"""What ``run`` asks for, as values.

A replay turns calls of ``step.do`` and its siblings into these records; the worker commits the new ones. ``seq`` is the
1-based ordinal of asking within ``run``, the same in every replay. Identity is (kind, name, count): ``count`` starts at
1 for each kind and name, so that one name may serve a ``do``, a sleep and a wait. A sleep's identity never contains its
duration.

Source: https://developers.cloudflare.com/workflows/build/workers-api/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workflows.authoring.retries import StepConfig


@dataclass(slots=True)
class Do:
    """Run a callback; ``queue`` is where its attempts go, ``None`` for the workflow's own queue."""

    seq: int
    name: str
    count: int
    config: StepConfig
    queue: str | None = None
    kind: ClassVar[str] = "do"


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait for time to pass: exactly one of ``duration_ms`` and ``until_ms`` (an absolute moment) is set."""

    seq: int
    name: str
    count: int
    duration_ms: int | None = None
    until_ms: int | None = None
    kind: ClassVar[str] = "sleep"


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for one event of ``type``, for at most ``timeout_ms``."""

    seq: int
    name: str
    count: int
    type: str
    timeout_ms: int
    kind: ClassVar[str] = "wait"


@dataclass(frozen=True, slots=True)
class Child:
    """Wait for another instance to end.

    ``join`` is true for an instance that exists already (``id`` is set), false to create it first: then ``id`` may be
    ``None``, and the commit derives one from the parent's generation and ``seq``.
    """

    seq: int
    name: str
    count: int
    workflow: str
    id: str | None
    params: bytes | None
    join: bool
    kind: ClassVar[str] = "child"


Command = Do | Sleep | Wait | Child


def describe(kind: str, name: str, count: int) -> str:
    """A step as errors name it: ``do "fetch"``, or ``do "fetch" (2nd time)`` where the name repeats."""
    return f'{kind} "{name}"' if count == 1 else f'{kind} "{name}" (occurrence {count})'
