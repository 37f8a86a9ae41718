"""The slots of a worker: how many attempts it has at once, and which step may be born here.

A slot is taken from the claim of an attempt, or from before the round trip in which a step may be born, until the
attempt's code has come to its end and its outcome is settled: whichever comes last, on whatever thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager

from worker.attempt import Attempt
from worker.settings import Settings
from worker.warm import WarmReplay
from workflows.clock import monotonic
from workflows.replay.decision import only_step
from workflows.storage import nonces
from workflows.storage.keys import Intent
from workflows.storage.records import Decision

# Fairness: after so many steps in a row of one instance, or after this long, the next one goes through the queue while
# every slot is taken, because then somebody waits.
EAGER_STEPS = 16
EAGER_SECONDS = 1.0
# While there is a free slot nobody waits here; a long row goes through the queue now and then all the same, so that a
# worker with nothing to do may take it over from a busy one.
ROOMY_STEPS = 256


class Slots:
    """As many as ``settings.concurrency``.

    Args:
        draining: set when nothing new is to begin.
        is_blocked: whether a ``run`` is blocking the engine, so that others would wait behind it.
    """

    def __init__(self, settings: Settings, draining: threading.Event, is_blocked: Callable[[], bool]) -> None:
        self._settings = settings
        self._draining = draining
        self._is_blocked = is_blocked
        # By token: attempts in flight, and steps that may be born by the round that is under way.
        self._taken: set[str] = set()
        self._unborn: set[str] = set()
        # Attempts that are being claimed and have no token here yet.
        self._claiming = 0
        self._counting = threading.Lock()
        self._abandoned: set[str] = set()
        self._room = threading.Condition()
        self._starved = False

    def __len__(self) -> int:
        """How many are taken."""
        return len(self._taken)

    def take(self, tokens: Iterable[str]) -> None:
        self._taken.update(tokens)

    def free(self, token: str) -> None:
        self._taken.discard(token)
        # The lock is for fetchers that found no room; taking it at every step would make all threads queue up here.
        if self._starved:
            self.wake()

    def are_free(self, but_for: Set[str]) -> bool:
        """Whether none is taken but by code that ignores its timeout, and by these tokens."""
        return not self._taken - self._abandoned - but_for

    # Of attempts that have timed out ----------------------------------------------------------------------------------

    def abandon(self, token: str) -> None:
        """Its attempt has timed out; its code keeps it until it really ends."""
        self._abandoned.add(token)

    def are_choked(self) -> bool:
        """Whether half of them or more are taken by code that goes on although its attempt has timed out."""
        self._abandoned &= self._taken
        return len(self._abandoned) * 2 >= self._settings.concurrency

    # For claims, on the fetchers' threads -----------------------------------------------------------------------------

    def wait_for_room(self) -> int:
        """How many are free; waits for at least one, or for the drain."""
        if not self._is_open():
            with self._room:
                self._starved = True
                while not self._is_open() and not self._draining.is_set():
                    self._room.wait(0.1)
                self._starved = False
        return self._settings.concurrency - len(self._taken)

    def wake(self) -> None:
        """Have those that wait for room look again."""
        with self._room:
            self._room.notify_all()

    def _is_open(self) -> bool:
        """Whether to claim: there is a slot, and no ``run`` is blocking the engine, which others would wait behind."""
        return len(self._taken) < self._settings.concurrency and not self._is_blocked()

    @contextmanager
    def reserving(self, intents: Sequence[Intent]) -> Iterator[list[Intent]]:
        """Keeps one for each attempt among these as far as there are any by now; gives what may be claimed."""
        attempts = [intent for intent in intents if intent.kind == "a"]
        with self._counting:
            room = max(0, self._settings.concurrency - len(self._taken))
            self._claiming = min(room, len(attempts))
        try:
            too_many = frozenset(attempts[room:])
            yield [intent for intent in intents if intent not in too_many] if too_many else list(intents)
        finally:
            self._claiming = 0

    # For births, by whoever leads the engine --------------------------------------------------------------------------

    def eager_token(self, warm: WarmReplay, decision: Decision, before: Attempt | None = None) -> str:
        """A token for the next step, if this worker may go on with it at once; '' if it goes through the queue.

        Args:
            before: the attempt that is settled together with the decision. The step takes its slot, unless its code
                goes on although it has timed out.
        """
        asked = only_step(decision)
        if asked is None or self._draining.is_set() or asked.queue not in self._settings.queues:
            return ""
        now = monotonic()
        if warm.streak == 0:
            warm.streak_since = now
        crowded = len(self._taken) >= self._settings.concurrency
        is_long = warm.streak >= EAGER_STEPS or now - warm.streak_since > EAGER_SECONDS
        if (crowded and is_long) or warm.streak >= ROOMY_STEPS:
            warm.streak = 0
            return ""
        token = nonces.token()
        inherits = before is not None and (before.ended or before.token not in self._abandoned)
        if not inherits and not self._reserve(token):
            return ""
        warm.streak += 1
        return token

    def _reserve(self, token: str) -> bool:
        """Keep one for a step that may be born in this round. Returns: whether there was one."""
        with self._counting:
            if len(self._taken) + self._claiming >= self._settings.concurrency:
                return False
            self._taken.add(token)
        self._unborn.add(token)
        return True

    def born(self, token: str) -> None:
        """The step is here, and keeps it."""
        self._unborn.discard(token)
        self._taken.add(token)

    def free_unborn(self) -> None:
        """Those of births that the round has not brought: refused, or nobody knows."""
        for token in self._unborn:
            self.free(token)
        self._unborn.clear()
