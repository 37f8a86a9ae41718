"""Watches the engine from outside: attempts past their timeout, and a ``run`` that does not come back.

A thread of its own, because both must work while user code blocks everything else. A thread cannot be killed and a C
call may hold the interpreter, so the last resort is to leave the process: its parent starts another, and other workers
take over within one lease.
"""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from worker.attempt import Attempt
from worker.patience import Patience
from worker.vital import vital
from workflows.clock import monotonic
from workflows.replay.replay import RunStalled
from workflows.storage.keys import Instance
from workflows.telemetry import metrics
from workflows.telemetry.figures import figures

_log = logging.getLogger("workflows.worker")
LOOK_SECONDS = 0.02
IDLE_SECONDS = 0.1
BLOCKED_SECONDS = 0.25


class Guarded(Protocol):
    """Who is watched: the engine."""

    def attempts(self) -> list[Attempt]:
        """The attempts in flight."""

    def time_out(self, attempt: Attempt) -> None:
        """Settle an attempt as timed out; its code keeps its slot until it really ends."""

    def look(self, now: float, attempts: list[Attempt]) -> Iterable[Attempt]:
        """To be called now and then. Returns: those of these attempts that will not begin here, because a callback
        blocks the loop they wait for."""

    def beat(self, attempt: Attempt) -> None:
        """Write what an attempt has said with its last heartbeat."""

    def give_back(self, attempt: Attempt) -> None:
        """Give an attempt back whose start has been taken."""

    def is_choked(self) -> bool:
        """Whether half of the slots or more are taken by code that goes on although its attempt has timed out."""


class Guardian:
    """Times attempts out, has their heartbeats written, and interrupts stalled replays.

    Args:
        guarded: asked from the guardian's thread.
        stall_seconds: after this long ``run`` is interrupted; after as long again the worker gives up.
        on_hopeless: called with the reason when it does.
    """

    def __init__(self, guarded: Guarded, stall_seconds: float, on_hopeless: Callable[[str], None]) -> None:
        self._guarded = guarded
        self._stall_seconds = stall_seconds
        self._on_hopeless = on_hopeless
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._watched: Instance | None = None
        self._runner = threading.current_thread()
        self._since = 0.0
        self._seen = self._stalled = 0.0
        self._patience = Patience()
        self._cpu_seconds = 0.0
        self._interrupted = False
        self._hopeless = False
        self._thread = threading.Thread(target=vital("guardian", self._run, on_hopeless), name="guardian", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=1)

    def begin(self, instance: Instance) -> float:
        """User code of an instance begins on this thread, until ``end``. Returns: when (``monotonic``)."""
        self._since = since = monotonic()
        self._runner = threading.current_thread()
        self._watched = instance
        return since

    def end(self) -> None:
        """It has come back. To be called once more when it raised: the interrupt may have come just before this."""
        with self._lock:
            self._watched = None
            if self._interrupted:
                self._interrupted = False
                # An interrupt not delivered yet must not hit the engine's own code.
                _interrupt(self._runner, None)

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """For the length of the block it is not user code that takes its time."""
        watched = self._watched
        self.end()
        try:
            yield
        finally:
            if watched is not None:
                self.begin(watched)

    def stuck(self) -> Instance | None:
        """The instance whose ``run`` has been blocking for too long, if there is one."""
        watched = self._watched
        return watched if watched is not None and self._stalled == self._since else None

    def is_blocked(self) -> bool:
        """Whether ``run`` has been on its thread for longer than any honest turn takes."""
        return self._watched is not None and monotonic() - self._since > BLOCKED_SECONDS

    def _run(self) -> None:
        while True:
            attempts = self._guarded.attempts()
            if self._stop.wait(LOOK_SECONDS if attempts or self._watched else IDLE_SECONDS):
                return
            now = monotonic()
            for attempt in attempts:
                if now >= attempt.deadline:
                    attempt.deadline = float("inf")
                    self._guarded.time_out(attempt)
                beats = attempt.context.beats
                if beats is not None and beats.take(now):
                    self._guarded.beat(attempt)
            for attempt in self._guarded.look(now, attempts):
                self._guarded.give_back(attempt)
            self._look_at_run(now)
            if self._guarded.is_choked():
                self._give_up("half of the threads are taken by steps that ignore their timeout")

    def _blocked(self, now: float) -> float:
        """For how long ``run`` has really been on its thread, in seconds: by the looks at it, or by what it
        has computed, where it holds the interpreter so that nobody can look. On a busy machine neither is the time
        since it began."""
        if self._since != self._seen:
            self._seen = self._since
            self._cpu_seconds = _cpu_seconds_of(self._runner)
            self._patience.begin(self._since)
        return max(self._patience.look(now), _cpu_seconds_of(self._runner) - self._cpu_seconds)

    def _look_at_run(self, now: float) -> None:
        with self._lock:
            watched = self._watched
            if watched is None:
                return
            blocked = self._blocked(now)
            if blocked < self._stall_seconds:
                return
            self._stalled = self._since
            if not self._interrupted:
                self._interrupted = True
                figures.count(metrics.STALLS)
                _log.error("run blocks its worker", extra={"workflow": watched.workflow, "instance": watched.id})
                faulthandler.dump_traceback(file=sys.__stderr__) if sys.__stderr__ is not None else None
                _interrupt(self._runner, RunStalled)
                return
        if blocked > 2 * self._stall_seconds:
            self._give_up(f"run() of {watched.workflow}/{watched.id} blocks and cannot be interrupted")

    def _give_up(self, reason: str) -> None:
        if not self._hopeless:
            self._hopeless = True
            _log.critical("worker gives up", extra={"reason": reason})
            self._on_hopeless(reason)


def _cpu_seconds_of(thread: threading.Thread) -> float:
    """How long a thread has computed; 0 where the system does not say."""
    clock_of = getattr(time, "pthread_getcpuclockid", None)
    if clock_of is None or thread.ident is None or not thread.is_alive():
        return 0.0
    return time.clock_gettime(clock_of(thread.ident))


def _interrupt(thread: threading.Thread, exception: type[BaseException] | None) -> None:
    """Raise in another thread at its next bytecode; None takes a pending one back."""
    target = ctypes.py_object(exception) if exception is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), target)
