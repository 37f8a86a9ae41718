"""One proof of life per worker process, renewed by a thread that user code cannot hold up (M5).

The lease is kept in every shard, because a script can only look into its own. When it is lost (a long freeze, or Redis
forgot it) the worker goes on under a new id, never under the old one: what it held was or will be handed to others.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis

from worker.bounded import within
from worker.vital import vital
from workflows.storage import processes
from workflows.storage.keys import Held
from workflows.storage.processes import Whereabouts
from workflows.storage.store import Store, call_on, script
from workflows.telemetry import metrics
from workflows.telemetry.figures import figures

_RENEW = script(Path(__file__).with_name("renew.lua"))
_log = logging.getLogger("workflows.worker")

RECONCILE_RENEWALS = 10
BACKOFF_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)


class Lease:
    """Keeps a worker alive in the eyes of the scripts.

    Args:
        held: attempts that are in flight; each renewal asks whether Redis still thinks so.
        lost: called with held members that were taken away.
        reconcile: called now and then, to compare all that is held with all that is known: whatever a bug or a lost
            reply left behind would otherwise be held for as long as this worker lives (I10).
        on_death: called with the reason when its thread has died.
        alone: this process runs one step and nothing else, so that it is to blame for its death (F22).
        beat: called after every renewal, for RQ's own heartbeat.
    """

    def __init__(
        self,
        store: Store,
        lease_ms: int,
        held: Callable[[], list[Held]],
        lost: Callable[[Iterable[str]], None],
        reconcile: Callable[[], None],
        on_death: Callable[[str], None],
        *,
        alone: bool = False,
    ) -> None:
        self._alone = alone
        self.worker = self._new_id()
        self.beat: Callable[[], None] = lambda: None
        self._store = store
        self._lease_ms = lease_ms
        self._held = held
        self._lost = lost
        self._reconcile = reconcile
        self._former: set[str] = set()
        self._announced = ("", 0)
        self._registered = False
        self._stop = threading.Event()
        self._wake = os.pipe()
        os.set_blocking(self._wake[0], False)
        weakref.finalize(self, _close, *self._wake)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=vital("lease", self._run, on_death), name="lease", daemon=True)

    @property
    def identities(self) -> tuple[str, ...]:
        """The worker's id, and former ones under which something is still in flight."""
        return (self.worker, *self._former)

    def register(self) -> None:
        """Register in every shard; once is enough. Raises: redis.RedisError."""
        if self._registered:
            return
        self._renew(self.worker, born=True)
        # Before anything is claimed, so that a parent can say who has died of it; the thread adds its connection.
        processes.register(self._store, self.worker, Whereabouts.of(os.getpid(), "", 0))
        self._registered = True

    def start(self) -> None:
        """Register, then renew until stopped. Raises: redis.RedisError."""
        self.register()
        self._store.release()  # from now on it is the lease's own thread that calls
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Leave: nothing is held any more. Where Redis does not answer within this time, the lease runs out."""
        self.kill()
        if not within(seconds, self._leave):
            _log.info("lease left to expire")

    def _leave(self) -> None:
        self._thread.join()
        try:
            for worker in self.identities:
                self._renew(worker, leave=True)
            processes.forget(self._store, self.identities)
        except redis.RedisError:
            _log.info("lease left to expire")

    def kill(self) -> None:
        """End without leaving: the lease stands until it runs out."""
        self._stop.set()
        os.write(self._wake[1], b"1")

    def renew_identity(self) -> None:
        """The lease was lost: register under a new id. What is in flight keeps the old one until it ends."""
        with self._lock:
            self._former.add(self.worker)
            self.worker = self._new_id()
            _log.warning("lease lost", extra={"worker": self.worker})
            self._renew(self.worker, born=True)
        os.write(self._wake[1], b"1")

    def _run(self) -> None:
        renewals = failures = 0
        pause = between = self._lease_ms / 1000 * 0.3
        while not self._stop.is_set():
            try:
                self._announce()
                # A connection that was cut ends the pause: while there is none, this worker looks dead.
                cut = self._store.is_cut(pause, self._wake[0])
                # Nobody knows how much is left of the lease by then: Redis may be back in the state of a while ago.
                pause = 0.0 if cut else between
                with suppress(BlockingIOError):
                    os.read(self._wake[0], 100)
                if not cut and not self._stop.is_set():
                    renewals += 1
                    if renewals % RECONCILE_RENEWALS == 0:
                        self._reconcile()
                    self._renew_all()
                    self.beat()
                failures = 0
            except redis.RedisError as error:
                pause = 0.0
                figures.count(metrics.RECONNECTS)
                _log.warning("lease not renewed", extra={"error": error})
                self._stop.wait(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])
                failures += 1

    def _renew_all(self) -> None:
        with self._lock:
            self._former &= {held.worker for held in self._held()}
            alive = self._renew(self.worker)
            for worker in self._former:
                self._renew(worker)
        if not alive:
            self.renew_identity()

    def _announce(self) -> None:
        """Say where this worker lives, whenever its name or its connection is another one than it was."""
        worker = self.worker
        line = int(self._store.command("CLIENT ID"))
        if self._announced != (worker, line):
            processes.register(
                self._store, worker, Whereabouts.of(os.getpid(), processes.server_run(self._store), line)
            )
            self._announced = (worker, line)

    def _renew(self, worker: str, *, born: bool = False, leave: bool = False) -> bool:
        """One round trip to all shards. Returns: whether the lease stands in all of them."""
        held: dict[int, list[str]] = {}
        for one in self._held():
            if one.worker == worker:
                shard = self._store.keys.instance(one.workflow, one.id).shard
                held.setdefault(shard, []).append(one.member)
        calls = []
        for shard in range(self._store.keys.shards):
            arguments: dict[str, Any] = {"w": worker, "ttl": self._lease_ms, "held": held.get(shard, [])}
            if born:
                arguments["born"] = True
            if leave:
                arguments["leave"] = True
            calls.append(call_on(self._store.keys, _RENEW, shard, [], arguments))
        alive = True
        for shard, answer in enumerate(self._store.call_all(calls)):
            self._store.clock.observe(int(answer[0]))
            if answer[1] == b"lost":
                alive = False
                # With the lease went everything held under it: the attempts are or will be others' now.
                self._lost(held.get(shard, []))
            elif len(answer) > 2:
                self._lost(member.decode() for member in answer[2:])
        return alive

    def _new_id(self) -> str:
        # reap.lua reads the first letter.
        return ("t" if self._alone else "w") + secrets.token_hex(6)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
