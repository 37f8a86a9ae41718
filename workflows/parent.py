"""Ends a process when the one that started it is gone: for children of ``workflows dev``, killed or not.

Only where asked for by the environment: a process started from a shell must outlive that shell.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

VARIABLE = "WORKFLOWS_PARENT"
LOOK_SECONDS = 0.5


def end_with_parent(stop: Callable[[], None]) -> None:
    """Call ``stop`` once the process named by ``WORKFLOWS_PARENT`` is no longer this one's parent; else do nothing."""
    expected = os.environ.pop(VARIABLE, "")
    if not expected.isdigit():
        return

    def watch() -> None:
        waiting = threading.Event()
        while os.getppid() == int(expected):
            waiting.wait(LOOK_SECONDS)
        stop()

    threading.Thread(target=watch, name="parent", daemon=True).start()
