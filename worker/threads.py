"""Threads for plain callbacks: started when needed, kept, never waited for at exit.

The pool of the standard library makes a future, with its locks, for every call, and joins its threads when the process
exits: one callback that never returns would keep a worker alive for ever.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from worker.vital import vital

_Call = tuple[Callable[[Any], None], Any]


class Threads:
    """At most ``size`` daemon threads; more calls than that wait.

    Args:
        after: called on the same thread after each call. It may submit others, and ask whether there is one to run.
        on_death: called with the reason if a call raises in spite of its promise.
    """

    def __init__(self, size: int, after: Callable[[], None], on_death: Callable[[str], None]) -> None:
        self._size = size
        self._after = after
        self._on_death = on_death
        self._mine = _Mine()
        self._calls = _Calls()
        self._started = 0
        # An element for each thread that has nothing to do. Taking and adding one is a single operation of the
        # interpreter; for a lock here all threads would queue up.
        self._idle: list[None] = []

    def submit(self, call: Callable[[Any], None], argument: Any) -> None:
        """Run ``call(argument)``, which must not raise, on some thread: the calling one if it is one of these and has
        nothing to run yet. For one thread at a time."""
        mine = self._mine
        if mine.is_one and mine.call is None:
            mine.call = call, argument
            return
        if self._idle:
            self._idle.pop()
        elif self._started < self._size:
            self._started += 1
            work = vital("step", self._work, self._on_death)
            threading.Thread(target=work, name=f"step-{self._started}", daemon=True).start()
        self._calls.put((call, argument))

    def close(self) -> None:
        """Let the threads end; those inside a call end after it."""
        for _ in range(self._started):
            self._calls.put(None)

    @property
    def are_mine(self) -> bool:
        """Whether the calling thread is one of them."""
        return self._mine.is_one

    @property
    def has_call(self) -> bool:
        """Whether the calling thread has a call to run that no other will."""
        return self._mine.call is not None

    def _work(self) -> None:
        mine = self._mine
        mine.is_one = True
        while (call := mine.call or self._calls.get()) is not None:
            mine.call = None
            call[0](call[1])
            mine.call = self._waiting()
            self._after()
            if mine.call is None:
                self._idle.append(None)

    def _waiting(self) -> _Call | None:
        """A call that no thread has taken up yet, although one may have been woken for it: this one is faster."""
        try:
            call = self._calls.get_nowait()
        except IndexError:
            return None
        if call is None:  # an end, which is for whoever waits
            self._calls.put(None)
        else:
            self._idle.append(None)  # whoever was woken has nothing to do
        return call


class _Mine(threading.local):
    """What a thread knows of itself."""

    is_one = False
    call: _Call | None = None


class _Calls:
    """A queue that wakes one thread at a time, which wakes the next if there is more when it has got to run.

    Most calls are over before another thread has been woken, so one takes many. ``queue.SimpleQueue`` worked so until
    Python 3.13, which hands each item to a waiting thread of its own: six times the context switches.
    """

    def __init__(self) -> None:
        self._items: deque[_Call | None] = deque()
        # Locked: nobody is on the way to look. Whoever adds unlocks it afterwards, and whoever waits looks after having
        # locked it, so nothing is overlooked.
        self._gate = threading.Lock()
        self._gate.acquire()

    def put(self, item: _Call | None) -> None:
        self._items.append(item)
        self._open()

    def get(self) -> _Call | None:
        """Take the first one; wait for it."""
        while True:
            try:
                item = self._items.popleft()
            except IndexError:
                self._gate.acquire()
                continue
            if self._items:
                self._open()
            return item

    def get_nowait(self) -> _Call | None:
        """Take the first one. Raises IndexError: there is none."""
        return self._items.popleft()

    def _open(self) -> None:
        if self._gate.locked():
            try:
                self._gate.release()
            except RuntimeError:
                pass  # Another thread was faster.
