"""``workflows dev``: a Redis of one's own, an orchestrator, workers and the dashboard in one terminal.

Composition only: the processes are the ones of production, started and watched here. The Redis keeps its data in
``.workflows/redis`` of the current folder; with ``WORKFLOWS_REDIS_URL`` or ``REDIS_URL`` set, that server is used
instead. ``.workflows/dev.json`` lets the commands of a second terminal find the same server.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from workflows.clock import monotonic
from workflows.dev.embedded import EmbeddedRedis
from workflows.process import parent
from workflows.process.logs import SHOW_INSTANCES
from workflows.process.stop import Stop
from workflows.storage.connection import connection
from workflows.storage.dev_state import FOLDER, STATE_FILE, find_running, prepare
from workflows.storage.manifest import Described, Publication
from workflows.storage.outage import server_errors
from workflows.storage.store import Store, open_keyspace
from workflows.ui import EXTRA, missing_extra

# Children get this long to end politely; workers drain within less.
GRACE_SECONDS: Final = 10.0
DRAIN_SECONDS: Final = 5.0
PAUSE_SECONDS: Final = 0.5
PAUSE_SECONDS_MAX: Final = 10.0
HEALTHY_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.1
PYTHON: Final = (sys.executable, "-P", "-m")
UI: Final = "ui"

Print = Callable[[str], None]


class Supervised:
    """One process that is started again when it dies. Its output appears line by line under its name."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str], say: Print) -> None:
        self.name = name
        self._command = list(command)
        self._environment = environment
        self._say = say
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._started = self._due = 0.0
        self._pause = 0.0

    def watch(self) -> None:
        """Start it if it is not running; after quick deaths only with growing pauses."""
        now = monotonic()
        if self._process is not None and self._process.poll() is not None:
            healthy = now - self._started > HEALTHY_SECONDS
            self._pause = PAUSE_SECONDS if healthy else min(PAUSE_SECONDS_MAX, max(PAUSE_SECONDS, 2 * self._pause))
            self._due = now + self._pause
            self._say(f"{self.name} ended with code {self._process.returncode}; starting it again")
            self._process = None
        if self._process is None and now >= self._due:
            self._start(now)

    def _start(self, now: float) -> None:
        process = subprocess.Popen(  # noqa: S603
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
            # A session of its own: Ctrl-C reaches `dev`, which ends its children in order.
            start_new_session=True,
        )
        self._process, self._started = process, now
        self._reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._say(f"{self.name:<12} | {line.rstrip()}")

    def ask_to_end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    @property
    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """End it and whatever it has started."""
        if self._process is None or self._process.poll() is not None:
            return
        for pid in [self._process.pid, *descendants(self._process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        if self._reader is not None:
            self._reader.join(1)


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False)  # noqa: S607
    children: dict[int, list[int]] = {}
    for line in listed.stdout.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    found, open_ = [], [pid]
    while open_:
        below = children.get(open_.pop(), [])
        found += below
        open_ += below
    return found


def run(
    target: str,
    app: Described,
    *,
    url: str | None,
    processes: int = 1,
    concurrency: int | None = None,
    with_ui: bool = True,
    say: Print = print,
) -> int:
    """Run everything until SIGINT or SIGTERM. Returns: the exit code.

    Args:
        target: the app, as ``module:attribute``.
        app: the same, loaded: its manifest is published before anything starts.
        url: a Redis to use; None starts one.
        with_ui: serve the dashboard too, where its extra is installed.
        say: prints one line.
    Raises:
        ServerUnavailable: no Redis could be started.
        ConfigError: another ``workflows dev`` uses this folder, or others can write to ``.workflows``.
    """
    prepare(Path())
    stop = Stop()
    signals: list[int] = []

    def on_signal(number: int, _: Any) -> None:
        signals.append(number)
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _server(url, say) as address:
            _register(address, app)
            with _announced(address, app.name):
                children = _children(target, app.name, address, processes, concurrency, say)
                if with_ui and missing_extra():
                    say(f"{UI:<12} | left out: {EXTRA}")
                elif with_ui:
                    children.append(_dashboard(target, app.name, address, say))
                _supervise(children, stop, signals, say)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _register(url: str, app: Described) -> None:
    with closing(connection(url)) as client, server_errors(client):
        Publication(app).publish(Store(client, open_keyspace(client, app.name)), "start")


def _children(
    target: str, namespace: str, url: str, processes: int, concurrency: int | None, say: Print
) -> list[Supervised]:
    environment = _environment(namespace, url)
    worker = [*PYTHON, "worker", target, "-p", str(processes), "--grace", str(DRAIN_SECONDS)]
    if concurrency is not None:
        worker += ["-c", str(concurrency)]
    return [
        Supervised("orchestrator", [*PYTHON, "orchestrator"], environment, say),
        Supervised("worker", worker, environment, say),
    ]


def _dashboard(target: str, namespace: str, url: str, say: Print) -> Supervised:
    return Supervised(UI, [*PYTHON, "workflows.cli", "ui", target], _environment(namespace, url), say)


def _environment(namespace: str, url: str) -> dict[str, str]:
    return {
        **os.environ,
        parent.VARIABLE: str(os.getpid()),
        "WORKFLOWS_REDIS_URL": url,  # Not on a command line: it may hold a password.
        "WORKFLOWS_NAMESPACE": namespace,
        "PYTHONUNBUFFERED": "1",
        SHOW_INSTANCES: "1",
    }


def _supervise(children: list[Supervised], stop: Stop, signals: list[int], say: Print) -> None:
    try:
        while not stop.is_set():
            for child in children:
                child.watch()
            stop.wait(POLL_SECONDS)
        say("stopping (again: at once)")
        for child in children:
            child.ask_to_end()
        deadline = monotonic() + GRACE_SECONDS
        asked = len(signals)
        while not all(child.ended for child in children) and monotonic() < deadline and len(signals) == asked:
            threading.Event().wait(POLL_SECONDS / 2)
    finally:
        for child in children:
            child.kill()
            child.close()


@contextlib.contextmanager
def _server(url: str | None, say: Print) -> Iterator[str]:
    if url is not None:
        say("redis        | using the server of WORKFLOWS_REDIS_URL or REDIS_URL")
        yield url
        return
    with EmbeddedRedis(Path(FOLDER) / "redis") as server:
        say(f"redis        | started, data in {Path(FOLDER) / 'redis'}")
        # Its address holds no password: it is a socket which only this user may open.
        say(f"redis        | WORKFLOWS_REDIS_URL='{server.url}'")
        yield server.url


@contextlib.contextmanager
def _announced(url: str, namespace: str) -> Iterator[None]:
    path = Path(FOLDER) / STATE_FILE
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump({"url": url, "namespace": namespace, "pid": os.getpid()}, file)
    try:
        yield
    finally:
        # Somebody else's by now, if a second `workflows dev` was started on the same server.
        running = find_running(Path())
        if running is None or running.pid == os.getpid():
            path.unlink(missing_ok=True)
