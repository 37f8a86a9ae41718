"""What a worker process tells its parent, over a pipe: that it is alive, what should have a process of its own, and
what it has counted.

One line each: an empty one is a sign of life, ``telling.py`` knows its own, any other is the held member of a suspect
(``keys.Held``). A line is shorter than what a pipe takes at once, so lines of several threads do not mix.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from workflows.clock import monotonic
from workflows.storage.keys import Held
from workflows.telemetry.telling import TELL_SECONDS, Telling, is_told

PULSE_SECONDS = 0.5
_CHUNK_BYTES = 65_536


class PipeToParent:
    """The worker's end. Never blocks: a frozen parent must not freeze its children."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)

    def show_life(self, telling: Telling | None = None) -> None:
        """Say from now on, again and again, that this process is alive; and what it has counted, if it shall."""
        threading.Thread(target=self._pulse, args=(telling,), name="pulse", daemon=True).start()

    def tell(self, telling: Telling) -> None:
        """Say what has been counted since the last time."""
        telling.tell(self._write)

    def _write(self, line: bytes) -> bool:
        try:
            os.write(self._descriptor, line + b"\n")
        except OSError:
            return False
        return True

    def ask_to_isolate(self, held: Held) -> bool:
        """Ask for a process of its own for something this worker holds. Returns: whether the request is on its way."""
        return self._write(held.member.encode())

    def _pulse(self, telling: Telling | None) -> None:
        """Any thread would do: what matters is that it gets the interpreter now and then."""
        tell_at = 0.0
        while True:
            try:
                os.write(self._descriptor, b"\n")
            except BlockingIOError:
                pass  # The parent is frozen; it will find plenty to read.
            except OSError:
                return
            if telling is not None and monotonic() >= tell_at:
                tell_at = monotonic() + TELL_SECONDS - PULSE_SECONDS / 2
                self.tell(telling)
            time.sleep(PULSE_SECONDS)


class Heard(NamedTuple):
    """What a child has said.

    Attributes:
        anything: whether it has said anything at all.
        members: of suspects.
        told: lines of what it has counted.
    """

    anything: bool = False
    members: Sequence[str] = ()
    told: Sequence[bytes] = ()


class PipeFromChild:
    """The parent's end.

    Attributes:
        given: the end that the child inherits; close it here once the child has it.
        is_closed: the child has closed its end, by ending or by mistake.
    """

    def __init__(self) -> None:
        self._descriptor, self.given = os.pipe()
        os.set_blocking(self._descriptor, False)
        self.is_closed = False
        self._rest = b""

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> Heard:
        """What has come since the last time, or some of it."""
        try:
            heard = os.read(self._descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            return Heard()
        self.is_closed = not heard
        *lines, self._rest = (self._rest + heard).split(b"\n")
        members = [line.decode() for line in lines if line and not is_told(line)]
        return Heard(bool(heard), members, [line for line in lines if is_told(line)])

    def close_given(self) -> None:
        os.close(self.given)

    def close(self) -> None:
        os.close(self._descriptor)
