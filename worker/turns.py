"""Takes turns: decides over the journal as it stood at the claim, and commits what ``run`` asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from worker.arrivals import Arrivals, Compare, Contradicted, GiveBack
from worker.beginnings import Beginnings
from worker.claim import Task
from worker.deciding import Deciding
from worker.in_flight import InFlight
from worker.replays import Replays
from worker.rounds import Round
from worker.slots import Slots
from worker.transitions import Committed, Transitions
from worker.warm import WarmReplay
from workflows import limits
from workflows.replay.decision import contradiction, told, told_by_entry, told_by_record
from workflows.storage import journal
from workflows.storage.records import Decision
from workflows.storage.store import Store

# What commit.lua answers.
STALE, COMMITTED, ENDED, COMMITTED_EAGER, UNASKED, LOOK = 0, 1, 2, 3, 4, 5


class Turns:
    """Used by whoever leads the engine.

    Args:
        arrivals: where that waits which the answer to a commit asks for.
        recheck: replay once more from the start before an instance ends.
    """

    def __init__(
        self,
        store: Store,
        deciding: Deciding,
        replays: Replays,
        slots: Slots,
        in_flight: InFlight,
        beginnings: Beginnings,
        arrivals: Arrivals,
        transitions: Transitions,
        *,
        recheck: bool,
    ) -> None:
        self._store = store
        self._deciding = deciding
        self._replays = replays
        self._slots = slots
        self._in_flight = in_flight
        self._beginnings = beginnings
        self._arrivals = arrivals
        self._transitions = transitions
        self._recheck = recheck

    def take(self, task: Task, round: Round) -> None:
        """Feed the journal up to where it stood at the claim, and commit what ``run`` asks for.

        Raises:
            Gone, CorruptPayload, NonDeterminismError, RunStalled.
        """
        warm, decision, entries = self._deciding.of_turn(task)
        if self._recheck and warm.resumed and decision.end is not None:
            warm.replay.close()
            warm, decision, entries = self._deciding.of_turn(task, live=False)
        warm.streak = 0
        token = self._slots.eager_token(warm, decision)
        wire: dict[str, Any] = {
            "g": task.generation,
            "t": task.token,
            "b": task.position,
            "f": task.upto,
            "n": warm.nonce,
            "z": warm.weight,
        }
        if token:
            wire["ea"] = token

        self._commit(task, warm, decision, entries, wire, round)

    def _commit(
        self,
        task: Task,
        warm: WarmReplay,
        decision: Decision,
        entries: Sequence[bytes],
        wire: dict[str, Any],
        round: Round,
    ) -> None:
        token = wire.get("ea", "")

        def answered(answer: list[Any]) -> None:
            code = answer[0]
            if code == STALE:
                # Pause, reap or an end revoked it; or it is still ours and only the memory was wrong: give it back.
                self._arrivals.put(GiveBack(task))
                warm.replay.close()
                return
            if code == UNASKED:
                self._arrivals.put(
                    Contradicted(task, contradiction([one.decode(errors="backslashreplace") for one in answer[2]]))
                )
                warm.replay.close()
                return
            if code == LOOK:
                self._arrivals.put(Compare(task, warm, decision, entries, wire))
                return
            self._transitions.turn_committed(
                Committed(task.instance, task.generation, warm, decision, task.position, entries, int(answer[1]))
            )
            self._in_flight.withdraw(task.instance, task.generation, decision)
            if code == COMMITTED_EAGER:
                self._beginnings.born(
                    task.instance, task.generation, task.worker, warm, decision, token, int(answer[1])
                )
            self._replays.keep(task.instance, warm)

        round.commit(task.worker, task.instance, wire, answered, decision)

    def compare(self, item: Compare, round: Round) -> None:
        """Compare what is open or answered with what the code that ends the instance has asked for, page by page.

        While this worker holds the turn nothing is opened, and what is closed becomes an entry: so the records first.
        """
        task = item.task
        asked = frozenset(map(told, item.warm.replay.unanswered()))
        at = item.wire["f"]
        try:
            found = [one for one in map(told_by_record, self._store.open_records(task.instance)) if one not in asked]
            while page := self._store.entries(task.instance, at, at + limits.SCRIPT_ELEMENTS):
                answers = [blob for blob in page if journal.kind_of(blob) != journal.CANCEL]
                found += [one for one in map(told_by_entry, answers) if one not in asked]
                at += len(page)
        except redis.RedisError:
            raise
        except Exception as error:  # what cannot be read
            round.park_for(task.instance, task.held, error)
            return
        if found:
            round.park(task.instance, task.held, contradiction(found), "mismatch")
            item.warm.replay.close()
            return
        decision = item.decision
        assert decision.end is not None
        decision.end.asked, decision.end.compared = None, at
        self._commit(task, item.warm, decision, item.entries, item.wire, round)
