"""How much a worker takes on: the engine without its threads, so that a test sees what lies between two round trips."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any
from unittest import mock

import pytest
import redis as redis_py

from tests.invariants.simulation.node import HandCallbacks
from worker import engine as engine_module
from worker.arrivals import Reconcile
from worker.attempt import Outcome
from worker.claim import pop_call
from worker.engine import Engine
from worker.settings import Settings
from workflows import App, Client, WorkflowEntrypoint
from workflows.storage import doorbell
from workflows.storage.connection import connection
from workflows.storage.keys import Intent, rq_job_prefix, rq_queue
from workflows.storage.store import Store
from workflows.values import codec

app = App("slots")


@app.workflow
class ThreeAtOnce(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> Any:
        return await asyncio.gather(*[step.do(f"step {number}", lambda: 1) for number in range(3)])


@app.workflow
class OneByOne(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> Any:
        for number in range(3):
            await step.do(f"step {number}", lambda: 1)


def _never(reason: str) -> None:
    raise AssertionError(reason)


class Worker:
    """Does what a worker does, one thing at a time, with two slots."""

    def __init__(self, engine: Engine, client: Client) -> None:
        self.engine = engine
        self._hand: Any = engine.callbacks
        self._store = client.store

    def claim(self, most: int) -> None:
        """What as many doorbells stand for."""
        self.engine.fetchers[0]._claim(self.engine.store, self.intents()[:most])

    def intents(self) -> list[Intent]:
        return [Intent.parse(one) for key in self._keys("intents") for one in self._store.members(key, "")]

    def reconcile(self) -> None:
        self.engine.arrivals.put(Reconcile(forget=False))
        self.work()

    def work(self) -> None:
        """One round trip."""
        self.engine._work(self.engine.arrivals.waiting())

    def end_one(self) -> None:
        self._hand.end(self._hand.running[0], Outcome(value=codec.encode(1, what="a result")))

    @property
    def counts(self) -> tuple[int, int, int]:
        """Attempts that run, taken slots, and attempts that Redis says are held."""
        members = [one for key in self._keys("held") for one in self._store.members(key, "")]
        held = sum(b"|a|" in one for one in members)
        return len(self._hand.running), len(self.engine.slots), held

    def _keys(self, kind: str) -> list[str]:
        return [self._store.keys.shard_key(shard, kind) for shard in range(self._store.keys.shards)]


@pytest.fixture
def client(redis_url: str, redis: redis_py.Redis) -> Iterator[Client]:
    with Client(app, redis_url) as client:
        yield client


@pytest.fixture
def worker(redis_url: str, client: Client) -> Iterator[Worker]:
    with ExitStack() as opened, mock.patch.object(engine_module, "Callbacks", HandCallbacks):

        def connect() -> Store:
            return opened.enter_context(closing(Store(connection(redis_url), client.store.keys, hot=True)))

        engine = Engine(app, connect, Settings(concurrency=2), on_hopeless=_never)
        engine.lease._renew(engine.lease.worker, born=True)
        yield Worker(engine, client)


def put_doorbell(client: Client, intent: Intent) -> None:
    keys = client.store.keys
    id = doorbell.job_id(keys.instance(intent.workflow, intent.id).shard, intent)
    client.store.redis.hset(rq_job_prefix() + id, "data", doorbell.data(keys.namespace, intent.member))
    client.store.redis.rpush(rq_queue(keys.queue(intent.queue)), id)


def test_a_slot_is_taken_until_the_outcome_is_settled(client: Client, worker: Worker) -> None:
    """What has ended and is not settled yet runs again after a death, so it counts as in flight."""
    client.workflow("three-at-once").create(id="i1")
    worker.claim(1)
    worker.work()  # the turn: three steps are open
    worker.claim(2)
    worker.work()
    assert worker.counts == (2, 2, 2)
    worker.end_one()
    assert worker.counts == (1, 2, 2), "ended, and not settled yet"
    worker.work()
    assert worker.counts == (1, 1, 1)


def test_turns_of_one_batch_give_birth_to_no_more_steps_than_there_are_slots(client: Client, worker: Worker) -> None:
    for number in range(5):
        client.workflow("one-by-one").create(id=f"i{number}")
    worker.claim(5)
    worker.work()
    assert worker.counts == (2, 2, 2)
    worker.end_one()
    worker.work()  # the next step of the same instance is born in the place of the one that ended
    assert worker.counts == (2, 2, 2)


def test_what_a_birth_was_refused_gives_its_slot_back(client: Client, worker: Worker) -> None:
    instance = client.workflow("one-by-one").create(id="i1")
    worker.claim(1)
    instance.pause()
    worker.work()
    assert worker.counts == (0, 0, 0)


def test_a_birth_that_nobody_knows_of_gives_its_slot_back(client: Client, worker: Worker) -> None:
    client.workflow("one-by-one").create(id="i1")
    worker.claim(1)
    batch = worker.engine.arrivals.waiting()
    with (
        mock.patch.object(Store, "execute", side_effect=redis_py.ConnectionError("cut")),
        pytest.raises(redis_py.ConnectionError),
    ):
        worker.engine._work(batch)
    assert worker.counts == (0, 0, 0)


def test_no_more_is_claimed_than_there_is_room_for_by_then(client: Client, worker: Worker) -> None:
    """Room was counted before the doorbells were waited for, and steps may have been born since."""
    client.workflow("three-at-once").create(id="i1")
    worker.claim(1)
    worker.work()
    worker.claim(3)
    worker.work()
    assert worker.counts == (2, 2, 2)


def test_what_is_just_being_claimed_with_its_doorbell_is_not_given_back(client: Client, worker: Worker) -> None:
    """Redis says that it is held here, and the answer has not come yet. Once that is lost, it is given back."""
    client.workflow("one-by-one").create(id="i1")
    (intent,) = worker.intents()
    fetcher, instance = worker.engine.fetchers[0], client.store.keys.instance(intent.workflow, intent.id)
    call = pop_call(client.store.keys, "slots.default", 1, app.definitions, worker.engine.lease.worker, fetcher.token)
    put_doorbell(client, intent)
    client.store.call(call)
    turn = f"h|{worker.engine.lease.worker}|{fetcher.token}".encode()
    worker.reconcile()
    assert client.store.header_fields(instance, "turn") == [turn]
    fetcher.token = "another"
    worker.reconcile()
    assert client.store.header_fields(instance, "turn") != [turn]
    assert worker.intents()
