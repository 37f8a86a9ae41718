"""What an attempt says of how far it is: said by its callback, on whatever thread, and sent by somebody else."""

from __future__ import annotations

from typing import Any, Final

from workflows import limits
from workflows.values import codec

PAUSE_SECONDS: Final = 1.0
"""Between two that are sent; what is said in between is replaced by what comes after it."""


class Heartbeats:
    """Of one attempt.

    Args:
        before: what an attempt before it has said last, as stored.
    """

    __slots__ = ("_sent_at", "_unsent", "before", "last")

    def __init__(self, before: bytes | None = None) -> None:
        self.before = before
        self.last: bytes | None = None
        self._unsent = False
        self._sent_at = float("-inf")

    def say(self, details: Any, what: str) -> None:
        """Raises: PayloadNotSerializable, PayloadTooLarge."""
        # In this order: whoever takes it away in between sends it, and sends it once more.
        self.last = codec.encode(details, what=what, limit=limits.HEARTBEAT_BYTES)
        self._unsent = True

    def take(self, now: float, pause: float = PAUSE_SECONDS) -> bool:
        """Whether there is something to send now; then the caller does. ``now`` as ``monotonic`` has it."""
        if not self._unsent or now - self._sent_at < pause:
            return False
        self._unsent, self._sent_at = False, now
        return True
