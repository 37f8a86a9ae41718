"""What the storm has done to processes and to Redis, and when: the only excuses for running a step again."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tests.acceptance.processes import Process
from tests.torture.ledger import Line

ENDED = re.compile(r"(?:process ended|process alone ended|silent process killed) pid=(\d+) ((?:status|seconds)=-?\d+)")
LEASE_SECONDS = 5
"""Of the workers; renewed about three times in it."""
TOLD_SECONDS = 0.5
"""A step may begin in the moment between the note of a kill and the kill."""


@dataclass(frozen=True, slots=True)
class Rewind:
    """Redis came back at ``at`` in the state of ``to``, or of a later moment."""

    to: float
    at: float

    @property
    def unsettled(self) -> float:
        """For how long after it work may be taken from those who have it: their leases were over when it came back,
        and what they begin until they notice is given to others."""
        return LEASE_SECONDS if self.at - self.to > LEASE_SECONDS / 2 else 0.0


@dataclass
class Faults:
    """Moments are those of ``time.time()``.

    Attributes:
        killed, asked: processes that were given a SIGKILL or a SIGTERM, and when.
        frozen: by process, from when to when.
        garbage: when something was written into a key that is no instance's.
    """

    killed: dict[int, float] = field(default_factory=dict)
    asked: dict[int, float] = field(default_factory=dict)
    frozen: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    rewinds: list[Rewind] = field(default_factory=list)
    garbage: list[float] = field(default_factory=list)

    def killing(self, pids: Iterable[int]) -> None:
        # The first time counts: later they are among those that a parent has ever had.
        self.killed = dict.fromkeys(pids, time.time()) | self.killed

    def asking(self, pids: Iterable[int]) -> None:
        self.asked |= dict.fromkeys(pids, time.time())

    def was_frozen(self, pid: int, since: float, until: float) -> bool:
        return any(begin <= until and end >= since for begin, end in self.frozen.get(pid, ()))

    def rewound(self, since: float, until: float) -> bool:
        return any(one.to <= until and one.at + one.unsettled >= since for one in self.rewinds)

    def threw_back(self, moment: float, until: float) -> bool:
        """Whether Redis forgot before ``until`` what it knew at that moment."""
        return any(one.to <= moment and one.at <= until for one in self.rewinds)


@dataclass(frozen=True, slots=True)
class Repeat:
    """An attempt that followed an attempt, and why it had to; '' for no reason."""

    former: Line
    line: Line
    cause: str


def repeats(lines: Iterable[Line], faults: Faults) -> Iterator[Repeat]:
    """Every step that was begun again."""
    deaths = faults.killed | {line.pid: line.at for line in lines if line.what == "die"}
    last: dict[str, Line] = {}
    for line in lines:
        if line.what != "start":
            continue
        former = last.get(line.key)
        last[line.key] = line
        if former is not None:
            yield Repeat(former, line, _cause(former, line, faults, deaths))


def _cause(former: Line, line: Line, faults: Faults, deaths: Mapping[int, float]) -> str:
    if faults.rewound(former.at, line.at):
        return "Redis"
    if former.at - TOLD_SECONDS <= deaths.get(former.pid, 0) <= line.at:
        return "kills"
    # One that was frozen may begin late what others have done meanwhile.
    if any(faults.was_frozen(pid, former.at, line.at) for pid in (former.pid, line.pid)):
        return "freezes"
    if any(former.at - 1 <= moment <= line.at for moment in faults.garbage):
        return "garbage"
    return ""


def unexplained_ends(processes: Iterable[Process], faults: Faults, lines: list[Line]) -> list[str]:
    """Processes that ended although nobody ended them, as their parents tell."""
    known = faults.killed.keys() | faults.asked.keys() | faults.frozen.keys()
    known |= {line.pid for line in lines if line.what == "die"}
    return [
        f"{process.name}: {said}"
        for process in processes
        for said in process.text().splitlines()
        if (match := ENDED.search(said)) and int(match[1]) not in known
    ]
