"""A whole deployment in one block: Redis, orchestrators and workers as real processes, and what they left behind.

    with Cluster(folder) as cluster:
        cluster.orchestrator()
        worker = cluster.worker("--lease", "3")
        instance = cluster.create("gated", "a1")
        cluster.wait_until(lambda: cluster.ledger.count("a1/work", "start") == 1)
        worker.kill()

Nothing here sleeps for a length of time: ``wait_until`` looks until a condition holds. Every process is gone when the
block is left, and its log is shown when the test has failed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.acceptance import apps
from workflows.client import Client, WorkflowInstance
from workflows.dev.embedded import EmbeddedRedis
from workflows.process.load import load_app
from workflows.storage.connection import producer

Found = TypeVar("Found")

ROOT = Path(__file__).parents[2]
POLL_SECONDS = 0.01
WAIT_SECONDS = 20.0
STOP_SECONDS = 20.0
LOG_LINES_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Execution:
    """One line of the ledger: a callback said that it began, ended, or noticed that it is cancelled."""

    key: str
    what: str
    attempt: int
    pid: int
    at: float


class Ledger:
    """What callbacks really did, told by themselves outside of Redis: one appended line per happening."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "ledger"
        self._path.touch()

    def lines(self, prefix: str = "") -> list[Execution]:
        """Everything said so far about keys that begin with ``prefix``, in order."""
        whole = self._path.read_text().rpartition("\n")[0]
        found = [Execution(**json.loads(line)) for line in whole.splitlines()]
        return [line for line in found if line.key.startswith(prefix)]

    def of(self, key: str, what: str = "start") -> list[Execution]:
        return [line for line in self.lines(key) if line.key == key and line.what == what]

    def count(self, key: str, what: str = "start") -> int:
        return len(self.of(key, what))

    def counts(self, prefix: str = "", what: str = "start") -> Counter[str]:
        """How often each callback began."""
        return Counter(line.key for line in self.lines(prefix) if line.what == what)

    def open_gate(self, name: str) -> None:
        """Let callbacks that stand at this gate go on, now and from now on."""
        (self._folder / f"gate-{name}").touch()


