"""How much of an instance has been told to a subscriber, and that as a cursor: text that can be kept anywhere.

What has been told cannot be a number, because nothing numbers it: an instance that nobody watches keeps no list of
events. It is a position in the journal, and how far each step that is open there has been told. Steps of one state that
stand side by side take no more room than one.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field

from workflows.errors import ConfigError

_RANGE = r"\d{1,9}-\d{1,9}-\d{1,9}"
_CURSOR = re.compile(
    rf"1\.([\w-]{{0,100}})\.(\d{{1,9}})\.([\w-]{{0,8}})\.([a-zA-Z]{{0,20}})\.(s?)\.(\d{{0,15}})\.((?:{_RANGE}(?:_{_RANGE})*)?)(?:\.(\d{{1,9}}))?",
    re.ASCII,
)


class Told:
    """Numbers by step, kept as ranges of neighbours that have the same one."""

    def __init__(self, ranges: list[tuple[int, int, int]] | None = None) -> None:
        self._ranges = ranges or []

    def get(self, seq: int) -> int:
        """-1 where there is none."""
        at = self._at(seq)
        return -1 if at is None else self._ranges[at][2]

    def set(self, seq: int, number: int) -> None:
        """-1 takes it out."""
        at = self._at(seq)
        if at is None:
            at = bisect_right(self._ranges, (seq,))
            around: list[tuple[int, int, int]] = []
        else:
            low, high, known = self._ranges.pop(at)
            around = [one for one in ((low, seq - 1, known), (seq + 1, high, known)) if one[0] <= one[1]]
        new = sorted([*around, (seq, seq, number)]) if number >= 0 else around
        # Those next to it may have become one with it.
        begin, end = max(0, at - 1), at + 1
        joined: list[tuple[int, int, int]] = []
        for low, high, known in [*self._ranges[begin:at], *new, *self._ranges[at:end]]:
            if joined and joined[-1][1] + 1 == low and joined[-1][2] == known:
                joined[-1] = (joined[-1][0], high, known)
            else:
                joined.append((low, high, known))
        self._ranges[begin:end] = joined

    def _at(self, seq: int) -> int | None:
        at = bisect_right(self._ranges, (seq + 1,)) - 1
        return at if at >= 0 and seq <= self._ranges[at][1] else None

    def __str__(self) -> str:
        return "_".join(f"{low}-{high}-{number}" for low, high, number in self._ranges)

    @classmethod
    def of(cls, text: str) -> Told:
        """Raises ValueError when it is none."""
        ranges = [
            (int(low), int(high), int(number))
            for low, high, number in (one.split("-") for one in text.split("_") if one)
        ]
        ends = [0, *(end for low, high, _ in ranges for end in (low, high + 1))]
        if ends != sorted(ends):
            raise ValueError("not in order")
        return cls(ranges)


@dataclass(slots=True)
class Progress:
    """What has been told.

    Attributes:
        generation: of which life.
        position: so many entries of its journal.
        nonce: of the last of them.
        status: the last status.
        started: whether its start.
        paused_at: in ms, the last pause; 0: none.
        steps: how far, of steps that are open at ``position``: 0 that they began, 2n - 1 that attempt n did, 2n that it
            ended.
        published: the number of the last value.
    """

    generation: str = ""
    position: int = 0
    nonce: str = ""
    status: str = ""
    started: bool = False
    paused_at: int = 0
    steps: Told = field(default_factory=Told)
    published: int = 0

    def __str__(self) -> str:
        flags = f"{self.status}.{'s' if self.started else ''}.{self.paused_at or ''}"
        values = f".{self.published}" if self.published else ""
        return f"1.{self.generation}.{self.position}.{self.nonce}.{flags}.{self.steps}{values}"

    @classmethod
    def of(cls, cursor: str | None) -> Progress:
        """Raises: ConfigError: it is no cursor."""
        if cursor is None:
            return cls()
        match = _CURSOR.fullmatch(str(cursor))
        if match is None:
            raise _no_cursor(cursor)
        generation, position, nonce, status, started, paused_at, steps, published = match.groups()
        try:
            told = Told.of(steps)
        except ValueError:
            raise _no_cursor(cursor) from None
        paused = int(paused_at or 0)
        return cls(generation, int(position), nonce, status, bool(started), paused, told, int(published or 0))


def _no_cursor(cursor: object) -> ConfigError:
    return ConfigError(f"{cursor!r:.100} is not a cursor; use the event_id of the last event you have dealt with")
