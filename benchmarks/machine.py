"""What the kernel knows: CPU time of processes, and what machine this is.

CPU time comes from ``/proc`` and is missing elsewhere. It is counted in nanoseconds per thread, because the usual
counters move in steps of 10 ms, which is most of what some of the cases take.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


def cpu_seconds(pid: int) -> float | None:
    """CPU time of all threads a process has now; None where the kernel does not tell."""
    try:
        tasks = list((_PROC / str(pid) / "task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except (OSError, IndexError, ValueError):
        return None


def families(pids: Iterable[int]) -> list[int]:
    """Processes with all that they have started, and those have."""
    parents: dict[int, int] = {}
    for stat in _PROC.glob("[0-9]*/stat"):
        try:
            # The name in parentheses may hold spaces; what follows it is the state and the parent.
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
    found = generation = set(pids)
    while generation:
        generation = {pid for pid, parent in parents.items() if parent in generation} - found
        found = found | generation
    return sorted(found)


@dataclass(frozen=True)
class Usage:
    """What a stretch of time took.

    Attributes:
        seconds: by the clock on the wall.
        cpu: CPU seconds by role; empty where the kernel does not tell.
        machine: CPU seconds of everything on the machine, in steps of 10 ms; None where the kernel does not tell.
    """

    seconds: float
    cpu: Mapping[str, float]
    machine: float | None = None

    @property
    def cores(self) -> float:
        """How many cores were busy on average."""
        return sum(self.cpu.values()) / self.seconds

    @property
    def other_cores(self) -> float:
        """How many cores were busy with something else; 0 where the kernel does not tell."""
        return 0.0 if self.machine is None else max(0.0, self.machine / self.seconds - self.cores)


class Meter:
    """Reads CPU time by role, from its making until it is read.

    Args:
        roles: role -> process ids; what those have started counts with them, but for the client, who starts them all.
    """

    def __init__(self, roles: Mapping[str, Iterable[int]]) -> None:
        self._roles = {role: list(pids) if role == "client" else families(pids) for role, pids in roles.items()}
        self._cpu = self._look()
        self._machine = _jiffies()
        self._at = time.perf_counter()

    def read(self) -> Usage:
        """How much since the start."""
        seconds = time.perf_counter() - self._at
        now, jiffies = self._look(), _jiffies()
        machine = None if self._machine is None or jiffies is None else jiffies.busy - self._machine.busy
        return Usage(seconds, {role: now[role] - self._cpu[role] for role in now if role in self._cpu}, machine)

    def _look(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for role, pids in self._roles.items():
            each = [cpu_seconds(pid) for pid in pids]
            if each and None not in each:
                found[role] = sum(one for one in each if one is not None)
        return found


@dataclass(frozen=True)
class _Jiffies:
    """Seconds of all cores since boot: at work, taken by other guests of the host, and altogether."""

    busy: float
    stolen: float
    total: float


def _jiffies() -> _Jiffies | None:
    try:
        fields = [int(field) for field in (_PROC / "stat").read_text().splitlines()[0].split()[1:9]]
    except (OSError, IndexError, ValueError):
        return None
    second = os.sysconf("SC_CLK_TCK")
    idle, waiting, stolen = fields[3], fields[4], fields[7]
    return _Jiffies((sum(fields) - idle - waiting - stolen) / second, stolen / second, sum(fields) / second)


class Theft:
    """How much CPU time the host has given to other guests since this was made."""

    def __init__(self) -> None:
        self._before = _jiffies()

    def share(self) -> float | None:
        """Of all CPU time; None where the kernel does not tell."""
        now = _jiffies()
        if now is None or self._before is None or now.total == self._before.total:
            return None
        return (now.stolen - self._before.stolen) / (now.total - self._before.total)


def description() -> dict[str, str]:
    """The machine."""
    return {
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }


def _cpu_model() -> str:
    try:
        for line in (_PROC / "cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # Not Linux.
    return platform.processor() or platform.machine()
