"""Where a case is played: a private Redis, one orchestrator and two workers, each a process as in production."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import redis

from benchmarks.app import app
from benchmarks.machine import Meter, children
from workflows.client import Client
from workflows.client.explaining import surroundings
from workflows.dev.embedded import EmbeddedRedis

WORKERS = 2
WAIT_SECONDS = 60.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.01
_ROOT = str(Path(__file__).resolve().parent.parent)


class StageBroken(Exception):
    """A process ended, or something took far longer than it may."""


def spawn(arguments: Sequence[str], *, output: int | IO[bytes], pipe: bool = False) -> subprocess.Popen[bytes]:
    """Start ``python -P -m …``, with the repository on its path."""
    path = os.pathsep.join(filter(None, [_ROOT, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", *arguments],
        stdin=subprocess.PIPE if pipe else subprocess.DEVNULL,
        stdout=output,
        stderr=None if pipe else subprocess.STDOUT,
        env=os.environ | {"PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C reaches this process alone, which then stops them in order.
    )


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask politely, then less so."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Stage:
    """A running system.

    Attributes:
        client: creates instances.
        roles: process ids by role; ``client`` is this process.
    """

    client: Client
    roles: dict[str, list[int]]
    _processes: list[subprocess.Popen[bytes]]
    _logs: list[Path]

    def meter(self) -> Meter:
        """A meter that starts now."""
        return Meter(self.roles)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Look every 10 ms, which costs a core less than 3 %.

        Raises:
            StageBroken: a process has ended, or it took longer than a minute.
        """
        until = time.monotonic() + WAIT_SECONDS
        while not holds():
            for process, log in zip(self._processes, self._logs, strict=True):
                if process.poll() is not None:
                    raise StageBroken(f"{log.stem} ended with status {process.returncode}:\n{_tail(log)}")
            if time.monotonic() > until:
                raise StageBroken("not done after a minute:\n" + "\n".join(map(_tail, self._logs)))
            time.sleep(POLL_SECONDS)

    def count(self, key: str, prefix: str = "") -> int:
        """Members of one kind in all shards: of ``retire`` everything that has ended, of ``index`` by status."""
        keys, line = self.client.store.keys, self.client.store.redis
        with line.pipeline(transaction=False) as pipeline:
            for shard in range(keys.shards):
                pipeline.zlexcount(keys.shard_key(shard, key), f"[{prefix}", f"[{prefix}\xff")
            return sum(int(found) for found in pipeline.execute())


@contextmanager
def open_stage(server: EmbeddedRedis, folder: Path) -> Iterator[Stage]:
    """Start an orchestrator and two workers and wait until all of them have done something.

    Args:
        server: a started Redis without other users.
        folder: where the logs go.
    """
    commands = {
        "orchestrator": ["orchestrator", "--redis-url", server.url, "--namespace", app.name],
        "workers": ["worker", "benchmarks.app:app", "--redis-url", server.url, "--processes", str(WORKERS)],
    }
    processes, logs = [], []
    try:
        for name, arguments in commands.items():
            logs.append(folder / f"{name}.log")
            with logs[-1].open("wb") as output:
                processes.append(spawn(arguments, output=output))
        with Client(app, server.url) as client:
            assert server.pid is not None
            roles = {"Redis": [server.pid], "orchestrator": [processes[0].pid], "client": [os.getpid()]}
            stage, queue = Stage(client, roles, processes, logs), app.queues[0]
            stage.wait_until(lambda: len(surroundings(client.store, queues=[queue]).queues[queue].workers) == WORKERS)
            roles["workers"] = children(processes[1].pid) or [processes[1].pid]
            _warm_up(stage)
            yield stage
    finally:
        stop(processes)


def _warm_up(stage: Stage) -> None:
    """Enough of everything that each process has loaded its scripts, connected and started its threads."""
    for workflow, params in (("chain", {"steps": 20}), ("fan-out", {"steps": 200}), ("one-step", {})):
        handle = stage.client.workflow(workflow)
        for instance in handle.create_batch([{"params": params} for _ in range(8)]):
            instance.result(timeout="1 minute")


@contextmanager
def quiet_redis() -> Iterator[tuple[EmbeddedRedis, redis.Redis]]:
    """A fresh server and a connection to it."""
    with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as line:
        yield server, line


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
