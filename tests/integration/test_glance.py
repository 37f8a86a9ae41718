"""Looking whether anything has moved: what is seen, and what a look costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis as redis_py

from tests.driving import HandWorker, step, wait
from workflows.client import Client
from workflows.errors import InstanceNotFound
from workflows.health.glance import INSTANCES, PROCESSES, QUEUES, glance, glance_at


@pytest.fixture
def worker(client: Client) -> HandWorker:
    return HandWorker(client.store)


def moved(client: Client, do: Callable[[], object], **of: Any) -> set[str]:
    """What a look finds different afterwards."""
    before = glance(client.store, **of)
    do()
    after = glance(client.store, **of)
    return {name for name in before if before[name] != after[name]}


def test_what_has_moved_is_seen_and_nothing_else(client: Client, worker: HandWorker) -> None:
    orders = client.workflow("order")
    assert moved(client, lambda: None) == set()
    assert moved(client, lambda: orders.create("a")) == {INSTANCES, QUEUES}
    a = orders.get("a")._instance
    assert moved(client, lambda: worker.turn(a, opened=[wait(1, "w", "packed")])) == {INSTANCES, QUEUES}
    assert moved(client, lambda: orders.get("a").pause()) == {INSTANCES}
    assert moved(client, lambda: HandWorker(client.store, "another")) == {PROCESSES}


def test_instances_of_a_workflow_that_change_places_are_seen(client: Client) -> None:
    orders = client.workflow("order")
    orders.create("a").pause()
    orders.create("b")

    def change() -> None:
        orders.get("a").resume()
        orders.get("b").pause()

    assert moved(client, change, workflow="order") == {INSTANCES}
    assert moved(client, lambda: orders.create("c"), workflow="another") == set()
    assert moved(client, lambda: orders.create("d"), statuses=["errored", "paused"]) == {QUEUES}


def test_everything_that_happens_to_an_instance_is_seen(client: Client, worker: HandWorker) -> None:
    order = client.workflow("order").create("a")
    a = order._instance

    def changes(do: Callable[[], object]) -> bool:
        before = glance_at(client.store, a)
        do()
        return before != glance_at(client.store, a)

    assert not changes(lambda: None)
    assert changes(lambda: order.send_event("early", 1))
    assert changes(lambda: worker.turn(a, opened=[step(1, "charge")]))
    assert changes(lambda: worker.claim(a, "a", 1))
    assert changes(order.pause)
    assert changes(order.resume)
    assert changes(order.terminate)
    assert changes(order.restart)
    order.delete()
    with pytest.raises(InstanceNotFound):
        glance_at(client.store, a)


def test_a_look_costs_one_call_per_shard_or_one_in_all(client: Client, redis: redis_py.Redis) -> None:
    order = client.workflow("order").create("a")
    store = client.store
    glance(store), glance_at(store, order._instance)

    def calls(do: Callable[[], object]) -> int:
        redis.config_resetstat()
        do()
        return sum(one["calls"] for name, one in redis.info("commandstats").items() if name.startswith("cmdstat_eval"))

    assert calls(lambda: glance(store)) == store.keys.shards == 16
    assert calls(lambda: glance(store, workflow="order")) == 16
    assert calls(lambda: glance_at(store, order._instance)) == 1


def test_a_look_at_an_instance_reads_none_of_its_values(client: Client, redis: redis_py.Redis) -> None:
    order = client.workflow("order").create("a", params={"text": "x" * 500_000})
    store = client.store
    glance_at(store, order._instance)
    before = redis.info("stats")["total_net_output_bytes"]
    glance_at(store, order._instance)
    assert redis.info("stats")["total_net_output_bytes"] - before < 20_000
