"""Is a process that is told to stop told at any moment, also while it is about to wait for exactly that?"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.paths import ROOT
from workflows.process.stop import Stop

PATIENCE_SECONDS = 30.0

# A signal's handler runs between any two steps of the main thread: here before each line of what it does to wait.
WAIT = """
import signal, sys
from workflows.process.stop import Stop

def before_every_line(frame, event, argument):
    if frame.f_code.co_name != "set":
        signal.raise_signal(signal.SIGTERM)
    return before_every_line

stop = Stop()
stop.on_signals()
sys.settrace(before_every_line)
sys.exit(0 if stop.wait(60) else 1)
"""


@pytest.fixture
def stop() -> Iterator[Stop]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield Stop()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_it_may_be_set_at_any_moment_of_the_wait() -> None:
    assert subprocess.run([sys.executable, "-c", WAIT], cwd=ROOT, timeout=PATIENCE_SECONDS).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_it(number: signal.Signals, stop: Stop) -> None:
    stop.on_signals()
    assert not stop.wait(0.001)
    assert not stop.is_set()
    signal.raise_signal(number)
    assert stop.is_set()
    assert stop.wait(PATIENCE_SECONDS)


def test_everybody_who_waits_is_told(stop: Stop) -> None:
    told = [threading.Thread(target=stop.wait, args=(PATIENCE_SECONDS,), daemon=True) for _ in range(3)]
    for thread in told:
        thread.start()
    stop.set()
    for thread in told:
        thread.join(PATIENCE_SECONDS / 2)
        assert not thread.is_alive()
