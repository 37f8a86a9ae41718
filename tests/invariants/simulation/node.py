"""A worker process: the engine without its threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import redis as redis_py

from tests.invariants.programs import app
from tests.invariants.simulation.access import Fallible, SimStore
from tests.invariants.simulation.violation import Violation
from worker import claim
from worker.arrivals import Arrival, Arrivals, Drain, Finished
from worker.attempt import Attempt, Outcome
from worker.claim import Task
from worker.engine import Engine
from worker.settings import Settings
from worker.threads import Threads
from workflows.authoring import retries
from workflows.errors import StreamLost
from workflows.storage.keys import Held, Intent, Keyspace
from workflows.values import failure

LEASE_MS = 600_000


class HandCallbacks:
    """In place of the loop and the threads: attempts wait until the simulator ends them."""

    def __init__(
        self,
        concurrency: int,
        deliver: Callable[[Attempt, Outcome], None],
        freed: Callable[[Attempt], None],
        begun: Callable[[Attempt], None],
        overrides: object,
        streams: object,
        on_death: Callable[[str], None],
        lead: Callable[[], None],
    ) -> None:
        self.threads = Threads(concurrency, lead, on_death)
        self.deliver = deliver
        self.freed = freed
        self.running: list[Attempt] = []
        self.finished: set[str] = set()
        self.started: Callable[[Attempt], None] = lambda attempt: None

    def run(self, attempt: Attempt) -> None:
        if attempt.take_start():
            self.running.append(attempt)
            self.started(attempt)

    def cancel(self, attempt: Attempt) -> bool:
        if attempt.take_start():
            self.freed(attempt)
            return False
        attempt.context.cancelled.set()
        return True

    def end(self, attempt: Attempt, outcome: Outcome) -> None:
        self.running.remove(attempt)
        if attempt.take_outcome():
            self.finished.add(attempt.token)
            self.deliver(attempt, outcome)
        self.freed(attempt)

    def lose(self, attempt: Attempt) -> None:
        self.deliver(attempt, failed_with(attempt, StreamLost()))


def failed_with(attempt: Attempt, error: Exception) -> Outcome:
    """A failure, and when it is tried again."""
    blob, failed = failure.capture(error), attempt.failed + 1
    if not retries.should_retry(attempt.config, failed, failure.Failure.from_blob(blob)):
        return Outcome(error=blob)
    return Outcome(error=blob, retry_delay_ms=retries.delay_ms(attempt.config.retries, failed))


class Surroundings(Fallible, Protocol):
    """What a worker process meets: the world."""

    client: Any
    keys: Keyspace
    finished: set[str]

    def started(self, attempt: Attempt) -> None:
        """A callback begins."""

    def isolate(self, held: Held) -> bool:
        """What a worker's parent is asked for."""


