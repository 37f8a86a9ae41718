"""Does ``workflows dev`` keep its processes alive, and end them all?"""

from __future__ import annotations

import os
import queue
import sys
import time

import pytest

from workflows.dev import run as dev
from workflows.dev.run import Child, descendants

# Ignores SIGTERM and has a child of its own in another session, as a worker's parent has.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
below = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(os.getpid(), below.pid, flush=True)
time.sleep(600)
"""


def child(text: str) -> tuple[Child, queue.Queue[str]]:
    lines: queue.Queue[str] = queue.Queue()
    return Child("worker", [sys.executable, "-c", text], dict(os.environ), lines.put), lines


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"


def test_what_does_not_end_politely_is_killed_with_all_it_started() -> None:
    stubborn, lines = child(STUBBORN)
    stubborn.watch()
    name, _, pids = lines.get(timeout=20).partition("|")
    parent, below = map(int, pids.split())
    assert name.strip() == "worker"
    assert descendants(parent) == [below]
    stubborn.ask_to_end()
    assert not stubborn.ended
    stubborn.kill()
    stubborn.close()
    assert stubborn.ended
    deadline = time.monotonic() + 10
    while lives(parent) or lives(below):
        assert time.monotonic() < deadline


def test_a_dead_process_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(dev, "monotonic", lambda: now[0])
    dying, lines = child("import os; print(os.getpid(), flush=True)")
    seen = set()
    for _ in range(3):
        while dying.ended:
            dying.watch()
            now[0] += dev.PAUSE_SECONDS_MAX
        while not dying.ended:
            pass
        while "|" not in (line := lines.get(timeout=20)):
            assert line == "worker ended with code 0; starting it again"
        seen.add(line)
        dying.close()
    assert len(seen) == 3
