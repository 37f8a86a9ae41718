"""Which processes the workers are, so that a death which somebody can see costs no lease.

A lease is the proof of last resort: it also covers machines that vanish without a word. Mostly a death is known much
sooner. A parent sees its child end; a process that starts on the same machine can see that one registered there is
gone. Who knows ends the lease (``bury``), and the reaper does the rest. A worker that is buried by mistake would find
its lease lost and come back under another name, as after a freeze: it costs time, never a second result (I1).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from workflows.storage.store import Call, Store, call_on, packb, script, unpackb

_BURY = script(Path(__file__).with_name("bury.lua"))
_PROCESS = script(Path(__file__).with_name("process.lua"))

_PROC = Path("/proc")
# Where a process's line of /proc/…/stat has its start, counted from behind its name.
_STARTED = 19

# In the record that RQ keeps of a worker.
SLOTS, SLOTS_FREE, STAGES = "slots", "slots_free", "stages"

How = Literal["seen", "gone"]


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a worker process lives.

    Attributes:
        machine: equal for processes that can see each other's process ids, and for no others.
        pid: its process id there.
        started: when it was started, in the machine's own measure; tells it from a later process with the same id.
            '' where that cannot be found out.
        server: which run of Redis it is connected to.
        line: the connection that ends with it, by the number that this run has given it; 0 where it may not ask.
    """

    machine: str
    pid: int
    started: str
    server: str
    line: int

    @classmethod
    def of(cls, pid: int, server: str, line: int) -> Whereabouts:
        """That of a process of this machine."""
        status = _status(pid)
        return cls(machine(), pid, status[_STARTED] if status else "", server, line)

    @property
    def is_gone(self) -> bool:
        """Whether this very process has ended, as far as a process of the same machine can tell; False in doubt.

        One that has ended and waits to be fetched by its parent is there still: that one sees the end, which counts for
        blame, and says so in a moment (F22).
        """
        if self.machine != machine():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False  # It is somebody else's, but it is there.
        status = _status(self.pid)
        if not status or not self.started:
            return False
        return status[_STARTED] != self.started


@cache
def machine() -> str:
    """This boot of this machine, as seen from this namespace of process ids: containers of one host differ."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{(_PROC / 'self/ns/pid').stat().st_ino}"
    except OSError:
        return socket.gethostname()


def _status(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on; nothing where there is no /proc."""
    try:
        # The name in brackets may hold anything, brackets included.
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def load_of(slots: int, free: int) -> dict[Any, Any]:
    """What a worker has RQ's record of it say: how many attempts it may run at once, and how many more it could now."""
    return {SLOTS: slots, SLOTS_FREE: free}


def register(store: Store, worker: str, place: Whereabouts) -> None:
    """Note where a worker lives; its lease stands already. Raises: redis.RedisError."""
    stored = {"m": place.machine, "p": place.pid, "s": place.started, "r": place.server, "l": place.line}
    _note(store, {worker: packb(stored)}, [])


def server_run(store: Store) -> str:
    """Which run of Redis this is: after a restart or a failover it is another one. Raises: redis.RedisError."""
    return str(store.command("INFO", "server")["run_id"])


def forget(store: Store, workers: Collection[str]) -> None:
    """Their leases are over, and nobody need look for them. Raises: redis.RedisError."""
    if workers:
        _note(store, {}, workers)


def registered(store: Store) -> dict[str, Whereabouts]:
    """Every worker whose place is known; what cannot be read is left out. Raises: redis.RedisError."""
    found = {}
    for worker, blob in store.fields(store.keys.processes).items():
        # Whatever else stands there, nobody's life depends on it: the lease remains (I11).
        with suppress(Exception):
            stored = unpackb(blob)
            found[worker.decode()] = Whereabouts(
                stored[b"m"].decode(),
                int(stored[b"p"]),
                stored[b"s"].decode(),
                stored[b"r"].decode(),
                int(stored[b"l"]),
            )
    return found


def bury(store: Store, workers: Collection[str], how: How) -> int:
    """End the leases of workers whose processes are gone.

    Args:
        how: ``seen`` when this very process was seen to end; ``gone`` when it was found missing, and so may have been
            all that ran on its machine. What it ran is blamed for the former, hardly for the latter (F22).
    Returns: how many leases that were still running it ended, over all shards.
    Raises: redis.RedisError: some may have been ended; burying again is safe.
    """
    if not workers:
        return 0
    arguments = {"workers": list(workers), "how": how}
    calls = [call_on(store.keys, _BURY, shard, [], arguments) for shard in range(store.keys.shards)]
    ended: int = sum(store.call_all(calls))
    forget(store, workers)
    return ended


def bury_gone(store: Store, seen: Collection[int] = ()) -> int:
    """Bury every worker of this machine whose process is gone.

    Args:
        seen: process ids of those that the caller has seen end.
    Returns: how many workers there were. Raises: redis.RedisError.
    """
    here = {worker: place for worker, place in registered(store).items() if place.machine == machine()}
    dead = {worker for worker, place in here.items() if place.pid in seen or place.is_gone}
    bury(store, [worker for worker in dead if here[worker].pid in seen], "seen")
    bury(store, [worker for worker in dead if here[worker].pid not in seen], "gone")
    return len(dead)


def _note(store: Store, put: dict[str, bytes], drop: Iterable[str]) -> None:
    store.call(Call(_PROCESS, [store.keys.processes], {"put": put, "drop": list(drop)}))
