"""Does the loop do what wakes up and falls due at once, whatever else it has to do?"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis as redis_py

from orchestrator import sweep
from orchestrator.loop import Orchestrator
from tests.driving import HandWorker, sleep, store_of
from workflows import App, Client, WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from workflows.keys import Instance, rq_queue
from workflows.store import Store

app = App("shop")


@app.workflow(name="order")
class Order(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None: ...


@pytest.fixture
def store(redis: redis_py.Redis) -> Iterator[Store]:
    """A namespace of one shard, by the real clock."""
    opened = store_of(redis, shards=1)
    yield opened
    opened.release()


@pytest.fixture
def client(store: Store) -> Client:
    return Client(app, connection=store.redis)


def _instances(client: Client, store: Store, count: int) -> list[Instance]:
    made = client.workflow("order").create_batch([{"id": f"order-{n}"} for n in range(count)])
    return [store.keys.instance("order", one.id) for one in made]


def _doorbells(store: Store) -> int:
    """How many doorbells hang in the queue of the workers."""
    found = store.redis.llen(rq_queue(store.keys.queue("default")))
    assert isinstance(found, int)
    return found


def test_what_wakes_up_is_done_before_everything_has_been_swept(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep of many instances takes seconds, for which timers and new instances cannot wait."""
    monkeypatch.setattr(sweep, "BATCH", 1)
    swept = []
    page = sweep.pages
    monkeypatch.setattr(
        "orchestrator.sweep.pages", lambda store, shard: (swept.append(1) or found for found in page(store, shard))
    )
    _instances(client, store, 20)
    orchestrator = Orchestrator(store, bridge=False)
    orchestrator.look(wait=True)
    assert _doorbells(store) == 20

    client.workflow("order").create(id="urgent")
    orchestrator.look(wait=True)
    assert _doorbells(store) == 21
    assert len(swept) <= 2


def test_a_sweep_goes_on_until_everything_is_repaired(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BATCH", 2)
    worker = HandWorker(store)
    for place in _instances(client, store, 5):
        worker.turn(place, o=[sleep(1, "nap", 86_400_000)])
    timers = store.keys.shard_key(0, "timers")
    store.redis.delete(timers)

    orchestrator = Orchestrator(store, bridge=False)
    for _ in range(4):
        orchestrator.look()
    assert store.redis.zcard(timers) == 5


def test_a_wait_with_an_alarm_ends_in_time(store: Store) -> None:
    """Left alone, an idle Redis ends it at one of its ten looks a second: a sleep of 20 ms would take 100."""

    def waited(seconds: float) -> float:
        begin = time.monotonic()
        store.pop_first(["a", "b"], seconds, alarm="b")
        return time.monotonic() - begin

    found = [waited(0.02) for _ in range(10)]
    assert min(found) >= 0.02
    assert min(found) < 0.06


def test_a_wait_ends_with_the_first_element(store: Store) -> None:
    store.redis.rpush("b", "1")
    assert store.pop_first(["a", "b"], 5.0, alarm="a") == "b"
    assert store.pop_first(["a", "b"], 0.001) is None


def test_a_wait_ends_although_the_memory_is_full(store: Store) -> None:
    """The alarm cannot ring, and what needs no memory goes on (F45)."""
    store.redis.config_set("maxmemory", "1")
    try:
        assert store.pop_first(["a"], 0.02, alarm="a") is None
    finally:
        store.redis.config_set("maxmemory", "0")
    assert store.pop_first(["a"], 0.02, alarm="a") == "a"
