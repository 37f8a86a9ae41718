"""Does a worker's parent give its processes the grace they were promised, all at once?"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import signal, subprocess, sys
from worker import parent

parent.DRAIN_MARGIN_SECONDS = 0.5
grace, child = float(sys.argv[1]), sys.argv[2]


class Launch:
    def worker(self, pipe):
        return subprocess.Popen([sys.executable, "-c", child], pass_fds=(pipe,), stdout=sys.stdout)


told = parent.Parent(Launch(), 3, silence_seconds=60, grace_seconds=grace, tell=lambda pids: None)
sys.exit(told.run())
"""
DEAF = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b"up\\n")
time.sleep(30)
"""
SLOW = """
import os, signal, time
def end(*_):
    time.sleep(1.5)
    os.write(1, b"done\\n")
    os._exit(0)
signal.signal(signal.SIGTERM, end)
os.write(1, b"up\\n")
time.sleep(30)
"""


def drain(grace: float, child: str) -> tuple[int, float, str]:
    """Let a parent with three such children drain. Returns: its exit status, how long it took, what was said."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(grace), child],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            for _ in range(3):
                assert process.stdout.readline() == "up\n"
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            said = process.stdout.read()
            return process.wait(), time.monotonic() - began, said
        finally:
            process.kill()


@pytest.mark.slow
def test_processes_that_do_not_end_are_killed_together_after_the_grace_and_a_margin() -> None:
    status, took, _ = drain(1, DEAF)
    assert status == 1
    assert 1.5 <= took < 3, "one after the other it would be 4.5 s"


@pytest.mark.slow
def test_processes_that_end_within_the_grace_are_not_killed() -> None:
    status, _, said = drain(30, SLOW)
    assert (status, said) == (0, "done\n" * 3)
