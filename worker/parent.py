"""The parent of worker processes: starts them again when they die, says who died, and gives suspects a process each.

It sees its children end, which nobody else can. So it ends their leases at once (``workflows/storage/processes.py``),
and the steps they ran begin elsewhere in a moment. What had part in such a death may have caused it; the next worker
that claims it asks its own parent for a process that runs nothing else (``worker/alone.py``), so that a killer takes
nobody with it and is known by its second death there (F22).
"""

from __future__ import annotations

import logging
import signal
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import redis

from worker.pipe import PipeFromChild
from workflows.clock import monotonic
from workflows.process.parent import orphaned
from workflows.process.ready import ready
from workflows.process.sign_of_life import Health
from workflows.process.stop import Stop
from workflows.telemetry import metrics
from workflows.telemetry.endpoint import Endpoint
from workflows.telemetry.figures import figures
from workflows.telemetry.telling import Gathered

_log = logging.getLogger("workflows.worker")

# A process that dies sooner than this after its start is started again only after a pause, which doubles.
HEALTHY_SECONDS = 10.0
PAUSE_SECONDS = 0.2
PAUSE_SECONDS_MAX = 10.0
LOOK_SECONDS = 0.1
# A worker that has not said anything for so long after its start is not healthy.
START_SECONDS = 60.0
# Between attempts to tell Redis of a death.
TELL_SECONDS = 1.0
# Suspects side by side; each is a process with its own connections and bindings.
ALONE_MAX = 64
# Beyond the grace of a drain: for settling, leaving and ending.
DRAIN_MARGIN_SECONDS = 20.0
# Something holds the interpreter of a process that is silent for so long, and it will not hear that it should drain.
DRAIN_SILENCE_SECONDS = 3.0


