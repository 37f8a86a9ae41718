"""What is said about an instance when it is created: kept with it, shown, and a way to find it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis as redis_py

from orchestrator import inbox, sweep
from tests.driving import HandClock, HandWorker
from workflows import limits
from workflows.authoring.app import App
from workflows.authoring.workflow import WorkflowEntrypoint
from workflows.client import Client, WorkflowHandle
from workflows.client.aio import AsyncClient
from workflows.client.creation import CreateOptions
from workflows.errors import BadParams, ConfigError
from workflows.storage.keys import Instance
from workflows.storage.manifest import publish_manifest

ACME = {"customer": "acme"}


def shop(*declared: str) -> App:
    app = App("shop")

    @app.workflow(metadata=declared)
    class Order(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> None: ...

    return app


@pytest.fixture
def client(redis: redis_py.Redis, redis_url: str, clock: HandClock) -> Iterator[Client]:
    with Client("shop", redis_url, clock=clock) as client:
        publish_manifest(client.store, shop("customer", "region"))
        yield client


@pytest.fixture
def orders(client: Client) -> WorkflowHandle:
    return client.workflow("order")


def found(orders: WorkflowHandle, **where: Any) -> list[str]:
    return [one.id for one in orders.list(**where)]


def lines(client: Client) -> list[bytes]:
    keys = client.store.keys
    members: list[bytes] = []
    for shard in range(keys.shards):
        members += client.store.redis.zrange(keys.shard_key(shard, "index"), 0, -1)  # type: ignore[arg-type]
    return sorted(members)


def test_an_instance_is_found_by_what_was_said_about_it(orders: WorkflowHandle, clock: HandClock) -> None:
    for id, about in (
        ("a1", ACME),
        ("a2", {"customer": "acme", "region": "eu"}),
        ("a3", {"customer": "ACME", "region": "eu"}),
        ("a4", None),
    ):
        clock.ms += 1
        orders.create(id, metadata=about)
    orders.get("a2").pause()
    assert found(orders, metadata=ACME) == ["a2", "a1"]
    assert found(orders, metadata={"region": "eu"}, oldest_first=True) == ["a2", "a3"]
    assert found(orders, metadata={"region": "eu", "customer": "acme"}) == ["a2"]
    assert found(orders, metadata={"region": "us"}) == []
    assert found(orders, metadata=ACME, status="queued") == ["a1"]
    assert found(orders, metadata={}) == ["a4", "a3", "a2", "a1"]


def test_it_is_shown_where_the_instance_is(orders: WorkflowHandle) -> None:
    orders.create("a1", metadata={"customer": "acme", "note": "Größe 7, \N{SNOWMAN} & |:{}"})
    orders.create("a2")
    status = orders.get("a1").status()
    assert status.metadata == {"customer": "acme", "note": "Größe 7, \N{SNOWMAN} & |:{}"}
    assert status.as_dict()["metadata"] == status.metadata
    assert {one.id: one.metadata for one in orders.list()} == {"a1": status.metadata, "a2": {}}
    assert [(one.id, one.metadata) for one in orders.list(metadata=ACME)] == [("a1", status.metadata)]
    assert orders.get("a2").status().metadata == {}


def test_pages_neither_repeat_nor_lose_those_with_metadata_among_others(
    orders: WorkflowHandle, clock: HandClock
) -> None:
    # Of one moment, and with ids that begin alike, so that nothing but the whole line tells them apart.
    ids = ["a", "a-", "a1", "a_", "aa", "b"]
    for number, id in enumerate(ids):
        orders.create(id, metadata=ACME if number % 2 else None)
    for oldest_first in (False, True):
        for where in ({}, {"metadata": ACME}, {"ended_from": None}):
            seen: list[str] = []
            cursor = None
            while True:
                page = orders.list(None, 1, cursor, oldest_first=oldest_first, **where)  # type: ignore[arg-type]
                seen += [one.id for one in page]
                cursor = page.cursor
                if cursor is None:
                    break
            assert sorted(seen) == (ids[1::2] if where.get("metadata") else ids)


def test_every_way_of_creating_takes_it(orders: WorkflowHandle, client: Client, redis_url: str) -> None:
    orders.create_batch([{"id": "b1", "metadata": ACME}, CreateOptions("b2", metadata=ACME)])
    orders.create_batch({"instances": [{"id": "b3", "metadata": ACME}]})
    orders.create_batch({"count": 1, "metadata": ACME})
    fields = {"op": "create", "workflow": "order", "id": "b4", "metadata": json.dumps(ACME)}
    client.store.redis.xadd(client.store.keys.inbox, fields)  # type: ignore[arg-type]
    assert inbox.Inbox(client.store).apply() == 1

    async def main() -> list[str]:
        async with AsyncClient("shop", redis_url) as other:
            others = other.workflow("order")
            await others.create("b5", metadata=ACME)
            return [one.id for one in await others.list(metadata=ACME)]

    ids = asyncio.run(main())
    assert {"b1", "b2", "b3", "b4", "b5"} < {*ids}
    assert len(ids) == 6


@pytest.mark.parametrize(
    "wrong",
    [
        {"a b": "x"},
        {"": "x"},
        {"-a": "x"},
        {7: "x"},
        {"k" * 41: "x"},
        {"a": ""},
        {"a": 7},
        {"a": None},
        {"a": "x" * 101},
        {"a": "x\ny"},
        {"a": "\ud800"},
        {f"k{n}": "x" for n in range(11)},
        "customer=acme",
        ["customer"],
    ],
)
def test_what_is_no_metadata_is_refused_before_anything_is_stored(orders: WorkflowHandle, wrong: Any) -> None:
    with pytest.raises(BadParams):
        orders.create("a1", metadata=wrong)
    with pytest.raises(BadParams):
        orders.create_batch([{"id": "a1", "metadata": wrong}])
    errors = orders.create_batch({"instances": [{"id": "a1", "metadata": wrong}]}).errors
    assert [error.code for error in errors] == ["instance.invalid_params"]
    assert found(orders) == []


def test_the_inbox_refuses_what_is_no_metadata(orders: WorkflowHandle, client: Client) -> None:
    client.store.redis.xadd(
        client.store.keys.inbox, {"op": "create", "workflow": "order", "id": "a1", "metadata": '{"a": 7}'}
    )
    assert inbox.Inbox(client.store).apply() == 1
    ((_, refused),) = client.store.redis.xrange(client.store.keys.inbox_refused)  # type: ignore[misc]
    assert b"metadata 'a' is 7; it must be text" in refused[b"reason"]
    assert found(orders) == []


def test_what_was_not_declared_is_kept_and_cannot_be_asked_for(orders: WorkflowHandle) -> None:
    orders.create("a1", metadata={"order": "7"})
    assert orders.get("a1").status().metadata == {"order": "7"}
    with pytest.raises(ConfigError, match="not found by order: @app.workflow.* declares customer, region"):
        orders.list(metadata={"order": "7"})
    with pytest.raises(ConfigError, match="not found by order"):
        orders.delete_all(None, metadata={"order": "7"})
    assert found(orders) == ["a1"]


def test_a_declaration_holds_for_those_created_from_then_on(orders: WorkflowHandle, client: Client) -> None:
    """However few of them there are: it does not depend on which way a page takes."""
    publish_manifest(client.store, shop())
    client.workflow("order").create("before", metadata=ACME)
    publish_manifest(client.store, shop("customer"))
    later = client.workflow("order")
    later.create_batch([{"id": f"a{n}", "metadata": ACME} for n in range(40)])
    assert len(found(later, metadata=ACME)) == 40
    later.get("before").terminate()
    assert found(later, metadata=ACME, status="terminated") == []
    assert [one.metadata for one in later.list("terminated")] == [ACME]


def test_instances_whose_code_is_gone_are_found_all_the_same(orders: WorkflowHandle, client: Client) -> None:
    orders.create("a1", metadata=ACME)
    client.store.redis.delete(client.store.keys.manifest)
    assert found(client.workflow("order"), metadata=ACME) == ["a1"]


def test_it_outlives_a_restart_and_goes_with_its_instance(orders: WorkflowHandle, client: Client) -> None:
    instance = orders.create("a1", metadata={"customer": "acme", "region": "eu", "note": "x"})
    assert len(lines(client)) == 3
    instance.restart()
    assert found(orders, metadata=ACME) == ["a1"]
    assert instance.status().metadata == {"customer": "acme", "region": "eu", "note": "x"}
    instance.delete()
    assert lines(client) == []
    orders.create("a1")
    assert found(orders, metadata=ACME) == []
    assert len(lines(client)) == 1


def test_when_its_retention_is_over_no_line_of_it_is_left(
    orders: WorkflowHandle, client: Client, clock: HandClock
) -> None:
    instance = orders.create("a1", metadata=ACME)
    instance.terminate()
    shard = client.store.keys.instance("order", "a1").shard
    clock.ms += limits.RETENTION_MS
    retiring = client.store.redis.zrange(client.store.keys.shard_key(shard, "retire"), 0, -1)
    assert sweep.retire(client.store, shard, retiring) == 1  # type: ignore[arg-type]
    assert lines(client) == []


def test_an_instance_without_it_costs_what_it_always_did(orders: WorkflowHandle, client: Client) -> None:
    orders.create("a1")
    orders.create("a2", metadata={})
    for id in ("a1", "a2"):
        assert not client.store.redis.hexists(client.store.keys.header(where(client, id)), "meta")
    assert [line.count(b"|") for line in lines(client)] == [3, 3]


def where(client: Client, id: str) -> Instance:
    return client.store.keys.instance("order", id)


def test_the_sweep_takes_out_lines_that_nothing_stands_behind_and_puts_back_what_is_missing(
    orders: WorkflowHandle, client: Client
) -> None:
    orders.create("a1", metadata=ACME)
    place = where(client, "a1")
    index = client.store.keys.shard_key(place.shard, "index")
    (tagged, whole) = lines(client)
    gone = tagged.replace(b"a1", b"a2") if client.store.keys.instance("order", "a2").shard == place.shard else None
    other = tagged[:8] + b"0" * 16 + tagged[24:]
    client.store.redis.zrem(index, tagged)
    for line in (other, gone):
        if line is not None:
            client.store.redis.zadd(index, {line: 0})
    assert found(orders, metadata=ACME) == []
    list(sweep.pages(client.store, place.shard))
    assert lines(client) == [tagged, whole]


def test_of_an_ended_instance_lost_lines_are_derived_with_the_rest_of_the_index(
    orders: WorkflowHandle, client: Client
) -> None:
    orders.create("a1", metadata=ACME).terminate()
    before = lines(client)
    place = where(client, "a1")
    client.store.redis.delete(client.store.keys.shard_key(place.shard, "index"))
    list(sweep.pages(client.store, place.shard, everything=True))
    assert lines(client) == before


def test_what_somebody_has_written_over_it_hides_nothing_else(orders: WorkflowHandle, client: Client) -> None:
    for id in ("a1", "a2"):
        orders.create(id, metadata=ACME)
    client.store.redis.hset(client.store.keys.header(where(client, "a1")), "meta", b"\xc1|")
    assert found(orders, metadata=ACME) == ["a2"]
    assert sorted(found(orders)) == ["a1", "a2"]
    assert orders.get("a1").status().metadata == {}
    HandWorker(client.store).complete(where(client, "a1"), "done")
    assert orders.get("a1").result(timeout="10 seconds") == "done"
    for shard in range(client.store.keys.shards):
        list(sweep.pages(client.store, shard))
    orders.get("a1").delete()
    orders.get("a2").delete()
    assert lines(client) == []


def test_a_verb_for_many_reaches_those_of_one_customer(orders: WorkflowHandle) -> None:
    orders.create_batch([{"id": f"a{n}", "metadata": {"customer": "acme" if n % 2 else "other"}} for n in range(10)])
    assert orders.terminate_all(metadata=ACME).done == 5
    assert orders.delete_all("terminated", metadata=ACME).done == 5
    assert sorted(found(orders)) == ["a0", "a2", "a4", "a6", "a8"]
