"""The attempts in flight: begun or about to begin here, until their outcome is settled or nobody waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from worker.arrivals import Arrivals, Lost
from worker.attempt import Attempt
from worker.rounds import Round
from worker.slots import Slots
from worker.transitions import Void
from workflows.storage.keys import Instance
from workflows.storage.records import Decision


class InFlight:
    """Changed by whoever leads the engine, and as attempts end by whatever thread they end on.

    Args:
        cancel: cancels the callback of an attempt; answers whether it had begun.
        void: called with an attempt that had begun when it was taken away, and why.
        draining: set when nothing new begins.
    """

    def __init__(
        self,
        slots: Slots,
        arrivals: Arrivals,
        cancel: Callable[[Attempt], bool],
        void: Callable[[Attempt, Void], None],
        draining: threading.Event,
    ) -> None:
        self._slots = slots
        self._arrivals = arrivals
        self._cancel = cancel
        self._void = void
        self._draining = draining
        self._attempts: dict[str, Attempt] = {}
        self._starting: list[Attempt] = []
        self._given_back: set[str] = set()

    def __len__(self) -> int:
        return len(self._attempts)

    def __contains__(self, token: str) -> bool:
        return token in self._attempts

    @property
    def attempts(self) -> list[Attempt]:
        return list(self._attempts.values())

    # Beginnings and ends ----------------------------------------------------------------------------------------------

    def add(self, attempt: Attempt) -> None:
        """Its callback is started once the round that is under way has come back."""
        self._attempts[attempt.token] = attempt
        self._starting.append(attempt)

    def take_starting(self) -> list[Attempt]:
        """Those whose callbacks are to be started now."""
        starting, self._starting = self._starting, []
        return starting

    def ended(self, attempt: Attempt) -> None:
        """An attempt's code has come to its end. Until its outcome is settled as well it counts as in flight, so that a
        death repeats no more than the concurrency allows."""
        attempt.ended = True
        if attempt.dismissed:
            self._attempts.pop(attempt.token, None)
            if self._draining.is_set():
                self._arrivals.put(Lost(frozenset()))  # the engine may be waiting for the last of them
        if attempt.token not in self._attempts:
            self._slots.free(attempt.token)

    def settled(self, attempt: Attempt) -> None:
        """The outcome is in the journal, or void. Either this or ``ended`` comes last, on whatever thread."""
        self._attempts.pop(attempt.token, None)
        if attempt.ended:
            self._slots.free(attempt.token)

    # Giving back ------------------------------------------------------------------------------------------------------

    def give_back(self, attempt: Attempt, round: Round) -> None:
        """Give an attempt back that has not begun, for others to begin it."""
        attempt.dismissed = True
        if attempt.take_outcome():
            round.release(attempt.instance, attempt.held)
        self.ended(attempt)

    def give_back_all(self, round: Round, *, late: bool) -> None:
        """The drain's grace is over: what still runs goes to others at once, and its late result is void. What has run
        to its end does not: its outcome is on its way, unless it is ``late``."""
        for attempt in self.attempts:
            if attempt.token in self._given_back:
                round.release(attempt.instance, attempt.held, "drain")  # once more, if the round before has failed
            elif not attempt.dismissed and (attempt.take_outcome() or late):
                attempt.dismissed = True
                self._given_back.add(attempt.token)
                begun = self._cancel(attempt)
                if begun:
                    self._void(attempt, "drained")
                if begun:
                    round.beat(attempt)
                round.release(attempt.instance, attempt.held, "drain" if begun else "back")

    # Taken away -------------------------------------------------------------------------------------------------------

    def lose(self, members: frozenset[str]) -> None:
        """Redis took these held members away: cancelled, reaped, restarted, terminated, or taken over as asked."""
        for attempt in self.attempts:
            if attempt.held.member in members:
                self._dismiss(attempt)

    def withdraw(self, instance: Instance, generation: str, decision: Decision) -> None:
        """The same for those that a decision of this worker has withdrawn; an end withdraws all."""
        if not (decision.withdrawn or decision.end):
            return
        withdrawn = {one.seq for one in decision.withdrawn}
        for attempt in self.attempts:
            of_this_life = attempt.instance == instance and attempt.generation == generation
            if of_this_life and (decision.end or attempt.seq in withdrawn):
                self._dismiss(attempt)

    def _dismiss(self, attempt: Attempt) -> None:
        """Once only: a callback that is cleaning up must not be cancelled again whenever Redis says the same."""
        # In this order: the callback may end right now, and sees that it was dismissed if it has no say any more.
        attempt.dismissed = True
        if attempt.take_outcome() and self._cancel(attempt):
            self._void(attempt, "withdrawn")
