"""Does ``workflows dev`` keep its processes alive, and end them all?"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_py

from tests.paths import packages
from tests.processes import lives
from workflows.client import Client
from workflows.dev import run as dev
from workflows.dev.run import Supervised, descendants

# Ignores SIGTERM and has a child of its own in another session, as a worker's parent has.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
below = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(os.getpid(), below.pid, flush=True)
time.sleep(600)
"""


def child(text: str) -> tuple[Supervised, queue.Queue[str]]:
    lines: queue.Queue[str] = queue.Queue()
    return Supervised("worker", [sys.executable, "-c", text], dict(os.environ), lines.put), lines


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


APP = """
from workflows import App, NonRetryableError, WorkflowEntrypoint

app = App("shop")


@app.workflow
class Order(WorkflowEntrypoint):
    async def run(self, event, step):
        return await step.do("charge", charge, event.payload)


def charge(card):
    if card == "stolen":
        raise NonRetryableError("card refused")
    return "receipt"
"""


@pytest.fixture
def terminal(tmp_path: Path, redis: redis_py.Redis, redis_url: str) -> Iterator[list[str]]:
    """What ``workflows dev`` prints in a terminal, on the server of the tests."""
    (tmp_path / "shown_shop.py").write_text(APP)
    running = subprocess.Popen(
        [sys.executable, "-P", "-m", "workflows.cli", "dev", "shown_shop:app"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": packages(), "WORKFLOWS_REDIS_URL": redis_url},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(iter(running.stdout.readline, "")))
    reader.start()
    yield lines
    running.send_signal(signal.SIGINT)
    assert running.wait(30) == 0
    reader.join()
    running.stdout.close()


def shown(lines: list[str], *parts: str) -> str:
    """The first line with all of these parts; waits for it."""
    deadline = time.monotonic() + 30
    while not (found := [line for line in list(lines) if all(part in line for part in parts)]):
        assert time.monotonic() < deadline, "".join(lines)
        time.sleep(0.02)
    return found[0]


@pytest.mark.slow
def test_instances_are_shown_as_they_begin_and_end(terminal: list[str], redis_url: str) -> None:
    """And where a step raised, which is what somebody who develops wants to see next."""
    with Client("shop", redis_url) as client:
        shown(terminal, "worker ready")
        orders = client.workflow("order")
        orders.create("good", "valid")
        assert shown(terminal, "instance begun", "instance='good'").startswith("worker ")
        shown(terminal, "instance complete", "workflow='order'", "instance='good'")
        orders.create("bad", "stolen")
        shown(terminal, "instance begun", "instance='bad'")
        failed = shown(terminal, "step failed", "instance='bad'", "step='charge-1'", "card refused")
        errored = shown(terminal, "instance errored", "instance='bad'", "card refused")
        raised = shown(terminal, 'raise NonRetryableError("card refused")')
        assert terminal.index(failed) < terminal.index(raised) < terminal.index(errored)
