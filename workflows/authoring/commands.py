"""What ``run`` asks for, as values.

A replay turns calls of ``step.do`` and its siblings into these records; the worker commits the new ones. ``seq`` is the
1-based ordinal of asking within ``run``, the same in every replay. Identity is (kind, name, count): ``count`` starts at
1 for each kind and name, so that one name may serve a ``do``, a sleep and a wait. A sleep's identity never contains its
duration.

Source: https://developers.cloudflare.com/workflows/build/workers-api/
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from workflows.authoring.retries import StepConfig
from workflows.values.listening import answered, keyed


@dataclass(slots=True)
class Do:
    """Run a callback; ``queue`` is where its attempts go, ``None`` for the workflow's own queue. ``rollback`` are the
    settings of the handler that undoes it, ``None`` where it has none.
    """

    seq: int
    name: str
    count: int
    config: StepConfig
    queue: str | None = None
    rollback: StepConfig | None = None
    kind: ClassVar[str] = "do"


@dataclass(slots=True)
class Undo(Do):
    """Run the handler of a step; name and count are that step's. ``run`` never asks for it: a failed run is undone.

    Attributes:
        step_config, attempts: how the step itself was configured, and how often it was tried.
        generation: of the life that asked for it.
    """

    step_config: StepConfig = field(default_factory=StepConfig)
    attempts: int = 0
    generation: str = ""
    kind: ClassVar[str] = "rb"


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
    """Wait for one event of one of ``types``, for at most ``timeout_ms``; also of those sent to ``key``, if any. With
    ``by_token`` for the one answer that is sent with its token, and for nothing else; with ``heartbeat_ms`` only until
    whoever has the token has been silent for so long.
    """

    seq: int
    name: str
    count: int
    types: tuple[str, ...]
    timeout_ms: int
    key: str | None = None
    by_token: bool = False
    heartbeat_ms: int | None = None
    sensitive: bool = False
    """People are not shown the payload."""
    kind: ClassVar[str] = "wait"

    @property
    def listens(self) -> tuple[str, ...]:
        """What it listens to, see ``listening.py``."""
        if self.by_token:
            return tuple(answered(type, self.seq) for type in self.types)
        return self.types if self.key is None else (*self.types, *[keyed(type, self.key) for type in self.types])


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
    policy: str = ""
    """What becomes of it when nobody waits for it any more: ``terminate``, ``cancel``; '': it goes on."""
    kind: ClassVar[str] = "child"


Command = Do | Undo | Sleep | Wait | Child


def describe(kind: str, name: str, count: int) -> str:
    """A step as errors name it: ``do "fetch"``, or ``do "fetch" (2nd time)`` where the name repeats."""
    kind = "rollback of" if kind == "rb" else kind
    return f'{kind} "{name}"' if count == 1 else f'{kind} "{name}" (occurrence {count})'
