"""Batches and verbs for many instances: each entry has an outcome of its own, and calling again does the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import redis as redis_py

from tests.driving import HandClock, HandWorker, PublishedApp, wait
from workflows.client import Client, WorkflowHandle, bulk
from workflows.client.aio import AsyncClient
from workflows.client.bulk import BulkResult
from workflows.client.creation import CreateOptions
from workflows.errors import BadName, BadParams, ConfigError
from workflows.storage.manifest import publish_manifest
from workflows.storage.status import Status


@pytest.fixture
def client(redis: redis_py.Redis, redis_url: str) -> Iterator[Client]:
    with Client("shop", redis_url, clock=HandClock()) as client:
        publish_manifest(client.store, PublishedApp())
        yield client


@pytest.fixture
def orders(client: Client) -> WorkflowHandle:
    return client.workflow("order")


def statuses(orders: WorkflowHandle) -> dict[str, str]:
    return {one.id: str(one.status) for one in orders.list(limit=1_000)}


def test_a_wrong_entry_does_not_keep_the_others_from_being_created(orders: WorkflowHandle) -> None:
    orders.create("old", {"n": 0})
    entries = [{"id": "a"}, {"id": "-"}, {"id": "old"}, CreateOptions("b", {"n": 1}), {"ids": 7}, {"id": "a"}, 7]
    made = orders.create_batch({"instances": [*entries, {"params": {"f": print}}, {"id": "c", "retention": "soon"}]})
    assert [one.id for one in made.created] == ["a", "b"]
    assert [(error.index, error.id, error.code) for error in made.errors] == [
        (1, "-", "instance.invalid_id"),
        (2, "old", "instance.already_exists"),
        (4, None, "instance.invalid_params"),
        (5, "a", "instance.already_exists"),
        (6, None, "instance.invalid_params"),
        (7, None, "instance.invalid_params"),
        (8, "c", "instance.invalid"),
    ]
    assert made.errors[1].message == '(instance.already_exists) Workflow instance with id "old" already exists'
    assert statuses(orders) == {"a": "queued", "b": "queued", "old": "queued"}
    assert orders.get("b").status().params == {"n": 1}


def test_a_number_of_instances_is_created_with_the_same_params(orders: WorkflowHandle) -> None:
    made = orders.create_batch({"count": 30, "params": {"n": 1}})
    assert (len({one.id for one in made.created}), made.errors) == (30, [])
    assert made.created[7].status().params == {"n": 1}


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, BadParams),
        ({"instances": [], "count": 1}, BadParams),
        ({"instances": 7}, BadParams),
        ({"count": "3"}, BadParams),
        ({"id": "a"}, BadParams),
        ({"instances": []}, ConfigError),
        ({"instances": [{}] * 101}, ConfigError),
        ({"count": 0}, ConfigError),
        ({"count": 101}, ConfigError),
    ],
)
def test_a_form_that_is_wrong_itself_creates_nothing(
    orders: WorkflowHandle, form: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match="batch|count"):
        orders.create_batch(form)
    assert statuses(orders) == {}


def test_a_batch_is_deleted_and_says_of_each_what_became_of_it(client: Client, orders: WorkflowHandle) -> None:
    before = set(client.store.redis.keys("*"))
    orders.create_batch([{"id": id} for id in "abc"])
    answer = orders.delete_batch(["a", "nobody", "b", "a", "nobody"])
    assert answer.deleted == ["a", "b", "a"]
    assert [(error.index, error.id, error.code) for error in answer.errors] == [
        (1, "nobody", "instance.not_found"),
        (4, "nobody", "instance.not_found"),
    ]
    assert statuses(orders) == {"c": "queued"}
    assert orders.delete_batch(["c"]).deleted == ["c"]
    assert {key for key in client.store.redis.keys("*") if not key.endswith(b":wake")} == before


@pytest.mark.parametrize(("ids", "error"), [([], ConfigError), (["a"] * 101, ConfigError), (["a", "-"], BadName)])
def test_nothing_is_deleted_where_one_id_can_be_none(
    orders: WorkflowHandle, ids: list[str], error: type[Exception]
) -> None:
    orders.create("a")
    with pytest.raises(error):
        orders.delete_batch(ids)
    assert statuses(orders) == {"a": "queued"}


def test_all_in_a_status_are_ended_and_no_others(client: Client, orders: WorkflowHandle) -> None:
    worker = HandWorker(client.store)
    for id in ("a", "b"):
        worker.turn(orders.create(id)._instance, opened=[wait(1, "w", "approved")])
    orders.create("c")
    assert orders.terminate_all(status="waiting") == BulkResult(done=2)
    assert statuses(orders) == {"a": "terminated", "b": "terminated", "c": "queued"}
    assert orders.terminate_all(status="waiting") == BulkResult()


@pytest.mark.parametrize(
    ("verb", "before", "arguments", "after"),
    [
        ("pause_all", None, (), "paused"),
        ("resume_all", "pause", (), "queued"),
        ("terminate_all", None, (), "terminated"),
        ("restart_all", "terminate", (["terminated", "errored"],), "queued"),
        ("delete_all", "terminate", ("terminated",), None),
    ],
)
def test_every_verb_reaches_more_than_fit_into_one_call(
    orders: WorkflowHandle, verb: str, before: str | None, arguments: tuple[Any, ...], after: str | None
) -> None:
    for some in (range(100), range(100, 130)):
        for one in orders.create_batch([{"id": f"a{n}"} for n in some]):
            if before is not None:
                getattr(one, before)()
    seen: list[int] = []
    result = getattr(orders, verb)(*arguments, progress=lambda so_far: seen.append(so_far.done))
    assert result == BulkResult(done=130)
    assert seen == [100, 130]
    assert statuses(orders) == ({} if after is None else {f"a{n}": after for n in range(130)})


def test_an_interrupted_verb_does_the_rest_when_it_is_called_again(orders: WorkflowHandle) -> None:
    for _ in range(2):
        orders.create_batch({"count": 100})

    class Interrupted(Exception):
        pass

    def interrupt(_: BulkResult) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        orders.terminate_all(progress=interrupt)
    assert sorted(statuses(orders).values()) == ["queued"] * 100 + ["terminated"] * 100
    assert orders.terminate_all().done == 100
    assert set(statuses(orders).values()) == {"terminated"}


def test_an_instance_that_went_or_ended_by_itself_is_passed_over(client: Client, orders: WorkflowHandle) -> None:
    orders.create_batch([{"id": f"a{n}"} for n in range(3)])
    store = client.store
    plan = bulk.for_all(store.keys, "order", bulk.TERMINATE, None, {}, None)
    asked = plan.send([one.parse(store.call(one.call)) for one in next(plan)])
    orders.get("a0").terminate()
    orders.get("a1").delete()
    with pytest.raises(StopIteration) as end:
        plan.send([one.outcome(store.call(one.call)) for one in asked])
    assert end.value.value == BulkResult(done=1, skipped=2)


def test_an_instance_that_cannot_be_read_stops_no_other(client: Client, orders: WorkflowHandle) -> None:
    orders.create_batch([{"id": id} for id in "abc"])
    keys = client.store.keys
    client.store.redis.set(keys.header(keys.instance("order", "b")), "garbage")
    result = orders.terminate_all()
    assert (result.done, [error.id for error in result.errors]) == (2, ["b"])
    assert "doctor" in result.errors[0].message


@pytest.mark.parametrize(
    ("verb", "status"),
    [("terminate_all", "complete"), ("pause_all", "paused"), ("restart_all", "running"), ("delete_all", "gone")],
)
def test_a_status_that_a_verb_does_not_lead_out_of_is_refused(orders: WorkflowHandle, verb: str, status: str) -> None:
    with pytest.raises(ConfigError, match=f"'{status}' is not possible; there are: "):
        getattr(orders, verb)(status)


def test_the_other_client_answers_the_same(client: Client, redis_url: str) -> None:
    async def body() -> None:
        async with AsyncClient("shop", redis_url) as other:
            orders = other.workflow("order")
            made = await orders.create_batch({"instances": [{"id": "a"}, {"id": "-"}, {"id": "b"}, {"id": "a"}]})
            assert [one.id for one in made.created] == ["a", "b"]
            assert [(error.index, error.code) for error in made.errors] == [
                (1, "instance.invalid_id"),
                (3, "instance.already_exists"),
            ]
            await orders.create_batch({"count": 100})
            assert (await orders.pause_all()).done == 102
            assert (await orders.resume_all("paused")).done == 102
            assert (await orders.terminate_all("queued")).done == 102
            assert (await orders.restart_all("terminated")).done == 102
            deleted = await orders.delete_batch(["a", "nobody"])
            assert (deleted.deleted, [error.index for error in deleted.errors]) == (["a"], [1])
            assert (await orders.delete_all(list(Status))).done == 101
            assert list(await orders.list()) == []

    asyncio.run(body())
