"""Notices that worker processes are gone by their connections, sooner than their leases run out.

A process that ends closes its connections, wherever it ran and whoever killed it. Each worker has registered the one
that it renews its lease over, and watches it: where it is cut and the worker lives, a new one is registered at once. So
a connection that is missing at two looks in a row and has no successor belongs to nobody any more. A machine that
vanishes without a word leaves its connections open, as a frozen process does: that is what leases are for.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import redis

from workflows.storage import processes
from workflows.storage.processes import Whereabouts
from workflows.storage.store import Store

_log = logging.getLogger("workflows.orchestrator")


class Lifelines:
    """What one orchestrator has seen of workers' connections since it has been connected itself."""

    def __init__(self) -> None:
        self._run = ""
        self._missing: set[tuple[str, int]] = set()
        self._allowed = True

    def forget(self) -> None:
        """After a reconnect the server may be another one, whose numbers mean other connections."""
        self._run = ""
        self._missing.clear()

    def look(self, store: Store) -> int:
        """Bury those whose connection was missing the last time as well; about once a second.

        Returns: how many were buried. Raises: redis.RedisError.
        """
        if not self._allowed:
            return 0
        places = processes.registered(store)
        try:
            missing = self._missing_of(store, places)
        except redis.ResponseError as error:
            # A user that may not list clients; leases do without.
            _log.info("connections are not watched", extra={"error": error})
            self._allowed = False
            return 0
        gone = [worker for worker, line in missing & self._missing]
        self._missing = {(worker, line) for worker, line in missing if worker not in gone}
        if gone:
            processes.bury(store, gone, "gone")
            _log.warning("workers gone", extra={"workers": ",".join(gone)})
        self._drop_dead(store, [worker for worker in places if worker not in gone])
        return len(gone)

    def _missing_of(self, store: Store, places: Mapping[str, Whereabouts]) -> set[tuple[str, int]]:
        """Workers whose connection to this run of the server is closed, with its number."""
        if places and not self._run:
            self._run = processes.server_run(store)
        lines = {(worker, place.line) for worker, place in places.items() if place.line and place.server == self._run}
        if not lines:
            return set()
        clients = store.command("CLIENT LIST", "ID", *{line for _, line in lines})
        there = {int(client["id"]) for client in clients}
        return {(worker, line) for worker, line in lines if line not in there}

    def _drop_dead(self, store: Store, workers: list[str]) -> None:
        """Forget where workers lived that have no lease any more."""
        if workers:
            scores = store.command("ZMSCORE", store.keys.shard_key(0, "workers"), *workers)
            processes.forget(store, [worker for worker, score in zip(workers, scores, strict=True) if score is None])
