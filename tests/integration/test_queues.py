"""What waits on each queue and who serves it, as doctors, metrics and autoscalers are told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis as redis_py
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from orchestrator import dispatch
from tests.driving import HandWorker, PublishedApp, step, store_of
from workflows.client import Client
from workflows.health import namespace, queues
from workflows.health.queues import QueueState, service
from workflows.storage.keys import rq_job_prefix, rq_queue
from workflows.storage.manifest import publish_manifest
from workflows.storage.processes import load_of
from workflows.storage.store import Store


@pytest.fixture
def store(redis: redis_py.Redis) -> Store:
    store = store_of(redis, shards=2)
    publish_manifest(store, PublishedApp())
    return store


@pytest.fixture
def client(store: Store, redis_url: str) -> Iterator[Client]:
    with Client("shop", redis_url) as client:
        yield client


def state(store: Store, queue: str = "default") -> QueueState:
    return service(store, [queue]).queues[queue]


def rung(store: Store) -> None:
    """What an orchestrator does with all there is."""
    for shard in range(store.keys.shards):
        members = store.redis.zrange(store.keys.shard_key(shard, "intents"), 0, -1)
        dispatch.ring(store, shard, members)
        for member in members:
            store.redis.zadd(store.keys.shard_key(shard, "intents"), {member: namespace.server_ms(store) + 2_000})


def enrol(store: Store, name: str, *queues: str, **fields: int) -> None:
    """A worker's registration with RQ."""
    for queue in queues:
        store.redis.sadd(WORKERS_BY_QUEUE_KEY % store.keys.queue(queue), f"rq:worker:{name}")
    if fields:
        store.redis.hset(f"rq:worker:{name}", mapping=load_of(**fields))


def test_nothing_waits_on_a_quiet_queue(store: Store) -> None:
    assert state(store) == QueueState()
    assert state(store).as_dict() == {
        "unclaimed": 0,
        "oldest_seconds": 0.0,
        "workers": 0,
        "slots": 0,
        "slots_free": 0,
    }


def test_turns_and_attempts_count_on_their_own_queues(store: Store, client: Client) -> None:
    for n in range(3):
        client.workflow("order").create(f"o-{n}")
    hand = HandWorker(store)
    instance = store.keys.instance("order", "o-0")
    hand.turn(instance, opened=[step(1, "cut", queue="gpu"), step(2, "glue", queue="gpu")])
    found = service(store, ["default"]).queues
    assert {queue: one.unclaimed for queue, one in found.items()} == {"default": 2, "gpu": 2}


def test_what_nobody_hands_out_is_as_old_as_it_is_overdue(store: Store, client: Client, redis: redis_py.Redis) -> None:
    instance = client.workflow("order").create("o-1")._instance
    key = store.keys.shard_key(instance.shard, "intents")
    (member,) = redis.zrange(key, 0, -1)
    redis.zincrby(key, -30_000, member)
    found = state(store)
    assert 30_000 <= found.oldest_ms < 60_000
    assert found.oldest_ms == found.overdue_ms


def test_what_is_handed_out_is_as_old_as_its_first_ring(store: Store, client: Client, redis: redis_py.Redis) -> None:
    client.workflow("order").create("o-1")
    rung(store)
    # An old doorbell is looked for now and then, and stays as old as it is.
    (job,) = redis.lrange(rq_queue(store.keys.queue("default")), 0, -1)
    redis.hset(rq_job_prefix() + job.decode(), "rung", namespace.server_ms(store) - 90_000)
    rung(store)
    found = state(store)
    assert 90_000 <= found.oldest_ms < 120_000
    assert found.overdue_ms < 0


def test_a_doorbell_whose_work_is_gone_does_not_count(store: Store, client: Client, redis: redis_py.Redis) -> None:
    client.workflow("order").create("o-1")
    rung(store)
    (job,) = redis.lrange(rq_queue(store.keys.queue("default")), 0, -1)
    redis.hset(rq_job_prefix() + job.decode(), "rung", 1)
    client.workflow("order").get("o-1").terminate()
    client.workflow("order").create("o-2")
    assert state(store).oldest_ms < 60_000


def test_of_a_long_backlog_the_rest_is_shared_out(
    store: Store, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "INTENTS_PER_SHARD", 5)
    for n in range(40):
        client.workflow("order").create(f"o-{n}")
    assert state(store).unclaimed == 40


def test_slots_are_those_of_the_workers_that_are_still_registered(store: Store) -> None:
    enrol(store, "a", "default", "gpu", slots=10, free=4)
    enrol(store, "b", "default", slots=10, free=0)
    enrol(store, "gone", "default")
    found = service(store, ["default", "gpu"]).queues
    assert (found["default"].workers, found["default"].slots, found["default"].slots_free) == (("a", "b"), 20, 4)
    assert (found["gpu"].workers, found["gpu"].slots, found["gpu"].slots_free) == (("a",), 10, 4)


def test_garbage_in_the_keys_of_rq_is_nothing(store: Store, client: Client, redis: redis_py.Redis) -> None:
    client.workflow("order").create("o-1")
    redis.set(rq_queue(store.keys.queue("default")), "garbage")
    redis.set(WORKERS_BY_QUEUE_KEY % store.keys.queue("default"), "garbage")
    assert (state(store).unclaimed, state(store).workers) == (1, ())
