"""What a process owes to the one that started it: to end when that one is gone, killed or not, and to wait for Redis
instead of dying of its absence again and again.

Only where a parent is named, by the environment (``workflows dev``) or otherwise: a process started from a shell must
outlive that shell, and tells the person in front of it at once when there is no Redis.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from workflows.errors import ServerUnavailable

Answer = TypeVar("Answer")

VARIABLE = "WORKFLOWS_PARENT"
LOOK_SECONDS = 0.5
PATIENCE_SECONDS = (0.1, 0.2, 0.5, 1.0)


def named() -> int | None:
    """The parent that the environment names; None: nobody watches this process."""
    expected = os.environ.get(VARIABLE, "")
    return int(expected) if expected.isdigit() else None


def patiently(attempt: Callable[[], Answer], parent: int | None, say: Callable[[str], None]) -> Answer:
    """What ``attempt`` returns; with a parent it is tried again while Redis is away.

    Args:
        parent: the parent's process id; when it is gone while waiting, this process ends. None: one attempt.
        say: called once, with what is wrong, when the first attempt has failed.
    Raises:
        ServerUnavailable: waiting does not mend it (a wrong password), or there is no parent.
    """
    tried = 0
    while True:
        try:
            return attempt()
        except ServerUnavailable as error:
            if parent is None or not error.passing:
                raise
            if not tried:
                say(f"waiting for Redis: {error}")
        time.sleep(PATIENCE_SECONDS[min(tried, len(PATIENCE_SECONDS) - 1)])
        tried += 1
        if os.getppid() != parent:
            raise SystemExit(0)


def orphaned() -> Callable[[], bool]:
    """Returns: what tells whether the process named by ``WORKFLOWS_PARENT`` has ended; never, where none is named.

    The variable is taken out of the environment, so that this process's own children are not asked to look for it.
    """
    expected = named()
    os.environ.pop(VARIABLE, None)
    return lambda: expected is not None and os.getppid() != expected


def end_with_parent(stop: Callable[[], None]) -> None:
    """Call ``stop``, on a thread of its own, once this process is orphaned in that sense."""
    if named() is None:
        return
    is_orphan = orphaned()

    def watch() -> None:
        waiting = threading.Event()
        while not is_orphan():
            waiting.wait(LOOK_SECONDS)
        stop()

    threading.Thread(target=watch, name="parent", daemon=True).start()
