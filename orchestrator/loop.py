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
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import redis

from orchestrator import dispatch, inbox, reaper, relay, schedules, slots, sweep, timers, unfinished
from orchestrator.append_only_file import AppendOnlyFile
from orchestrator.lifelines import Lifelines
from orchestrator.shards import RENEW_SECONDS, Shards
from workflows.clock import monotonic
from workflows.errors import WorkflowError
from workflows.process.sign_of_life import Health
from workflows.process.stop import Stop
from workflows.storage import aside, doorbell
from workflows.storage.outage import is_full
from workflows.storage.store import Store
from workflows.telemetry import metrics
from workflows.telemetry.figures import figures

_log = logging.getLogger("workflows.orchestrator")

POLL_SECONDS = 1.0
SWEEP_SECONDS = 60.0
# Of a busy namespace, looking for lost work takes no more than this part of the time.
SWEEP_SHARE = 0.05
# So much of that time may be taken in advance: a small namespace is looked over at once after an outage.
SWEEP_BURST_SECONDS = 1.0
# What stands in the keys of the whole namespace is looked at again after this long.
CHECK_SECONDS = 10.0
# Shards that are looked at in one round trip, and whose timers are fired in the next one.
SHARDS_AT_ONCE = 16
# A full Redis is told of once in so long, and not at every poll.
SAY_FULL_SECONDS = 60.0
BACKOFF_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)


def default_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


