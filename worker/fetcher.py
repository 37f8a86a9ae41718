"""Takes doorbells off one queue and claims what they stand for, on a connection of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import redis

from worker.claim import Known, LeaseLost, Task, claim, decline, pop_call, popped
from worker.lease import Lease
from worker.vital import vital
from workflows.clock import monotonic
from workflows.storage import nonces
from workflows.storage.aside import displace, is_about_data
from workflows.storage.keys import Instance, Intent, rq_failed, rq_handover, rq_queue
from workflows.storage.outage import is_full
from workflows.storage.stages import CLAIM
from workflows.storage.store import Store
from workflows.telemetry import metrics
from workflows.telemetry.figures import figures

_log = logging.getLogger("workflows.worker")

BLOCK_SECONDS = 1.0
_CLAIM = (CLAIM.name,)
BACKOFF_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)


class Taker(Protocol):
    """Who the claimed tasks are for: the engine."""

    # Held during a claim, so that there is one at a time. Reconcile takes it too: it must not give back what a claim
    # is just getting.
    claiming: threading.Lock
    draining: threading.Event

    def wait_for_room(self) -> int:
        """How many attempts may be claimed; waits for at least one, or for the drain."""

    def reserving(self, intents: Sequence[Intent]) -> AbstractContextManager[list[Intent]]:
        """Keeps a slot for each attempt among these as far as there are slots by now; gives what may be claimed."""

    def known(self, instance: Instance) -> Known | None:
        """How far an instance has been replayed here."""

    def accept(self, tasks: Sequence[Task]) -> None:
        """Take over what was claimed."""

    def reconnected(self) -> None:
        """A connection failed and works again: a claim's reply may be lost."""


class Fetcher(threading.Thread):
    """One queue: block until a doorbell rings, take as many as there is room for, claim.

    Args:
        workflows: names this worker has code for; others are put back.
        on_death: called with the reason when it ends although nobody asked it to.
        claims_at_once: see ``Settings``.
    """

    def __init__(
        self,
        queue: str,
        connect: Callable[[], Store],
        lease: Lease,
        taker: Taker,
        workflows: Collection[str],
        on_death: Callable[[str], None],
        *,
        claims_at_once: bool,
    ) -> None:
        super().__init__(target=vital(f"fetch-{queue}", self._fetch, on_death), name=f"fetch-{queue}", daemon=True)
        self._queue = queue
        self._connect = connect
        self._lease = lease
        self._taker = taker
        self._workflows = workflows
        self._claims_at_once = claims_at_once
        # Of what this thread may be claiming at this moment, under one call with its doorbell.
        self.token = nonces.token()

    def _fetch(self) -> None:
        store = self._connect()
        name = store.keys.queue(self._queue)
        failures = 0
        left: list[Intent] = []
        while not self._taker.draining.is_set():
            room = self._taker.wait_for_room()
            if room <= 0:
                continue
            try:
                # What there was no room for any more goes first. Somebody else may have it by then: it is rung again.
                intents, left = left or self._pop(store, name, room), []
                if intents:
                    left = self._claim(store, intents)
                if failures:
                    self._taker.reconnected()
                failures = 0
            except redis.RedisError as error:
                figures.count(metrics.RECONNECTS)
                # That there is no room may be so for days, and is said once.
                if failures == 0 or not is_full(error):
                    _log.warning("redis failed", extra={"queue": self._queue, "error": error})
                if is_about_data(error):
                    self._mend(store, name)
                self._taker.draining.wait(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])
                failures += 1
        store.close()

    def _pop(self, store: Store, name: str, most: int) -> list[Intent]:
        """Returns: what is still to be claimed."""
        worker, token = self._lease.worker, self.token
        at_once = self._workflows if self._claims_at_once else ()
        call = pop_call(store.keys, name, most, at_once, worker, token)
        try:
            answer = store.execute_after_blocking_move(rq_queue(name), rq_handover(name), BLOCK_SECONDS, call)
            found = popped(store, answer, worker, token, self._taker.known)
            if found.task is not None:
                self._taker.accept([found.task])
        finally:
            # Also where the answer was lost: what is held under the old one is given back then.
            self.token = nonces.token()
        for ms in found.waited_ms:
            figures.observe(metrics.QUEUE_SECONDS, (self._queue,), ms / 1000)
        for id in found.forged:
            _log.error("forged job refused", extra={"job": id, "queue": name})
        intents = found.intents
        unknown = [intent for intent in intents if intent.workflow not in self._workflows]
        if unknown:
            # Old code, or another app on the same queue: not ours to judge (F24).
            decline(store, unknown)
            _log.warning("unknown workflow put back", extra={"workflow": unknown[0].workflow, "count": len(unknown)})
            intents = [intent for intent in intents if intent.workflow in self._workflows]
        return intents

    def _mend(self, store: Store, name: str) -> None:
        """RQ's keys hold nothing that would be lost with them: doorbells are rung again (I11)."""
        try:
            displace(store, {rq_queue(name): "list", rq_handover(name): "list", rq_failed(name): "zset"})
        except redis.RedisError:
            _log.info("tried again later", exc_info=True)

    def _claim(self, store: Store, intents: Sequence[Intent]) -> list[Intent]:
        """Returns: those that there is no room for; steps may have been born since the doorbells were waited for."""
        with self._taker.claiming, self._taker.reserving(intents) as wanted:
            try:
                began = monotonic()
                tasks = claim(store, self._lease.worker, wanted, self._taker.known)
                figures.count(metrics.STAGE_SECONDS, _CLAIM, monotonic() - began)
                figures.count(metrics.STAGE_PASSES, _CLAIM)
                self._taker.accept(tasks)
            except LeaseLost:
                self._lease.renew_identity()
        if len(wanted) == len(intents):
            return []
        claimed = frozenset(wanted)
        return [intent for intent in intents if intent not in claimed]
