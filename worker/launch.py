"""How a parent starts processes.

Workers are fresh interpreters, so that nothing the parent has opened is theirs. A process for a suspect should be there
at once, and there may be dozens: where importing the app has left neither threads nor open files behind, it is a fork
of the parent, which has everything imported; else it is a fresh interpreter too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from worker.parent import Process

_ENDS = (signal.SIGTERM, signal.SIGINT)
_TASKS, _FILES = Path("/proc/self/task"), Path("/proc/self/fd")


def open_files() -> frozenset[str]:
    """The descriptors that are open now, with what they lead to; empty where that cannot be seen."""
    found = set()
    for descriptor in _FILES.glob("*"):
        try:
            found.add(f"{descriptor.name} {descriptor.readlink()}")
        except OSError:
            continue  # That of the look itself.
    return frozenset(found)


def is_forkable(before: frozenset[str]) -> bool:
    """Whether a fork would share nothing that must not be shared: sockets, files, locks that other threads hold.

    Args:
        before: ``open_files()`` before the app was imported.
    """
    return bool(before) and open_files() == before and len(list(_TASKS.glob("*"))) == 1


class Launcher:
    """Starts worker processes.

    Args:
        arguments: the parent's own, which its children read as well.
        fork: runs a suspect, given its held member, the process id of the parent and a pipe, and answers with an exit
            status; None if this parent must not fork.
    """

    def __init__(self, arguments: Sequence[str], fork: Callable[[str, int, int], int] | None) -> None:
        self._command = [sys.executable, "-P", "-m", "worker", *arguments, "--child", str(os.getpid())]
        self._fork = fork

    def worker(self, pipe: int) -> Process:
        return self._spawn(pipe)

    def alone(self, member: str, pipe: int) -> Process:
        return self._spawn(pipe, "--alone", member) if self._fork is None else _Forked(self._fork, member, pipe)

    def _spawn(self, pipe: int, *options: str) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C reaches the parent, which drains the children.
        return subprocess.Popen(  # noqa: S603
            [*self._command, "--pipe", str(pipe), *options], start_new_session=True, pass_fds=(pipe,)
        )


class _Forked:
    """The same for a fork."""

    def __init__(self, run: Callable[[str, int, int], int], member: str, pipe: int) -> None:
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=_end_with, args=(run, member, os.getpid(), pipe))
        # The fork has its parent's handlers. What it is told before it has put them down waits until then.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _end_with(run: Callable[[str, int, int], int], member: str, parent: int, pipe: int) -> None:
    os.setsid()
    for signum in _ENDS:
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS)
    status = os.EX_SOFTWARE
    try:
        status = run(member, parent, pipe)
    finally:
        # Not through the interpreter's own end: a thread of user code that never returns would keep it from ending.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