class Orchestrator:
    """Moves the instances of one namespace forward. Holds no user code and no state worth saving.

    Args:
        store: its connection must not repeat commands by itself.
        bridge: False to leave the pub/sub channel to others.
        permits: whether those who make intents may ring by themselves; False: all that is handed out passes here.
    """

    def __init__(self, store: Store, *, name: str | None = None, bridge: bool = True, permits: bool = True) -> None:
        self.store = store
        self.name = name or default_name()
        self.shards = Shards(store, self.name)
        self._stop = Stop()
        self._bridged = bridge
        self._next_timer: dict[int, int] = {}
        self._lifelines = Lifelines()
        self._file = AppendOnlyFile()
        self._lost: Counter[str] = Counter()
        self._busy: set[int] = set()
        self._inbox = inbox.Inbox(store)
        self._has_requests = False
        self._limits = slots.LimitsInForce()
        self._permits = permits
        self._renew_at = self._poll_at = self._check_at = self._sweep_at = self._page_at = 0.0
        # What is being swept, the last first: a shard, when it lost a key if it has, and the pages still to come.
        self._sweeps: list[tuple[int, Any, Iterator[int]]] = []
        self._mending: set[int] = set()
        self._mended: dict[int, Any] = {}
        self._connected = False
        self._say_full_at = 0.0
        self._health = Health()

    def connect(self) -> None:
        """Take free shards in hand. ``run`` does it by itself; a caller may do it before, to know that they are.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        self._check_at = 0.0
        self._renew_at = 0.0
        aside.check_namespace(self.store)
        self._renew_in_time()
        self._connected = True

    def stop(self) -> None:
        """Ask the loop to end; it does within a poll."""
        self._stop.set()

    def is_stopped(self) -> bool:
        """Whether it has been asked to."""
        return self._stop.is_set()

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
                for remembered in (self._sweeps, self._busy, self._mending, self._mended):
                    remembered.clear()
                self.shards.forget()
                self._lifelines.forget()
                self._file.forget()
                self._next_timer.clear()
                figures.count(metrics.RECONNECTS)
                _log.warning("redis failed", extra={"error": error, "failures": failures})
                self._stop.wait(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])
                failures += 1
        try:
            self.shards.leave()
        except redis.RedisError:
            _log.info("leases left to expire")
        if self._bridged:
            listener.join(2 * POLL_SECONDS)  # it reads from a connection that whoever called this may close

    def look(self, *, wait: bool = False) -> None:
        """One round: renew, then tend whatever woke up or fell due. With ``wait`` each shard has one turn, and the
        round blocks until there is something; without, it goes on until there is nothing.
        """
        while True:
            self._health.alive()
            self._renew_in_time()
            now = monotonic()
            if now >= self._poll_at or not wait:
                self._poll_at = now + POLL_SECONDS
                self._poll()
            self._apply_requests()
            self._sweep()
            clock = self.store.clock.now_ms()
            self._busy.update(shard for shard, due in self._next_timer.items() if due <= clock)
            self._tend_all(self._busy)
            if wait:
                self._tend_all(self._wait())
            if self._lost:
                # Who is dead in one shard is so in all of them, and one line tells of it.
                self._tend_all(self.shards.in_hand)
                reaper.tell(self._lost)
            if wait or not (self._busy or (self._has_requests and 0 in self.shards.in_hand)):
                return

    def _tend_all(self, shards: Iterable[int]) -> None:
        left = sorted(shards)
        for at in range(0, len(left), SHARDS_AT_ONCE):
            # However much there is to do in each, the leases on all of them must not run out meanwhile.
            self._renew_in_time()
            self.tend(left[at : at + SHARDS_AT_ONCE])

    def tend(self, shards: Sequence[int]) -> None:
        """Do some of what there is to do in these shards; one stays busy while there is more."""
        mine = []
        for shard in shards:
            self._busy.discard(shard)
            if shard in self.shards.in_hand:
                mine.append(shard)
            else:
                # Given up: a timer remembered here would make the loop spin.
                self._next_timer.pop(shard, None)
        looks, token = {}, self.shards.token
        calls = [
            dispatch.look_call(self.store, shard, token, unfinished.BATCH, self._mended.pop(shard, None))
            for shard in mine
        ]
        for shard, answer in zip(mine, self.store.execute(calls), strict=True):
            with self._apart(shard):
                if isinstance(answer, Exception):
                    raise answer
                if answer[0] != b"lost":
                    looks[shard] = dispatch.ShardLook(*answer)
                    self._remember(shard, looks[shard])
                    continue
                self.shards.in_hand.pop(shard, None)
                self._next_timer.pop(shard, None)
        failed = list(looks)
        with self._apart():
            failed = timers.fire_together(self.store, {shard: look.due for shard, look in looks.items()})
        for shard in failed:
            with self._apart(shard):
                timers.fire(self.store, shard, looks[shard].due)
        for shard, look in looks.items():
            self._renew_in_time()
            self._go_on(shard, look)

    def _remember(self, shard: int, look: dispatch.ShardLook) -> None:
        self.store.clock.observe(int(look.now))
        if look.following == b"":
            self._next_timer.pop(shard, None)
        else:
            self._next_timer[shard] = int(look.following)
        if look.mend and shard not in self._mending:
            self._mending.add(shard)
            pages = sweep.pages(self.store, shard, self._limits.now, everything=True)
            self._sweeps.append((shard, look.mend, pages))

    def _go_on(self, shard: int, look: dispatch.ShardLook) -> None:
        """With what is no timer."""
        gone = 0
        with self._apart(shard):
            admitted = slots.admitted(self.store, shard, look.intents, self._limits.now or {})
            dispatch.ring(self.store, shard, admitted)
        with self._apart(shard):
            reaper.reap_all(self.store, shard, look.dead, self._lost)
        with self._apart(shard):
            gone = relay.deliver(self.store, shard, self._limits.now) if look.relayed else 0
        with self._apart(shard):
            sweep.retire(self.store, shard, look.retiring)
        with self._apart(shard):
            unfinished.go_on(self.store, shard, look.left)
        if look.due or look.dead or gone or look.left or len(look.intents) == dispatch.BATCH:
            self._busy.add(shard)

    @contextmanager
    def _apart(self, shard: int | None = None) -> Iterator[None]:
        """Part of the work, of one shard perhaps, that fails because of what it met: others go on, and it is tried
        again with the next poll (I11). What is known to go wrong has been set aside further down. So it is with what
        Redis has no room for: the other parts may be what makes room (F45).
        """
        try:
            yield
        except Exception as error:
            if is_full(error):
                self._say_full()
                return
            if isinstance(error, redis.RedisError) and not aside.is_about_data(error):
                raise
            self._check_at = 0.0
            _log.exception("cannot go on here", extra={"shard": shard})

    def _say_full(self) -> None:
        now = monotonic()
        if now >= self._say_full_at:
            self._say_full_at = now + SAY_FULL_SECONDS
            _log.warning("redis is full")

    def _renew_in_time(self) -> None:
        now = monotonic()
        if now >= self._renew_at:
            self._renew(now)
        if now >= self._check_at:
            self._check_at = now + CHECK_SECONDS
            aside.check_namespace(self.store)

    def _renew(self, now: float) -> None:
        self._renew_at = now + RENEW_SECONDS
        new = self.shards.maintain()
        if new:
            self._poll_at = 0.0
            self._begin_sweep(new)

    def _begin_sweep(self, shards: Iterable[int]) -> None:
        self._sweeps[:0] = [(shard, None, sweep.pages(self.store, shard, self._limits.now)) for shard in shards]

    def _sweep(self) -> None:
        """One page a round, and no more of them than the share allows: what wakes up or falls due does not wait until
        everything has been looked over, and a million instances cost others as little as a thousand.
        """
        now = monotonic()
        if now >= self._sweep_at and not self._sweeps:
            self._sweep_at = now + SWEEP_SECONDS
            self._begin_sweep(self.shards.in_hand)
        if not self._sweeps or now < self._page_at:
            return
        shard, mend, found = self._sweeps[-1]
        page = None
        with self._apart(shard):
            page = next(found, None)
        if page is None:
            self._sweeps.pop()
            self._sweep_at = monotonic() + SWEEP_SECONDS
            if mend is not None:
                self._mending.discard(shard)
                self._mended[shard] = mend
                self._busy.add(shard)
        self._page_at = max(self._page_at, now - SWEEP_BURST_SECONDS / SWEEP_SHARE)
        self._page_at += (monotonic() - now) / SWEEP_SHARE

    def _poll(self) -> None:
        self._busy.update(self.shards.in_hand)
        with self._apart():
            # Whoever comes first: until it is done, another crash may bring back what this one has torn.
            self._file.look(self.store)
        with self._apart():
            self._look_at_limits()
        if 0 in self.shards.in_hand:
            with self._apart():
                self._lifelines.look(self.store)
            with self._apart():
                schedules.tick(self.store, self.store.clock.now_ms())
            self._has_requests = True

    def _look_at_limits(self) -> None:
        """A limit that has changed counts from now on: for those who wait, and for those who run already."""
        has_changed = self._limits.look(self.store)
        if self._permits and self._limits.now is not None:
            limited = [workflow for workflow, limit in self._limits.now.items() if limit is not None]
            permit = doorbell.permit(self.store.keys.namespace, limited)
            if permit != self.shards.permit:
                self.shards.permit = permit
                self._renew(monotonic())
        if not has_changed:
            return
        for shard in self.shards.in_hand:
            slots.grant(self.store, shard, self._limits.now or {})
        self._begin_sweep(self.shards.in_hand)

    def _apply_requests(self) -> None:
        """One batch a round, until there are no requests: whoever makes many keeps nobody from their timers."""
        if self._has_requests and 0 in self.shards.in_hand:
            self._has_requests = False
            with self._apart():
                self._has_requests = self._inbox.apply() > 0

    def _wait(self) -> Iterable[int]:
        """Block until a shard wakes, a timer is due or a poll is. Returns: the shards that woke."""
        names = {self.store.keys.shard_key(shard, "wake"): shard for shard in self.shards.in_hand}
        try:
            return self._woken(names)
        except redis.ResponseError as error:
            if not aside.is_about_data(error):
                raise
            # A wake list is none. The look at its shard takes it away.
            return list(names.values())

    def _woken(self, names: Mapping[str, int]) -> list[int]:
        now = monotonic()
        until = min(self._renew_at, self._poll_at) - now
        if self._sweeps:
            until = min(until, self._page_at - now)
        if self._busy or (self._has_requests and 0 in self.shards.in_hand):
            until = 0.0
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
            found = self.store.commands([["LPOP", name] for name in names])
            return [shard for shard, element in zip(names.values(), found, strict=True) if element is not None]
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
                _log.warning("bridge lost redis", extra={"error": error})
                self._stop.wait(POLL_SECONDS)

    def _bridge(self, data: bytes) -> None:
        try:
            answer = inbox.bridge(self.store, self.shards.token, data)
        except (WorkflowError, inbox.Refused) as error:
            _log.warning("published event refused", extra={"reason": str(error)})
        else:
            if answer != "not-owner":
                _log.info("published event", extra={"answer": answer})
