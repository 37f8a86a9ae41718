"""Does a worker process end at whatever moment it is told to, and however Redis behaves meanwhile?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import redis as redis_py

from tests.paths import packages

APP = """
from workflows import App, WorkflowEntrypoint

app = App("stopping")


@app.workflow
class Order(WorkflowEntrypoint):
    async def run(self, event, step):
        return 1
"""

# A worker process whose main thread is told to stop at the end of each function it calls to wait for that.
CHILD = """
import os, signal, sys


def is_waiting(frame):
    while frame.f_back is not None and frame.f_back.f_code.co_name != "work":
        frame = frame.f_back
    return frame.f_back is not None and frame.f_code.co_name == "wait"


def at_every_return(frame, event, argument):
    if event == "return" and is_waiting(frame):
        signal.raise_signal(signal.SIGTERM)
    return at_every_return


from worker.__main__ import main

sys.settrace(at_every_return)
main(["app:app", "--child", str(os.getppid()), "--log-level", "WARNING"])
"""


def test_a_worker_that_is_about_to_wait_for_the_signal_hears_it(
    redis_url: str, redis: redis_py.Redis, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(APP)
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": packages(), "WORKFLOWS_REDIS_URL": redis_url},
        stdin=subprocess.DEVNULL,
    )
    try:
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
