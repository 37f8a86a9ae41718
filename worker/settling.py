"""Settles outcomes; where nothing else is going on in the instance, what follows goes along (a fused turn)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from worker.arrivals import Finished
from worker.attempt import Attempt
from worker.beginnings import Beginnings
from worker.deciding import Deciding
from worker.in_flight import InFlight
from worker.replays import Replays
from worker.rounds import Round, is_large
from worker.slots import Slots
from worker.transitions import Committed, Transitions
from worker.warm import WarmReplay
from workflows.storage.records import Decision

# What settle.lua answers.
STALE, SETTLED, FUSED, FUSED_EAGER, LOST = 0, 1, 2, 3, 4


class Settling:
    """Used by whoever leads the engine.

    Args:
        lose: called with an attempt whose stream was lost before it was the result; it has failed.
        ahead: whether to decide together with the outcome at all.
    """

    def __init__(
        self,
        deciding: Deciding,
        replays: Replays,
        slots: Slots,
        in_flight: InFlight,
        beginnings: Beginnings,
        transitions: Transitions,
        lose: Callable[[Attempt], None],
        *,
        ahead: bool,
    ) -> None:
        self._deciding = deciding
        self._replays = replays
        self._slots = slots
        self._in_flight = in_flight
        self._beginnings = beginnings
        self._transitions = transitions
        self._lose = lose
        self._ahead = ahead

    def settle(self, item: Finished, round: Round, *, lone: bool) -> None:
        """Add an outcome to the round.

        Args:
            lone: whether it is the only item of its instance in this round: at most one may carry a decision.
        """
        attempt, transitions = item.attempt, self._transitions
        settlement = attempt.settlement(item.outcome, item.ended_ms)
        fused: tuple[WarmReplay, Decision] | None = None
        token = ""
        if lone and settlement.entry is not None and self._ahead:
            fused = self._deciding.ahead(attempt, settlement.entry)
        if fused is not None and is_large(fused[1]):
            # Its replay was fed an entry that will be fed again by the turn which sends this in parts.
            fused[0].replay.close()
            fused = None
        if fused is not None:
            warm, decision = fused
            token = self._slots.eager_token(warm, decision, attempt)
            settlement.base, settlement.decision, settlement.eager = warm.replay.position - 1, decision, token

        def answered(answer: list[Any]) -> None:
            code = answer[0]
            if code == LOST:
                if fused is not None:
                    fused[0].replay.close()
                self._lose(attempt)
                return
            if code == STALE:
                transitions.attempt_void(attempt, "late")
            else:
                transitions.attempt_ended(attempt, item.outcome, item.ended_ms)
            if fused is not None and code == FUSED_EAGER:
                # First: in between, a fetcher would see the slot that goes from one to the other.
                self._beginnings.born(
                    attempt.instance, attempt.generation, attempt.worker, *fused, token, int(answer[1])
                )
            self._in_flight.settled(attempt)
            if fused is None:
                return
            warm, decision = fused
            if code in (FUSED, FUSED_EAGER):
                assert settlement.entry is not None
                transitions.turn_committed(
                    Committed(
                        attempt.instance,
                        attempt.generation,
                        warm,
                        decision,
                        settlement.base,
                        (settlement.entry,),
                        int(answer[1]),
                    )
                )
                self._in_flight.withdraw(attempt.instance, attempt.generation, decision)
                self._replays.keep(attempt.instance, warm)
            else:
                # Settled but not fused: this replay was fed an entry at a place which that entry does not have.
                warm.replay.close()

        round.settle(attempt.worker, attempt.instance, settlement, answered)
