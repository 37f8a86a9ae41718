"""Tells observers, on threads that nobody waits for."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from workflows import limits
from workflows.authoring.observer import NOUNS, Noun, Observer, Transition
from workflows.clock import monotonic

_log = logging.getLogger("workflows.observers")

SAID_EVERY_SECONDS = 60.0
# Between two looks: a thread that is woken at each transition takes more from the steps beside it than what it does.
PAUSE_SECONDS = 0.02


class Observation:
    """What the observers of an app are told in this process.

    Their threads begin with the first ``start``; a process that was forked since has to call it again.
    """

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._couriers = [_Courier(one) for one in observers]
        self._starting = threading.Lock()

    def wants(self, noun: Noun) -> bool:
        """Whether anybody has a method for it."""
        return any(noun in courier.nouns for courier in self._couriers)

    def start(self) -> None:
        """Begin to tell. Called again: nothing."""
        with self._starting:
            for courier in self._couriers:
                courier.start()

    def tell(self, noun: Noun, transition: Transition) -> None:
        """Have it told soon; returns at once, from whatever thread."""
        for courier in self._couriers:
            if noun in courier.nouns:
                courier.put(noun, transition)

    def drain(self, seconds: float) -> None:
        """Wait until all is told that was to be told before, for so long at most."""
        until = monotonic() + seconds
        told = [courier.mark() for courier in self._couriers]
        for courier, one in zip(self._couriers, told, strict=True):
            courier.leave(in_time=one.wait(max(0.0, until - monotonic())))


class _Courier:
    """Tells one observer."""

    def __init__(self, observer: Observer) -> None:
        self.nouns = frozenset(
            noun for noun in NOUNS if getattr(type(observer), f"on_{noun}") is not getattr(Observer, f"on_{noun}")
        )
        self._observer = observer
        self._name = type(observer).__qualname__
        self._thread: threading.Thread | None = None
        self._queue: queue.SimpleQueue[tuple[Noun, Transition] | threading.Event] = queue.SimpleQueue()
        self._failed: set[Noun] = set()
        self._dropped = 0
        self._say_at = 0.0

    def start(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        # Another one: what a fork has copied is told where it happened.
        self._queue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(self._queue,), name="observer", daemon=True)
        self._thread.start()

    def put(self, noun: Noun, transition: Transition) -> None:
        if self._queue.qsize() < limits.OBSERVER_TRANSITIONS:
            self._queue.put((noun, transition))
            return
        self._dropped += 1
        if monotonic() >= self._say_at:
            self._say_at = monotonic() + SAID_EVERY_SECONDS
            self._say_dropped()

    def mark(self) -> threading.Event:
        """Set when all is told that was to be told before."""
        told = threading.Event()
        self._queue.put(told)
        return told

    def leave(self, *, in_time: bool) -> None:
        if not in_time:
            self._dropped += max(0, self._queue.qsize() - 1)  # without the mark
        self._say_dropped()

    def _say_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            _log.warning("observer falls behind", extra={"observer": self._name, "not_told": dropped})

    def _run(self, waiting: queue.SimpleQueue[tuple[Noun, Transition] | threading.Event]) -> None:
        while True:
            item = waiting.get()
            with suppress(queue.Empty):
                while True:
                    if isinstance(item, threading.Event):
                        item.set()
                    else:
                        self._tell(*item)
                    item = waiting.get_nowait()
            time.sleep(PAUSE_SECONDS)

    def _tell(self, noun: Noun, transition: Transition) -> None:
        try:
            getattr(self._observer, f"on_{noun}")(transition)
        except BaseException:
            # User code: SystemExit included, which would end this thread. Once, or each transition would be a line.
            if noun not in self._failed:
                self._failed.add(noun)
                _log.exception("observer failed", extra={"observer": self._name, "method": f"on_{noun}"})