class Node:
    """One worker process: the engine without its threads."""

    def __init__(self, world: Surroundings, name: str, warm: int, *, alone: bool = False) -> None:
        self.alone = alone
        self.world = world
        self.name = name
        self.stores: list[SimStore] = []
        settings = Settings(warm=warm, lease_ms=LEASE_MS, alone=alone, queues=() if alone else ("default",))
        self.engine = Engine(
            app,
            self._connect,
            settings,
            on_hopeless=self._hopeless,
            isolate=None if alone else world.isolate,
        )
        self.engine._stopped.set()  # no pauses between attempts to reach Redis
        self.fetcher = self._connect()
        self.fetcher_failed = False
        self.up = False
        self.hand: HandCallbacks = self.engine.callbacks  # type: ignore[assignment]
        self.hand.started = world.started
        self.hand.finished = world.finished
        self.drained = False

    def _connect(self) -> SimStore:
        store = SimStore(self.world, self.world.client, self.world.keys)
        self.stores.append(store)
        return store

    def _hopeless(self, reason: str) -> None:
        raise Violation(f"a worker gave up: {reason}")

    @property
    def identities(self) -> set[str]:
        lease = self.engine.lease
        return {lease.worker, *lease._former, *(attempt.worker for attempt in self.engine.attempts())}

    def queued(self) -> int:
        return len(self.engine.arrivals)

    @property
    def is_done(self) -> bool:
        return not self.queued() and self.engine.is_idle

    def start(self) -> str:
        try:
            self.engine.lease._renew(self.engine.lease.worker, born=True)
        except redis_py.RedisError:
            return "no reply"
        self.up = True
        return "up"

    def claim(self, members: Sequence[str]) -> str:
        """What the fetcher's thread does with doorbells."""
        return self._fetch(lambda: [Intent.parse(member) for member in members])

    def answer(self, most: int) -> str:
        """The same, having taken them off the queue."""
        fetcher, name = self.engine.fetchers[0], self.world.keys.queue("default")
        return self._fetch(lambda: fetcher._pop(self.fetcher, name, most))

    def _fetch(self, intents: Callable[[], list[Intent]]) -> str:
        try:
            self.engine.fetchers[0]._claim(self.fetcher, intents())
        except redis_py.RedisError as error:
            self.fetcher_failed = True
            return str(error)
        if self.fetcher_failed:
            self.fetcher_failed = False
            self.engine.reconnected()
        return "answered"

    def take_over(self, held: Held) -> str:
        """What a process for a suspect begins with."""
        try:
            task = claim.take_over(self.fetcher, self.engine.lease.worker, held)
        except (redis_py.RedisError, claim.LeaseLost) as error:
            return str(error)
        if task is None:
            return "gone"
        self.engine.accept([task])
        return "taken"

    def work(self, most: int) -> str:
        """What the engine's thread does with what has arrived."""
        batch = self.engine.arrivals.waiting()
        for item in batch[most:]:
            self.engine.arrivals.put(item)
        batch = batch[:most]
        names = ",".join(_name_of(item) for item in batch)
        try:
            self.drained = self.engine._work(batch)
        except redis_py.RedisError as error:
            self.engine._recover(batch, 0)
            return f"{names}: {error}"
        return names

    def beat(self) -> str:
        """What the lease's thread does now and then."""
        lease = self.engine.lease
        try:
            lease._former &= {attempt.worker for attempt in self.engine.attempts()}
            alive = lease._renew(lease.worker)
            for worker in lease._former:
                lease._renew(worker)
            if not alive:
                lease.renew_identity()
        except redis_py.RedisError as error:
            return str(error)
        return "alive" if alive else "came back"

    def drain(self, patience: int, meanwhile: Callable[[], None]) -> str:
        """An orderly stop; before its grace is over the engine works so many times, and ``meanwhile`` things happen."""
        engine = self.engine
        engine.draining.set()
        now = self.world.clock.ms / 1000
        engine.arrivals.put(Drain(now + 1 if patience else now))
        said = [self.work(1000)]
        for _ in range(patience):
            if not self.drained:
                meanwhile()
                said.append(self.work(1000))
        if not self.drained:
            engine.arrivals.put(Drain(now))
        while not self.drained:
            said.append(self.work(1000))
        try:
            for worker in {engine.lease.worker, *engine.lease._former}:
                engine.lease._renew(worker, leave=True)
        except redis_py.RedisError as error:
            said.append(str(error))
        self.close()
        return "; ".join(said)

    def close(self) -> None:
        self.up = False
        self.hand.running.clear()
        self.engine._replays.warm.clear()


def items_of(arrivals: Arrivals) -> list[Arrival]:
    found = arrivals.waiting()
    for item in found:
        arrivals.put(item)
    return found


def _name_of(item: Any) -> str:
    if isinstance(item, Task):
        return f"{item.kind}{item.seq}@{item.instance.id}"
    if isinstance(item, Finished):
        kind = "ok" if item.outcome.error is None else "fail"
        return f"{kind}{item.attempt.seq}@{item.attempt.instance.id}"
    return type(item).__name__
