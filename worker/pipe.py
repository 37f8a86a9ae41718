"""What a worker process tells its parent, over a pipe: that it is alive, and what should have a process of its own.

One line each: an empty one is a sign of life, any other the held member of a suspect (``keys.Held``). A line is shorter
than what a pipe takes at once, so lines of several threads do not mix.
"""

from __future__ import annotations

import os
import threading
import time

from workflows.storage.keys import Held

PULSE_SECONDS = 0.5
_CHUNK_BYTES = 65_536


class PipeToParent:
    """The worker's end. Never blocks: a frozen parent must not freeze its children."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)

    def show_life(self) -> None:
        """Say from now on, again and again, that this process is alive."""
        threading.Thread(target=self._pulse, name="pulse", daemon=True).start()

    def ask_to_isolate(self, held: Held) -> bool:
        """Ask for a process of its own for something this worker holds. Returns: whether the request is on its way."""
        try:
            os.write(self._descriptor, f"{held.member}\n".encode())
        except OSError:
            return False
        return True

    def _pulse(self) -> None:
        """Any thread would do: what matters is that it gets the interpreter now and then."""
        while True:
            try:
                os.write(self._descriptor, b"\n")
            except BlockingIOError:
                pass  # The parent is frozen; it will find plenty to read.
            except OSError:
                return
            time.sleep(PULSE_SECONDS)


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

    def read(self) -> tuple[bool, list[str]]:
        """Returns: whether anything was heard, and the members of suspects."""
        try:
            heard = os.read(self._descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            return False, []
        self.is_closed = not heard
        *lines, self._rest = (self._rest + heard).split(b"\n")
        return bool(heard), [line.decode() for line in lines if line]

    def close_given(self) -> None:
        os.close(self.given)

    def close(self) -> None:
        os.close(self._descriptor)
