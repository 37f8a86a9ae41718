"""What a process does before it ends, and for no longer than it has time.

A call to a Redis that hangs takes as long as the URL's timeouts allow. Nobody waits for it who has been told to end:
what is left undone runs out by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


def within(seconds: float, call: Callable[[], None]) -> bool:
    """Make a call on a thread of its own, which is left to itself when the time is over.

    Returns: whether the call has come back in time.
    """
    thread = threading.Thread(target=call, name="farewell", daemon=True)
    thread.start()
    thread.join(max(0.0, seconds))
    return not thread.is_alive()
