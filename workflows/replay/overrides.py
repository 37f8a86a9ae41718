"""The seam at which a test replaces what a worker would do: values in, values out, and nothing in production.

A worker holds None here unless a test engine gave it something, so production pays one look at None per attempt and per
opened step. What tests put here is in ``workflows/testing/mocks.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from workflows.authoring.commands import Command
from workflows.storage.keys import Instance


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One step of one life of an instance.

    Attributes:
        name, count: as in ``ctx.step``.
    """

    instance: Instance
    generation: str
    name: str
    count: int


@dataclass(frozen=True, slots=True)
class Replacement:
    """What an attempt comes to without its callback: a result blob (see ``codec``), a stream of these bytes, or an
    error."""

    result: bytes | None = None
    error: BaseException | None = None
    stream: tuple[bytes, ...] | None = None


class Overrides(Protocol):
    """Asked by the worker, from any of its threads."""

    def opening(self, instance: Instance, generation: str, command: Command) -> Command:
        """What to open in place of what ``run`` asked for: the same step, with another duration, say."""
        ...

    def attempt(self, step: Occurrence, failed: int) -> Replacement | None:
        """What an attempt that is about to begin comes to; None runs its callback.

        Args:
            failed: how many attempts of this step have failed before.
        """
        ...

    def retry_delay_ms(self, step: Occurrence, delay_ms: int) -> int:
        """How long to wait before the next attempt in place of ``delay_ms``."""
        ...
