"""Says whether this thread is executing ``run`` right now, and refuses what a replay could not repeat.

``run`` is executed again and again over its journal, so anything it does to the outside world would be done again and
again. A process-wide audit hook (installed with the first replay; the interpreter offers no way to remove one) looks at
the flag of the current thread and raises before a socket is opened, a process or thread started, a file written.
Imports and reading files are allowed, because they repeat without harm. So is whatever logging and tracing do, whose
handlers open, rotate and reconnect when they please: refused there, records would be lost. Step callbacks run on other
threads and are not touched.

This catches honest mistakes. It is no sandbox: a connection opened earlier can still be written to.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from types import FrameType
from typing import Any, Final

from workflows.errors import ForbiddenInRun

_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_STEP: Final = "Move it into a callback given to step.do(...)."
_FORBIDDEN: Final[dict[str, tuple[str, str]]] = {
    "socket.__new__": ("opened a socket", _STEP),
    "socket.connect": ("connected a socket", _STEP),
    "socket.getaddrinfo": ("looked up a host name", _STEP),
    "urllib.Request": ("requested a URL", _STEP),
    "sqlite3.connect": ("opened a database", _STEP),
    "subprocess.Popen": ("started a process", _STEP),
    "os.system": ("started a process", _STEP),
    "os.fork": ("forked", _STEP),
    "os.forkpty": ("forked", _STEP),
    "os.exec": ("replaced its process", _STEP),
    "os.spawn": ("started a process", _STEP),
    "os.posix_spawn": ("started a process", _STEP),
    "os.startfile": ("started a process", _STEP),
    "_thread.start_new_thread": (
        "started a thread",
        _STEP + " Plain functions given to step.do run in threads anyway.",
    ),
    "_thread.start_joinable_thread": (
        "started a thread",
        _STEP + " Plain functions given to step.do run in threads anyway.",
    ),
    "time.sleep": ("called time.sleep()", 'Use await step.sleep("name", "10 seconds").'),
    "open": ("opened a file for writing", _STEP),
    "os.remove": ("removed a file", _STEP),
    "os.rename": ("renamed a file", _STEP),
    "os.mkdir": ("made a folder", _STEP),
    "os.rmdir": ("removed a folder", _STEP),
}


# Modules that pass on what a program says of itself, with those below them. Not the libraries that wrap the calls of
# others, as instrumentations do: what is wrapped would be exempt as well.
_REPORTING: Final = (
    "logging",
    "loguru._handler",
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "sentry_sdk.transport",
)


class _Thread(threading.local):
    replay: object | None = None


_thread = _Thread()
_installing = threading.Lock()
_installed = False


def current() -> object | None:
    """The replay that is executing ``run`` on this thread, or ``None``."""
    return _thread.replay


class inside:  # noqa: N801  # used like a function; a class, because contextlib's way costs three times as much
    """Mark this thread as executing ``run`` for the length of the block."""

    __slots__ = ("_before", "_replay")

    def __init__(self, replay: object) -> None:
        self._replay = replay

    def __enter__(self) -> None:
        install()
        before = _thread.replay
        # Never inside itself: then an interrupt has kept it from leaving.
        self._before = before if before is not self._replay else None
        _thread.replay = self._replay

    def __exit__(self, *_: object) -> None:
        _thread.replay = self._before


def install() -> None:
    """Add the audit hook to this process, once."""
    global _installed
    if _installed:
        return
    with _installing:
        if not _installed:
            sys.addaudithook(_audit)
            if sys.version_info < (3, 13):
                _announce_unaudited()
            _installed = True


def _announce_unaudited() -> None:
    """Let ``time.sleep`` and ``Thread.start`` tell the hook, as they do by themselves from Python 3.13 on."""
    sleep, start = time.sleep, threading.Thread.start

    @functools.wraps(sleep)
    def checked_sleep(seconds: Any, /) -> None:
        _audit("time.sleep", ())
        sleep(seconds)

    @functools.wraps(start)
    def checked_start(self: threading.Thread) -> None:
        _audit("_thread.start_new_thread", ())
        start(self)

    time.sleep = checked_sleep
    threading.Thread.start = checked_start  # type: ignore[method-assign]


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    # Called for every audited operation of the process, so the common case leaves on the first line.
    rule = _FORBIDDEN.get(event)
    if rule is None or _thread.replay is None:
        return
    if event == "open" and not _is_for_writing(arguments):
        return
    if _is_exempt():
        return
    what, way_out = rule
    raise ForbiddenInRun(f"run() {what} outside a step, which every replay would do again. {way_out}")


def _is_for_writing(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & _WRITING)


def _is_exempt() -> bool:
    """Whether an import is under way, which may write byte code and whose module may do what it likes at its top level;
    or a report."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib._bootstrap"):
            return True
        module = frame.f_globals.get("__name__")
        if module == "workflows.sandbox.loop":
            return False  # run() is called from here, so nothing further out is its doing
        if isinstance(module, str) and any(module == one or module.startswith(f"{one}.") for one in _REPORTING):
            return True
        frame = frame.f_back
    return False
