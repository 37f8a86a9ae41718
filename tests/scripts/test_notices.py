"""Is an app that wants to hear how its instances move told of each move once, and nobody else of anything?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import redis as redis_py

from tests.driving import HandClock, HandWorker, sleep, step, store_of
from workflows.client import requests
from workflows.storage.intake import CreateItem, create_call
from workflows.storage.keys import Instance
from workflows.storage.store import Store
from workflows.values import codec

Told = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def store(redis: redis_py.Redis, clock: HandClock) -> Store:
    return store_of(redis, clock=clock)


@pytest.fixture
def told(store: Store, redis: redis_py.Redis) -> Iterator[Told]:
    """What was published since the last time."""
    with redis.pubsub() as line:
        line.subscribe(store.notices_channel)

        def told() -> list[dict[str, Any]]:
            # What was published before this has come before it.
            redis.publish(store.notices_channel, "null")
            found = []
            while True:
                message = line.get_message(timeout=10)
                assert message is not None
                if message["type"] == "message":
                    if message["data"] == b"null":
                        return found
                    found.append(json.loads(message["data"]))

        yield told


def create(store: Store, id: str = "a1", told_version: str = "v1") -> Instance:
    item = CreateItem("order", id, f"g-{id}", codec.encode({}, what="x"), "default", 1, 2, told_version=told_version)
    assert store.call(create_call(store.keys, item)) == [b"created"]
    return store.keys.instance("order", id)


def steer(store: Store, request: Callable[..., requests.Request[Any]], instance: Instance) -> None:
    asked = request(store.keys, instance)
    asked.parse(store.call(asked.call))


def moves(told: Told) -> list[str]:
    return [message["type"].removeprefix("cf.workflows.workflow.instance.") for message in told()]


def test_each_move_is_told_once(store: Store, worker: HandWorker, told: Told) -> None:
    instance = create(store)
    assert moves(told) == ["queued"]
    worker.turn(instance, opened=[step(1, "a"), sleep(2, "nap", 5_000)])
    assert moves(told) == ["started"]
    token = worker.claim(instance, "a", 1)
    steer(store, requests.pause, instance)
    assert moves(told) == []
    worker.settle(instance, 1, "a", token, value=1)
    assert moves(told) == ["paused"]
    steer(store, requests.pause, instance)
    steer(store, requests.resume, instance)
    assert moves(told) == []
    steer(store, requests.terminate, instance)
    assert moves(told) == ["terminated"]
    for _ in range(2):
        steer(store, requests.restart, instance)
        assert moves(told) == ["queued"]
    worker.complete(instance)
    assert moves(told) == ["started", "completed"]
    steer(store, requests.restart, instance)
    worker.fail(instance, ValueError("secret"))
    assert moves(told) == ["queued", "started", "errored"]


def test_a_message_has_these_fields_and_no_value_of_the_instance(
    store: Store, worker: HandWorker, clock: HandClock, told: Told
) -> None:
    clock.ms = 1_800_000_000_007
    create(store, told_version='1.0-"ä"')
    assert told() == [
        {
            "type": "cf.workflows.workflow.instance.queued",
            "source": {"type": "workflows.workflow", "workflowName": "order"},
            "payload": {"versionId": '1.0-"ä"', "instanceId": "a1"},
            "metadata": {"eventSchemaVersion": 1, "eventTimestamp": "2027-01-15T08:00:00.007Z"},
        }
    ]


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-27T23:59:59.999Z",
        "2028-02-29T00:00:00.000Z",
        "2100-02-28T12:30:01.010Z",
        "2100-03-01T00:00:00.000Z",
        "2000-12-31T01:02:03.004Z",
    ],
)
def test_a_moment_is_told_as_the_calendar_has_it(store: Store, clock: HandClock, told: Told, text: str) -> None:
    clock.ms = round(datetime.fromisoformat(text).timestamp() * 1000)
    assert datetime.fromtimestamp(clock.ms / 1000, UTC) == datetime.fromisoformat(text)
    create(store)
    assert [message["metadata"]["eventTimestamp"] for message in told()] == [text]


def test_nobody_is_told_of_instances_whose_app_does_not_want_it(store: Store, worker: HandWorker, told: Told) -> None:
    instance = create(store, told_version="")
    assert worker.header(instance, "tell") == ""
    worker.turn(instance, opened=[step(1, "a")])
    steer(store, requests.pause, instance)
    steer(store, requests.restart, instance)
    worker.complete(instance)
    assert told() == []


def test_what_is_refused_is_not_told(store: Store, told: Told) -> None:
    instance = create(store)
    item = CreateItem("order", "a1", "other", b"", "default", 1, 2, told_version="v1")
    assert store.call(create_call(store.keys, item)) == [b"exists"]
    steer(store, requests.terminate, instance)
    steer(store, requests.pause, instance)
    assert moves(told) == ["queued", "terminated"]


def test_a_long_version_is_cut_so_that_a_header_stays_small(store: Store, worker: HandWorker) -> None:
    instance = create(store, told_version="ä" * 100)
    assert worker.header(instance, "tell") == "ä" * 32
