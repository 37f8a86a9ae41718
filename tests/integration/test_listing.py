"""Which instances a listing shows, and that its pages neither repeat nor lose any."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis as redis_py

from tests.driving import HandClock, PublishedApp
from workflows import limits
from workflows.client import Client, WorkflowHandle
from workflows.client.aio import AsyncClient
from workflows.errors import ConfigError
from workflows.storage.keys import index_prefix
from workflows.storage.manifest import publish_manifest

DAY_MS = limits.DAY_MS
START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def clock() -> HandClock:
    clock = HandClock()
    clock.ms = int(START.timestamp() * 1000)
    return clock


@pytest.fixture
def client(redis: redis_py.Redis, redis_url: str, clock: HandClock) -> Iterator[Client]:
    with Client("shop", redis_url, clock=clock) as client:
        publish_manifest(client.store, PublishedApp())
        yield client


@pytest.fixture
def orders(client: Client) -> WorkflowHandle:
    return client.workflow("order")


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def a_week_of(orders: WorkflowHandle, clock: HandClock) -> None:
    """One a day; each but the last two has ended a day and a half later."""
    for number in range(7):
        clock.ms = int(day(number).timestamp() * 1000)
        orders.create(f"a{number}")
        if number >= 2:
            clock.ms -= DAY_MS // 2
            orders.get(f"a{number - 2}").terminate()


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"created_from": day(5)}, ["a6", "a5"]),
        ({"created_before": day(2)}, ["a1", "a0"]),
        ({"created_from": day(2), "created_before": day(4)}, ["a3", "a2"]),
        ({"created_from": day(2) + timedelta(milliseconds=1), "created_before": day(4)}, ["a3"]),
        ({"created_from": day(4), "created_before": day(2)}, []),
        ({"created_from": datetime.min.replace(tzinfo=UTC)}, [f"a{n}" for n in range(6, -1, -1)]),
        ({"created_before": datetime.max.replace(tzinfo=UTC)}, [f"a{n}" for n in range(6, -1, -1)]),
        ({"ended_from": day(4)}, ["a4", "a3"]),
        ({"ended_before": day(2)}, ["a0"]),
        ({"ended_from": day(2), "ended_before": day(4)}, ["a2", "a1"]),
        ({"ended_from": day(2), "created_before": day(2)}, ["a1"]),
        ({"status": "running", "ended_from": day(0)}, []),
        ({"status": "queued", "created_from": day(0)}, ["a6", "a5"]),
        ({"status": ["terminated", "queued"], "ended_from": day(5)}, ["a4"]),
    ],
)
def test_a_listing_shows_those_of_which_all_conditions_hold(
    orders: WorkflowHandle, clock: HandClock, where: dict[str, Any], found: list[str]
) -> None:
    a_week_of(orders, clock)
    assert [one.id for one in orders.list(**where)] == found
    assert [one.id for one in orders.list(oldest_first=True, **where)] == found[::-1]


def test_conditions_hold_on_every_page(orders: WorkflowHandle, clock: HandClock) -> None:
    a_week_of(orders, clock)
    for oldest_first in (False, True):
        for where in ({"created_from": day(1), "created_before": day(6)}, {"ended_before": day(6)}):
            seen: list[str] = []
            cursor = None
            while True:
                page = orders.list(None, 2, cursor, oldest_first=oldest_first, **where)  # type: ignore[arg-type]
                seen += [one.id for one in page]
                cursor = page.cursor
                if cursor is None:
                    break
            assert sorted(seen) == [one.id for one in orders.list(oldest_first=True, **where)]  # type: ignore[arg-type]
            assert len(seen) in (4, 5)


@pytest.mark.parametrize(
    "wrong",
    [{"created_from": datetime(2026, 3, 1)}, {"ended_before": 7}, {"created_before": "2026-03-01"}, {"from": day(1)}],
)
def test_a_condition_that_is_none_is_refused(orders: WorkflowHandle, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        orders.list(**wrong)
    with pytest.raises(ConfigError):
        orders.terminate_all(**wrong)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("oldest_first", [False, True])
def test_what_comes_and_goes_between_pages_moves_no_other(
    orders: WorkflowHandle, clock: HandClock, seed: int, oldest_first: bool
) -> None:
    chance = random.Random(seed)
    orders.create_batch([{"id": f"a{number}"} for number in range(10)])
    for number in range(10, 40):
        clock.ms += chance.choice((0, 1))
        orders.create(f"a{number}")
    there = {one.id for one in orders.list()}
    kept, seen, cursor = set(there), [], None
    while True:
        page = orders.list(limit=chance.choice((1, 3, 7)), cursor=cursor, oldest_first=oldest_first)
        seen += [one.id for one in page]
        cursor = page.cursor
        if cursor is None:
            break
        gone, moved = chance.sample(sorted(kept), 2)
        orders.get(gone).delete()
        kept -= {gone}
        # It ends, or starts over, and so changes its place in the index.
        (orders.get(moved).restart if chance.random() < 0.3 else orders.get(moved).pause)()
        clock.ms += chance.choice((0, 1))
        orders.create(f"b{len(seen)}-{chance.random()}".replace(".", "-"))
    assert len(seen) == len(set(seen))
    assert kept <= set(seen)


def test_lines_that_somebody_else_has_written_are_passed_over(orders: WorkflowHandle, client: Client) -> None:
    orders.create_batch([{"id": f"a{number}"} for number in range(3)])
    keys = client.store.keys
    created = int(orders.list()[0].created_at.timestamp() * 1000)
    for number in range(20):
        for place in (f"{created}|a{number:03}|b|c", f"{created}|", f"{created + number}|\N{SNOWMAN}", "x|y"):
            client.store.redis.zadd(
                keys.shard_key(number % keys.shards, "index"), {index_prefix("queued", "order") + place: 0}
            )
    for oldest_first in (False, True):
        seen, cursor = [], None
        while True:
            page = orders.list(limit=1, cursor=cursor, oldest_first=oldest_first)
            seen += [one.id for one in page]
            cursor = page.cursor
            if cursor is None:
                break
        assert sorted(seen) == ["a0", "a1", "a2"]


def test_a_verb_for_many_keeps_to_the_conditions(orders: WorkflowHandle, clock: HandClock) -> None:
    a_week_of(orders, clock)
    assert orders.delete_all(None, ended_before=day(3)).done == 2
    assert orders.pause_all(created_from=day(6)).done == 1
    assert {one.id: str(one.status) for one in orders.list()} == {
        "a6": "paused",
        "a5": "queued",
        "a4": "terminated",
        "a3": "terminated",
        "a2": "terminated",
    }


def test_the_other_client_lists_the_same(orders: WorkflowHandle, clock: HandClock, redis_url: str) -> None:
    a_week_of(orders, clock)

    async def main() -> None:
        async with AsyncClient("shop", redis_url, clock=clock) as client:
            others = client.workflow("order")
            for where in ({"created_from": day(2)}, {"ended_from": day(2), "ended_before": day(4)}):
                assert await others.list(**where) == orders.list(**where)  # type: ignore[arg-type]
            assert (await others.delete_all(None, ended_before=day(3))).done == 2

    asyncio.run(main())
