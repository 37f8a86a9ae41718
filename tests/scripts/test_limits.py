"""I12: whatever the documented limits allow, no script touches more than a bounded number of elements per call.

Each limit is played in full. Elements are counted, not milliseconds: they are the same on every machine.
"""

from __future__ import annotations

import pytest
import redis as redis_py

from tests.driving import HandClock, HandWorker, step, wait
from tests.scripts.touching import TouchingStore
from workflows import limits, requests
from workflows.keys import Instance, Keyspace
from workflows.manifest import KnownWorkflow

FEW = 200
"""What a call touches that takes up one thing: the header twice, and a handful of commands for each element."""


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store(redis: redis_py.Redis, clock: HandClock) -> TouchingStore:
    return TouchingStore(redis, Keyspace("shop", 1), clock)


@pytest.fixture
def worker(store: TouchingStore) -> HandWorker:
    return HandWorker(store)


@pytest.fixture
def instance(store: TouchingStore, worker: HandWorker) -> Instance:
    id, request = requests.create(store.keys, KnownWorkflow("order"), id="a1")
    store.call(request.call)
    return store.keys.instance("order", id)


def send(store: TouchingStore, instance: Instance, type: str, payload: object = None) -> str:
    request = requests.send_event(store.keys, instance, type, payload)
    return request.parse(store.call(request.call))


def test_a_full_mailbox_costs_no_event_more_than_an_empty_one(
    store: TouchingStore, worker: HandWorker, instance: Instance
) -> None:
    for _ in range(limits.MAILBOX_EVENTS):
        assert send(store, instance, "t") == "buffered"
    for seq in range(1, 4):
        worker.turn(instance, o=[wait(seq, f"w{seq}", "t")])
    # Command ids are pruned by half when there are 256 of them.
    assert store.most["send_event"] < FEW + 4 * 256
    assert store.most["commit"] < FEW


def test_waits_of_one_type_cost_no_more_together_than_alone(
    store: TouchingStore, worker: HandWorker, instance: Instance
) -> None:
    worker.turn(instance, o=[wait(seq, f"w{seq}", "t") for seq in range(1, 101)])
    each = store.most["commit"] / 100
    for seq in range(1, 101):
        assert send(store, instance, "t", seq) == "delivered"
    assert each < FEW
    assert store.most["send_event"] < FEW


def test_an_event_is_put_back_without_a_look_at_the_others(
    store: TouchingStore, worker: HandWorker, instance: Instance
) -> None:
    """A thousand events come while `run` gives up one of a thousand waits."""
    worker.turn(instance, o=[step(1, "fast"), *(wait(seq, f"w{seq}", "t") for seq in range(2, 1002))])
    worker.settle(instance, 1, "fast", worker.claim(instance, "a", 1), value=1)
    token = worker.claim(instance)
    fed = len(worker.entries(instance))
    for seq in range(2, 1002):
        assert send(store, instance, "t", seq) == "delivered"
    store.most.clear()
    assert worker.commit(instance, token, fed=fed, w=[{"s": 700, "k": "wait"}]) == 1
    assert store.most["commit"] < FEW
