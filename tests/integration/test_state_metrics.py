"""What stands in Redis, as metrics: the same facts as everywhere else, read when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis as redis_py

from tests.driving import HandClock, HandWorker, PublishedApp, sleep, step, store_of
from workflows.client import Client
from workflows.health import namespace
from workflows.health.queues import service
from workflows.storage.manifest import publish_manifest
from workflows.storage.store import Store
from workflows.telemetry import state as telemetry
from workflows.telemetry.state import exposition, state


@pytest.fixture
def store(redis: redis_py.Redis) -> Store:
    store = store_of(redis, shards=4)
    publish_manifest(store, PublishedApp())
    return store


@pytest.fixture
def client(store: Store, redis_url: str) -> Iterator[Client]:
    with Client("shop", redis_url) as client:
        yield client


def value(store: Store, metric: str, *labels: str) -> object:
    return state(store)[metric, ("shop", *labels)]


def test_instances_and_queues_are_what_everybody_else_says(store: Store, client: Client) -> None:
    for n in range(5):
        client.workflow("order").create(f"o-{n}")
    HandWorker(store).complete(store.keys.instance("order", "o-0"))
    for status, count in namespace.count_instances(store, "order").items():
        assert value(store, "workflows_instances", "order", status) == count
    assert value(store, "workflows_instances", "order", "complete") == 1
    facts = service(store, ["default"]).queues["default"]
    assert value(store, "workflows_unclaimed", "default") == facts.unclaimed == 4
    assert value(store, "workflows_workers", "default") == value(store, "workflows_slots_free", "default") == 0


def test_parked_and_retrying_instances_are_counted_by_workflow(store: Store, client: Client) -> None:
    hand = HandWorker(store)
    for n in range(3):
        client.workflow("order").create(f"o-{n}")
    hand.park(store.keys.instance("order", "o-0"), "the code contradicts the journal")
    client.workflow("order").get("o-1").pause()
    instance = store.keys.instance("order", "o-2")
    hand.turn(instance, opened=[step(1, "a"), step(2, "b")])
    for seq, name in ((1, "a"), (2, "b")):
        token = hand.claim(instance, "a", seq)
        hand.settle(instance, seq, name, token, retry=(60_000, ValueError("no")))
    assert value(store, "workflows_parked", "order") == 1
    assert value(store, "workflows_retrying", "order") == 1


def test_a_timer_that_nobody_fires_is_late(redis: redis_py.Redis, store: Store, client: Client) -> None:
    client.workflow("order").create("o-1")
    assert value(store, "workflows_timers_late_seconds") == 0
    long_ago = store_of(redis, clock=HandClock(namespace.server_ms(store) - 3_600_000))
    HandWorker(long_ago).turn(store.keys.instance("order", "o-1"), opened=[sleep(1, "nap", 1_000)])
    late = value(store, "workflows_timers_late_seconds")
    assert isinstance(late, float) and 3_599 <= late < 3_660


def test_orchestrators_and_the_shards_that_none_tends(store: Store, redis: redis_py.Redis) -> None:
    assert (value(store, "workflows_orchestrators"), value(store, "workflows_shards_unowned")) == (0, 4)
    redis.zadd(store.keys.orchestrators, {"o1": 2**45, "dead": 1})
    redis.hset(store.keys.shard_key(0, "owner"), mapping={"token": "o1", "expiry": 2**45})
    assert (value(store, "workflows_orchestrators"), value(store, "workflows_shards_unowned")) == (1, 3)


def test_whoever_asks_again_within_seconds_is_told_the_same(
    store: Store, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = [1_000.0]
    monkeypatch.setattr(telemetry, "monotonic", lambda: moment[0])
    before = exposition(store)
    assert 'workflows_instances{namespace="shop",workflow="order",status="queued"} 0\n' in before
    client.workflow("order").create("o-1")
    moment[0] += 4.9
    assert exposition(store) == before
    moment[0] += 0.2
    assert 'workflows_instances{namespace="shop",workflow="order",status="queued"} 1\n' in exposition(store)


def test_without_redis_it_says_that_and_nothing_else(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(store: Store) -> None:
        raise redis_py.ConnectionError("away")

    monkeypatch.setattr(telemetry, "state", away)
    samples = [line for line in exposition(store).splitlines() if not line.startswith("#")]
    assert samples == ['workflows_redis_up{namespace="shop"} 0']
