"""Tells somebody who blocks from somebody who is kept from running."""

from __future__ import annotations

# A look that comes later than this was itself kept from running.
LOOK_SECONDS_MAX = 0.06


class Patience:
    """For how long something has been waited for, seen by a thread that looks every few hundredths of a second.

    When that thread comes late, the machine is busy, was paused, or somebody holds the interpreter; whoever is waited
    for may have had no chance to run either. So a look counts for a short while only, however late it comes.
    """

    def __init__(self) -> None:
        self.waited = 0.0
        self._last = 0.0

    def begin(self, now: float) -> None:
        """From now on it is something new that is waited for."""
        self.waited, self._last = 0.0, now

    def look(self, now: float) -> float:
        """It is still waited for. Returns: for how long by now, in seconds."""
        self.waited += min(now - self._last, LOOK_SECONDS_MAX)
        self._last = now
        return self.waited
