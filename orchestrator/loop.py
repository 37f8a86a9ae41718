"""One loop: something arrived, or something is due.

Every transition that leaves work for the orchestrator pushes one element onto its shard's wake list; the loop blocks on
the wake lists of the shards in hand until the next timer. A lost wake-up costs one poll. Everything the loop does is
decided again inside the scripts, so two orchestrators, stale lists and crashes anywhere cost time only (I10, M6).
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterable, Iterator

import redis

from orchestrator import dispatch, inbox, reaper, relay, schedules, sweep, timers, unfinished
from orchestrator.lifelines import Lifelines
from orchestrator.shards import RENEW_SECONDS, Shards
from workflows.clock import monotonic
from workflows.errors import WorkflowError
from workflows.health import Health
from workflows.store import Store, call_on, script

_DISPATCH = script(dispatch.HERE / "dispatch.lua")
_log = logging.getLogger("workflows.orchestrator")

POLL_SECONDS = 1.0
SWEEP_SECONDS = 60.0
# Of a busy namespace, looking for lost work takes no more than this part of the time.
SWEEP_SHARE = 0.05
BATCH = 500
# An unclaimed intent is looked at again after this long: its doorbell may be lost.
RING_AGAIN_MS = 2_000
BACKOFF_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)


def default_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


class Orchestrator:
    """Moves the instances of one namespace forward. Holds no user code and no state worth saving.

    Args:
        store: its connection must not repeat commands by itself.
        bridge: False to leave the pub/sub channel to others.
    """

    def __init__(self, store: Store, *, name: str | None = None, bridge: bool = True) -> None:
        self.store = store
        self.name = name or default_name()
        self.shards = Shards(store, self.name)
        self._stop = threading.Event()
        self._bridged = bridge
        self._next_timer: dict[int, int] = {}
        self._renew_at = self._poll_at = self._sweep_at = 0.0
        self._sweeps: list[Iterator[int]] = []
        self._sweeping_since = 0.0
        self._lifelines = Lifelines()
        self._connected = False
        self._health = Health()

    def connect(self) -> None:
        """Take free shards in hand. ``run`` does it by itself; a caller may do it before, to know that they are.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        self._renew(monotonic())
        self._connected = True

    def stop(self) -> None:
        """Ask the loop to end; it does within a poll."""
        self._stop.set()

    def run(self) -> None:
        """Tend shards until ``stop``. Survives every failure of Redis."""
        failures = 0
        listener = threading.Thread(target=self._listen, name="bridge", daemon=True)
        if self._bridged:
            listener.start()
        while not self._stop.is_set():
            try:
                if not self._connected:
                    self.connect()
                if failures:
                    _log.warning("redis is back", extra={"failures": failures})
                failures = 0
                while not self._stop.is_set():
                    self.look(wait=True)
            except redis.RedisError as error:
                # What happened to the last call is unknown; nothing remembered counts any more (F42, F47).
                self._health.alive()
                self._connected = False
                self._sweeps.clear()
                self.shards.forget()
                self._lifelines.forget()
                self._next_timer.clear()
                _log.warning("redis failed", extra={"error": str(error), "failures": failures})
                self._stop.wait(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])
                failures += 1
        try:
            self.shards.leave()
        except redis.RedisError:
            _log.info("leases left to expire")
        if self._bridged:
            listener.join(2 * POLL_SECONDS)  # it reads from a connection that whoever called this may close

    def look(self, *, wait: bool = False) -> None:
        """One round: renew, then tend whatever woke up or fell due. ``wait`` blocks until there is something."""
        self._health.alive()
        now = monotonic()
        if now >= self._renew_at:
            self._renew(now)
        if now >= self._poll_at or not wait:
            self._poll_at = now + POLL_SECONDS
            self._poll()
        self._sweep(now)
        clock = self.store.clock.now_ms()
        for shard in [shard for shard, due in self._next_timer.items() if due <= clock]:
            self.tend(shard)
        if wait:
            for shard in self._wait():
                self.tend(shard)

    def tend(self, shard: int) -> None:
        """Do everything there is to do in one shard."""
        if shard not in self.shards.since:
            # Given up: a timer remembered here would make the loop spin.
            self._next_timer.pop(shard, None)
            return
        while True:
            arguments = {"t": self.shards.token, "n": BATCH, "u": unfinished.BATCH, "again": RING_AGAIN_MS}
            answer = self.store.call(call_on(self.store.keys, _DISPATCH, shard, [], arguments))
            if answer[0] == b"lost":
                self.shards.since.pop(shard, None)
                self._next_timer.pop(shard, None)
                return
            now, intents, due, following, dead, relayed, retiring, _, _, left = answer
            self.store.clock.observe(int(now))
            if intents:
                dispatch.ring(self.store, shard, [member.decode() for member in intents])
            if due:
                timers.fire(self.store, shard, [member.decode() for member in due])
            for worker in dead:
                reaper.reap(self.store, shard, worker.decode())
            if relayed:
                relay.deliver(self.store, shard)
            if retiring:
                sweep.retire(self.store, shard, [member.decode() for member in retiring])
            if left:
                unfinished.go_on(self.store, shard, left)
            if following == b"":
                self._next_timer.pop(shard, None)
            else:
                self._next_timer[shard] = int(following)
            if not (due or dead or relayed or left or len(intents) == BATCH):
                return

    def _renew(self, now: float) -> None:
        self._renew_at = now + RENEW_SECONDS
        new = self.shards.maintain()
        if new:
            self._poll_at = 0.0
            self._begin_sweep(new, now)

    def _begin_sweep(self, shards: Iterable[int], now: float) -> None:
        if not self._sweeps:
            self._sweeping_since = now
        self._sweeps += [sweep.pages(self.store, shard) for shard in shards]

    def _sweep(self, now: float) -> None:
        """One page a round: what wakes up or falls due does not wait until everything has been looked over."""
        if now >= self._sweep_at and not self._sweeps:
            self._begin_sweep(self.shards.since, now)
        while self._sweeps and next(self._sweeps[-1], None) is None:
            self._sweeps.pop()
            took = monotonic() - self._sweeping_since
            self._sweep_at = monotonic() + max(SWEEP_SECONDS, took / SWEEP_SHARE)

    def _poll(self) -> None:
        for shard in list(self.shards.since):
            self.tend(shard)
        if 0 in self.shards.since:
            self._lifelines.look(self.store)
            schedules.tick(self.store, self.store.clock.now_ms())
            while inbox.apply(self.store) == inbox.BATCH:
                pass

    def _wait(self) -> list[int]:
        """Block until a shard wakes, a timer is due or a poll is. Returns: the shards that woke."""
        names = {self.store.keys.shard_key(shard, "wake"): shard for shard in self.shards.since}
        if self._sweeps:
            found = self.store.commands([["LPOP", name] for name in names])
            return [shard for shard, element in zip(names.values(), found, strict=True) if element is not None]
        until = min(self._renew_at, self._poll_at) - monotonic()
        alarm = None
        if self._next_timer:
            first = min(self._next_timer, key=lambda shard: self._next_timer[shard])
            due = (self._next_timer[first] - self.store.clock.now_ms()) / 1000
            if due < until:
                until, alarm = due, self.store.keys.shard_key(first, "wake")
        if not names:
            self._stop.wait(max(0.01, until))
            return []
        if until <= 0:
            return []
        woken = self.store.pop_first(list(names), until, alarm=alarm)
        return [] if woken is None else [names[woken]]

    def _listen(self) -> None:
        """The bridge from plain PUBLISH: as lossy as pub/sub, but never doubled."""
        while not self._stop.is_set():
            try:
                with self.store.redis.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
                    channel.subscribe(self.store.events_channel)
                    while not self._stop.is_set():
                        message = channel.get_message(timeout=POLL_SECONDS)
                        if message is not None:
                            self._bridge(message["data"])
            except redis.RedisError as error:
                _log.warning("bridge lost redis", extra={"error": str(error)})
                self._stop.wait(POLL_SECONDS)

    def _bridge(self, data: bytes) -> None:
        try:
            answer = inbox.bridge(self.store, self.shards.token, data)
        except (WorkflowError, inbox.Refused) as error:
            _log.warning("published event refused", extra={"reason": str(error)})
        else:
            if answer != "not-owner":
                _log.info("published event", extra={"answer": answer})