class Process:
    """A started process with all that it has started; signals go to each of them."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._ever: set[int] = set()
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    @property
    def children(self) -> list[int]:
        """The processes that this one has started, theirs included."""
        shown = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        parents = {int(pid): int(parent) for pid, parent in (line.split() for line in shown.splitlines())}
        found, generation = [], {self.pid}
        while generation:
            generation = {pid for pid, parent in parents.items() if parent in generation}
            found += sorted(generation)
        self._ever.update(found)
        return found

    def resident(self) -> dict[int, int]:
        """KiB of memory of each of them, by its pid."""
        return {pid: int(kib) for pid in [self.pid, *self.children] if (kib := _ps(pid, "rss"))}

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL for all of them at once, the parent first, so that it starts nothing anew."""
        self._signal(signal.SIGKILL)
        self._popen.wait(STOP_SECONDS)

    def freeze(self) -> None:
        """SIGSTOP: as a paused virtual machine."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        """SIGTERM to the process itself, as a supervisor would."""
        self._popen.terminate()

    def wait(self) -> int:
        """Wait for its end. Returns: its exit status."""
        return self._popen.wait(STOP_SECONDS)

    def terminate(self) -> int:
        """SIGTERM, and wait. Returns: its exit status."""
        self.ask_to_stop()
        return self.wait()

    def kill_orphans(self) -> None:
        """SIGKILL for processes that it has started and that have outlived it."""
        for pid in self._ever:
            if re.search(r"\btests\.\w+\.apps:", _ps(pid, "command")):
                os.kill(pid, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        for pid in [self.pid, *self.children]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass  # It has ended by itself meanwhile.


class Cluster:
    """One Redis with the processes of one app.

    Args:
        folder: for logs, the ledger and gates; empty.
        target: the app that workers load: ``module:attribute``, or an attribute of ``tests/acceptance/apps.py``.
    def __init__(
        self, folder: Path, target: str = "app", *, server: Path | None = None, url: str | None = None
    ) -> None:
    """

    running: list[Cluster] = []

    def __init__(
        self, folder: Path, target: str = "app", *, server: Path | None = None, url: str | None = None
    ) -> None:
        self.folder = folder
        self.ledger = Ledger(folder)
        self.redis_server = EmbeddedRedis(server=server)
        self.processes: list[Process] = []
        self._target = target
        self._url = url

    def __enter__(self) -> Self:
        if self._url is None:
            self.redis_server.start()
        app = load_app(_address(self._target), folder=ROOT)
        self.namespace = app.name
        self.redis = producer(self.url)
        self.client = Client(app, self.url)
        self.running.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self.processes:
            if process.alive:
                process.kill()
            process.kill_orphans()
        self.running.remove(self)
        self.client.close()
        self.redis.close()
        self.redis_server.stop()
        if error is not None:
            print(self.logs())

    @property
    def url(self) -> str:
        return self.redis_server.url if self._url is None else self._url

    # Processes

    def orchestrator(self) -> Process:
        """Start an orchestrator."""
        command = ["orchestrator", "--namespace", self.namespace, "--unsafe"]
        return self._start("orchestrator", command)

    def worker(self, *options: str, target: str | None = None) -> Process:
        """Start a worker: a parent with one process. Its lease is the shortest there is unless the options say more."""
        if "--lease" not in options:
            options = ("--lease", "3", *options)
        if "-q" not in options:
            options = ("-q", "default", *options)
        return self._start("worker", ["worker", _address(target or self._target), *options])

    def ready(self, worker: Process) -> Process:
        """Wait until a worker serves."""
        self.wait_until(lambda: "worker ready" in worker.text())
        return worker

    def stop_all(self) -> None:
        """SIGTERM for everything but Redis, and wait."""
        living = [process for process in self.processes if process.alive]
        for process in living:
            process.ask_to_stop()
        for process in living:
            assert process.wait() == 0, f"{process.name} ended badly"

    def kill_all(self) -> None:
        """SIGKILL for everything but Redis."""
        for process in self.processes:
            if process.alive:
                process.kill()

    def crash_redis(self) -> None:
        """SIGKILL for Redis, and a new start on what its append-only file holds."""
        self.redis_server.kill()
        self.redis_server.start()

    def _start(self, kind: str, arguments: list[str]) -> Process:
        number = sum(process.name.startswith(kind) for process in self.processes) + 1
        environment = os.environ | {
            "WORKFLOWS_REDIS_URL": self.url,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            apps.FOLDER_VARIABLE: str(self.folder),
        }
        name = f"{kind}-{number}"
        process = Process(name, [sys.executable, "-P", "-m", *arguments], environment, self.folder / f"{name}.log")
        self.processes.append(process)
        return process

    # Instances

    def create(self, workflow: str, id: str, params: Any = None, **options: Any) -> WorkflowInstance:
        return self.client.workflow(workflow).create(id, params, **options)

    def result(self, instance: WorkflowInstance, seconds: float = WAIT_SECONDS) -> Any:
        """What it returned; raises what it raised."""
        return instance.result(timeout=seconds * 1000)

    def wait_until(
        self, condition: Callable[[], Found], seconds: float = WAIT_SECONDS, *, what: str | None = None
    ) -> Found:
        """Look until the condition holds. Returns: what it returned.

        Raises:
            AssertionError: it does not hold in time, or a process that nobody stopped has ended.
        """
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, f"not within {seconds} s: {what or 'the condition'}"
            time.sleep(POLL_SECONDS)
        return found

    def wait_for_status(self, instance: WorkflowInstance, status: str, seconds: float = WAIT_SECONDS) -> None:
        seen = ""

        def reached() -> bool:
            nonlocal seen
            seen = instance.status().status
            return seen == status

        try:
            self.wait_until(reached, seconds)
        except AssertionError:
            raise AssertionError(f"{instance} is {seen}, not {status}, after {seconds} s") from None

    def cli(self, *arguments: str) -> str:
        """What ``redis-cli`` says; where the machine has none, the one that came with the packaged server."""
        program = shutil.which("redis-cli") or str(Path(sys.executable).with_name("redis-cli"))
        command = [program, "-s", str(self.redis_server.directory / "redis.sock"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    # Looking back

    def key_names(self, part: str = "") -> list[str]:
        """Every key of this Redis whose name contains the text."""
        return sorted(key.decode() for key in self.redis.scan_iter(count=1000) if part in key.decode())

    def members(self, part: str) -> list[str]:
        """Every place inside a key of this Redis that contains the text: fields, members and elements."""
        return sorted(f"{key}: {text}" for key in self.key_names() for text in self._contents(key) if part in text)

    def _contents(self, key: str) -> Iterator[str]:
        inside: Any
        match self.redis.type(key):
            case b"hash":
                inside = [part for pair in self.redis.hgetall(key).items() for part in pair]
            case b"zset":
                inside = self.redis.zrange(key, 0, -1)
            case b"list":
                inside = self.redis.lrange(key, 0, -1)
            case b"set":
                inside = self.redis.smembers(key)
            case b"string":
                inside = [self.redis.get(key)]
            case _:
                inside = []
        return (bytes(member).decode(errors="replace") for member in inside)

    def dump(self, *prefixes: str) -> dict[str, bytes | None]:
        """The bytes of every key with one of the prefixes, to compare before and after."""
        return {key: self.redis.dump(key) for key in self.key_names() if key.startswith(prefixes)}

    def logged(self, text: str) -> list[str]:
        """Log lines of all processes that contain the text."""
        return [
            f"{process.name}: {line}"
            for process in self.processes
            for line in process.text().splitlines()
            if text in line
        ]

    def logs(self) -> str:
        """The end of every log."""
        parts = []
        for process in self.processes:
            lines = process.text().splitlines()[-LOG_LINES_SHOWN:]
            parts += [f"--- {process.name}, pid {process.pid}", *lines]
        return "\n".join(parts)

    def check_logs(self) -> None:
        """No process may have met anything that it did not expect. What user code raised is indented."""
        lines = [line for process in self.processes for line in process.text().splitlines()]
        assert not any(line.startswith("Traceback (most recent call last)") for line in lines), self.logs()


def _address(target: str) -> str:
    return target if ":" in target else f"{apps.__name__}:{target}"


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has fetched yet does not."""
    shown = _ps(pid, "stat")
    return bool(shown) and not shown.startswith("Z")


def _ps(pid: int, what: str) -> str:
    return subprocess.run(["ps", "-o", f"{what}=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
