"""A process's order to end, as signals give it.

``threading.Event`` must not be set by a signal's handler: that runs in the main thread between any two of its steps,
also while this thread holds the event's lock to wait for it, and would then wait for itself for ever.
"""

from __future__ import annotations

import queue
import signal
from typing import Any


class Stop:
    """Like an event that is never cleared, and may be set by a signal's handler."""

    def __init__(self) -> None:
        self._is_set = False
        # Its C code promises that a put may come in the middle of a get of the same thread.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    def on_signals(self) -> None:
        """From now on SIGTERM and SIGINT set it."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self.set)

    def set(self, *_: Any) -> None:
        self._is_set = True
        self._bell.put(None)

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Until it is set, at most for so long. Returns: whether it is."""
        if not self._is_set:
            try:
                self._bell.get(timeout=seconds)
            except queue.Empty:
                return self._is_set
            self._bell.put(None)  # for whoever else waits
        return self._is_set