class Process(Protocol):
    """A started process, however it was started."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """Its exit status once it has ended; negative for the signal that ended it."""

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class Launch(Protocol):
    """How processes are started; each is given the number of the pipe it inherits."""

    def worker(self, pipe: int) -> Process: ...

    def alone(self, member: str, pipe: int) -> Process:
        """A process for one suspect, named by its held member."""


class ChildProcess:
    """One process under watch."""

    def __init__(self, start: Callable[[int], Process], now: float) -> None:
        self.pipe = PipeFromChild()
        self.started = now
        # What has not said anything yet is still importing the app.
        self.heard: float | None = None
        try:
            self.process = start(self.pipe.given)
        finally:
            self.pipe.close_given()


class Parent:
    """Keeps ``processes`` workers alive, until told to stop.

    Args:
        silence_seconds: how long a process may go without a sign of life before it is killed: something holds the
            interpreter, so that it cannot even give itself up.
        grace_seconds: how long a drain waits for running steps; processes still there well after that are killed.
        tell: tells Redis of processes of this machine that have ended: those given by their ids, which were seen to,
            and those found gone. Raises RedisError when it cannot.
        gathered: hears what the processes have counted.
        endpoint: where that can be read.
    """

    def __init__(
        self,
        launch: Launch,
        processes: int,
        *,
        silence_seconds: float,
        grace_seconds: float,
        tell: Callable[[Collection[int]], None],
        gathered: Gathered | None = None,
        endpoint: Endpoint | None = None,
    ) -> None:
        self._gathered = gathered
        self._endpoint = endpoint
        self._launch = launch
        self._silence_seconds = silence_seconds
        self._grace_seconds = grace_seconds
        self._tell = tell
        self._stop = Stop()
        self._workers: list[ChildProcess | None] = [None] * processes
        self._due = [0.0] * processes
        self._pauses = [0.0] * processes
        self._alone: list[ChildProcess] = []
        self._suspects: deque[str] = deque()
        self._dead: set[int] = set()
        # None: there is nothing to tell. The first time it is of those who died together with a former parent.
        self._tell_at: float | None = 0.0
        self._looked = monotonic()
        self._health = Health()

    def run(self) -> int:
        """Until SIGTERM or SIGINT. Returns: 0, or 1 when a process had to be killed at the end."""
        self._stop.on_signals()
        is_orphan = orphaned()
        while not self._stop.is_set() and not is_orphan():
            now = monotonic()
            self._fetch_dead(now)
            self._tell_of_dead()
            self._start_due(now)
            self._listen(self._children(), self._silence_seconds)
            if not self._is_stuck(now):
                self._health.alive()
        return self._drain()

    def _is_stuck(self, now: float) -> bool:
        """Whether a worker has been starting for so long that it will not get there by itself: an import that hangs,
        say. Those that were up once are seen to here."""
        workers = [child for child in self._workers if child is not None]
        return any(child.heard is None and now - child.started > START_SECONDS for child in workers)

    def _children(self) -> list[ChildProcess]:
        return [*(child for child in self._workers if child is not None), *self._alone]

    def _fetch_dead(self, now: float) -> None:
        for n, child in enumerate(self._workers):
            status = None if child is None else child.process.poll()
            if child is None or status is None:
                continue
            healthy = now - child.started > HEALTHY_SECONDS
            self._pauses[n] = 0.0 if healthy else min(PAUSE_SECONDS_MAX, max(PAUSE_SECONDS, 2 * self._pauses[n]))
            self._due[n] = now + self._pauses[n]
            _log.warning("worker process ended", extra={"pid": child.process.pid, "status": status})
            self._workers[n] = None
            figures.count(metrics.WORKER_DEATHS)
            self._gone(child)
        for child in list(self._alone):
            status = child.process.poll()
            if status is not None:
                if status:
                    figures.count(metrics.WORKER_DEATHS)
                    _log.warning("process alone ended", extra={"pid": child.process.pid, "status": status})
                self._alone.remove(child)
                self._gone(child)

    def _gone(self, child: ChildProcess) -> None:
        while not child.pipe.is_closed and self._hear(child):
            pass  # what it has said before it ended
        if self._gathered is not None:
            self._gathered.forget(child.process.pid)
        child.pipe.close()
        self._dead.add(child.process.pid)
        self._tell_at = 0.0

    def _tell_of_dead(self) -> None:
        if self._tell_at is None or monotonic() < self._tell_at:
            return
        try:
            self._tell(self._dead)
            self._dead.clear()
            self._tell_at = None
        except redis.RedisError as error:
            # Their leases run out by themselves; until then it is worth trying again.
            _log.warning("death not told", extra={"error": error})
            self._tell_at = monotonic() + TELL_SECONDS

    def _start_due(self, now: float) -> None:
        for n, child in enumerate(self._workers):
            if child is None and now >= self._due[n]:
                self._workers[n] = ChildProcess(self._launch.worker, now)
        while self._suspects and len(self._alone) < ALONE_MAX:
            member = self._suspects.popleft()
            self._alone.append(ChildProcess(lambda pipe, member=member: self._launch.alone(member, pipe), now))  # type: ignore[misc]

    def _listen(self, children: Sequence[ChildProcess], silence_seconds: float) -> None:
        """Wait a moment for what children say, and kill those that have fallen silent."""
        reading: list[Any] = [child.pipe for child in children if not child.pipe.is_closed]
        writing: list[Any] = []
        if self._endpoint is not None:
            reading += self._endpoint.reading()
            writing += self._endpoint.writing()
        found = ready(reading, writing, LOOK_SECONDS)
        if self._endpoint is not None:
            self._endpoint.serve(found)
        now = monotonic()
        # After a pause of the whole machine nobody can have been heard.
        slept = now - self._looked > 10 * LOOK_SECONDS
        self._looked = now
        for child in children:
            if (child.pipe in found and self._hear(child)) or (slept and child.heard is not None):
                child.heard = now
            elif child.heard is not None and now - child.heard > silence_seconds:
                silent = round(now - child.heard)
                _log.error("silent process killed", extra={"pid": child.process.pid, "seconds": silent})
                child.process.kill()
                child.heard = None

    def _hear(self, child: ChildProcess) -> bool:
        heard = child.pipe.read()
        self._suspects.extend(heard.members)
        if self._gathered is not None:
            self._gathered.hear(child.process.pid, heard.told)
        return heard.anything

    def _drain(self) -> int:
        """All at once: each has the whole grace."""
        deadline = monotonic() + self._grace_seconds + DRAIN_MARGIN_SECONDS
        children = self._children()
        for child in children:
            child.process.terminate()
        while running := [child for child in children if child.process.poll() is None]:
            if monotonic() >= deadline:
                for child in running:
                    child.process.kill()
            self._listen(running, DRAIN_SILENCE_SECONDS)
        for child in children:
            self._gone(child)
        self._tell_of_dead()
        return 1 if any(child.process.poll() == -signal.SIGKILL for child in children) else 0
