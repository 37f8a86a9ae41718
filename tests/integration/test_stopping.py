"""Does a worker process end at whatever moment it is told to, and however Redis behaves meanwhile?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import redis as redis_py

from tests.paths import ROOT, packages
from worker import engine, parent, worker
from workflows.clock import monotonic
from workflows.dev.embedded import EmbeddedRedis

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


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = monotonic() + 30
    while not holds():
        assert monotonic() < deadline
        threading.Event().wait(0.02)


# What RQ has made of the connection that the lease's thread beats on.
CONNECTION = """
import os
from app import app
from worker.settings import Settings
from worker.worker import WorkflowWorker
from workflows.storage.keys import Keyspace

worker = WorkflowWorker(app, os.environ["WORKFLOWS_REDIS_URL"], Keyspace("stopping"), Settings())
print(worker.connection.connection_pool.connection_kwargs["socket_timeout"])
"""


def test_no_connection_of_a_worker_waits_longer_for_an_answer_than_the_url_says(
    redis_url: str, redis: redis_py.Redis, tmp_path: Path
) -> None:
    """RQ would make it seven minutes, for which nobody would renew the lease."""
    (tmp_path / "app.py").write_text(APP)
    said = subprocess.run(
        [sys.executable, "-c", CONNECTION],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": packages(), "WORKFLOWS_REDIS_URL": f"{redis_url}&socket_timeout=7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(said.stdout) == 7


# A fork of a parent, which is told to end before it listens for that itself.
FORK = """
import os, signal, time
from worker.launch import Launcher
from workflows.process.stop import Stop


def run(member, parent, pipe):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
    return 0


stop = Stop()
stop.on_signals()
process = Launcher([], run).alone("a member", 0)
while process.poll() is None:
    time.sleep(0.01)
assert process.poll() == -signal.SIGTERM and not stop.is_set(), process.poll()
"""


def test_a_fork_that_is_told_to_end_before_it_has_begun_ends() -> None:
    """Its parent's way to hear of a signal is there in the fork as well, and nobody looks at what it has heard."""
    subprocess.run([sys.executable, "-c", FORK], cwd=ROOT, timeout=30, check=True)


def test_a_parent_waits_longer_than_its_processes_take() -> None:
    assert engine.CLOSING_SECONDS + worker.DEATH_SECONDS < parent.DRAIN_MARGIN_SECONDS


@pytest.mark.slow
def test_a_worker_whose_redis_hangs_ends_within_what_its_parent_allows(tmp_path: Path) -> None:
    """Every wait on its way out has a bound, whatever the URL's timeout; the parent need not kill anybody."""
    (tmp_path / "app.py").write_text(APP)
    with EmbeddedRedis(tmp_path / "redis") as server, redis_py.Redis.from_url(server.url) as client:
        pid = client.info("server")["process_id"]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "worker", "app:app", "--grace", "0", "--lease", "3"],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": packages(),
                "WORKFLOWS_REDIS_URL": f"{server.url}&socket_timeout=100",
            },
            stdin=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: any(one["cmd"] == "blmove" for one in client.client_list()))
            os.kill(pid, signal.SIGSTOP)
            try:
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == 0
            finally:
                os.kill(pid, signal.SIGCONT)
        finally:
            process.kill()
            process.wait()
