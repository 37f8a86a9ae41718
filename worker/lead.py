"""Who does the engine's work: whichever thread has something for it and finds nobody else at it.

A thread that has just run a callback takes the lead itself, settles its outcome and goes on with the step that is born
by that, so a row of steps stays on one thread. What others bring meanwhile is taken up by whoever leads, in one batch.
The engine's own thread leads when it is rung for: by threads that must not be held up, and by a leader who has a
callback to run, which may take as long as it likes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from worker.arrivals import Arrival, Arrivals

# Where nobody rings, the engine's own thread looks so often whether there is anything to do.
LOOK_SECONDS = 1.0


class Lead:
    """One thread at a time has it.

    Args:
        arrivals: what there is to do.
        work: does it, in one round trip, and answers whether that was the last one. Not called by two threads at once.
        is_wanted: whether the calling thread has something else to do, a callback that nobody else will run.
        shared: whether threads other than the engine's own may lead.
    """

    def __init__(
        self,
        arrivals: Arrivals,
        work: Callable[[list[Arrival]], bool],
        is_wanted: Callable[[], bool],
        *,
        shared: bool,
    ) -> None:
        self._arrivals = arrivals
        self._work = work
        self._is_wanted = is_wanted
        self._shared = shared
        self._taken = threading.Lock()
        self._is_over = False

    def join(self) -> None:
        """Lead for as long as there is something to do and this thread is not wanted elsewhere; nothing when another
        thread leads, which takes up what this one has brought."""
        if self._shared and not self._is_wanted():
            self._lead()
        elif self._arrivals:
            self._arrivals.ring()

    def keep(self, moment: Callable[[], float | None]) -> None:
        """What the engine's own thread does, until the end.

        Args:
            moment: in how many seconds there is work even if nothing arrives; None: not at all.
        """
        while not self._is_over:
            seconds = moment()
            self._arrivals.wait(LOOK_SECONDS if seconds is None else seconds)
            if seconds is None:
                self._lead()
            else:
                with self._taken:
                    self._round()
        self._taken.acquire()  # for good: nobody leads any more

    def _lead(self) -> None:
        # Asked again after the lead was given up: what came in just before that was left to this thread.
        while self._arrivals and not self._is_over and self._taken.acquire(blocking=False):
            try:
                self._round()
            finally:
                self._taken.release()
            if self._is_wanted():
                if self._arrivals:
                    self._arrivals.ring()
                return

    def _round(self) -> None:
        if not self._is_over and self._work(self._arrivals.waiting()):
            self._is_over = True
            self._arrivals.ring()
