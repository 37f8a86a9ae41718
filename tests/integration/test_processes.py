"""Who is said to be dead, by whom: real processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis as redis_py

from workflows.storage import processes
from workflows.storage.keys import Keyspace
from workflows.storage.processes import Whereabouts
from workflows.storage.store import Store

SEEN, GONE = 1, 2
LEASE = 9e15


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    started = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(2)]
    yield started
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def store(redis: redis_py.Redis, children: list[subprocess.Popen[bytes]]) -> Store:
    made = Store(redis, Keyspace("graves", 1))
    for number, process in enumerate(children):
        redis.zadd(made.keys.shard_key(0, "workers"), {f"w{number}": LEASE})
        processes.register(made, f"w{number}", Whereabouts.of(process.pid, "", 0))
    return made


def _leases(store: Store) -> list[float | None]:
    return [store.redis.zscore(store.keys.shard_key(0, "workers"), f"w{number}") for number in range(2)]  # type: ignore[misc]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Dead, and not fetched by its parent: that is this process."""
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def test_who_lives_keeps_its_lease(store: Store) -> None:
    assert processes.bury_gone(store) == 0
    assert _leases(store) == [LEASE, LEASE]


@pytest.mark.skipif(not processes.machine().count("/"), reason="there is no /proc here")
def test_a_death_that_its_parent_has_not_fetched_yet_is_left_to_it(
    store: Store, children: list[subprocess.Popen[bytes]]
) -> None:
    """It sees the end, which is what counts for blame; found by anybody else it would be nobody's (F22)."""
    for process in children:
        _kill(process)
    assert children[0].wait() == -signal.SIGKILL
    assert processes.bury_gone(store, [children[0].pid]) == 1
    assert _leases(store) == [SEEN, LEASE]
    assert children[1].wait() == -signal.SIGKILL
    assert processes.bury_gone(store, [children[1].pid]) == 1
    assert _leases(store) == [SEEN, SEEN]


def test_a_process_that_is_gone_altogether_is_buried_by_whoever_finds_out(
    store: Store, children: list[subprocess.Popen[bytes]]
) -> None:
    children[0].kill()
    children[0].wait()
    assert processes.bury_gone(store) == 1
    assert _leases(store) == [GONE, LEASE]
    assert set(processes.registered(store)) == {"w1"}
