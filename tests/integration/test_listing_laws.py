"""Whatever is asked for, in pages of whatever size: a listing shows what a look at every instance would."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis as redis_py

from tests.driving import HandClock
from workflows.authoring.app import App
from workflows.authoring.workflow import WorkflowEntrypoint
from workflows.client import Client, WorkflowHandle
from workflows.client.selection import Where
from workflows.storage.manifest import publish_manifest
from workflows.storage.status import Status

START = datetime(2026, 3, 1, tzinfo=UTC)
KEYS = ("customer", "region")
VALUES = ("a", "b", "c")
QUERIES = 25


@pytest.fixture
def orders(redis: redis_py.Redis, redis_url: str, clock: HandClock) -> Iterator[WorkflowHandle]:
    app = App("shop")

    @app.workflow(metadata=KEYS)
    class Order(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> None: ...

    with Client("shop", redis_url, clock=clock) as client:
        publish_manifest(client.store, app)
        yield client.workflow("order")


def crowd(chance: random.Random, orders: WorkflowHandle, clock: HandClock) -> dict[str, dict[str, Any]]:
    """Instances, and what is known of each."""
    known: dict[str, dict[str, Any]] = {}
    now = START
    for number in range(40):
        now += timedelta(milliseconds=chance.choice((0, 1, 60_000)))
        clock.ms = round(now.timestamp() * 1000)
        id = f"{chance.choice('ab')}{number}"
        about = {key: chance.choice(VALUES) for key in (*KEYS, "note") if chance.random() < 0.5}
        orders.create(id, metadata=about)
        known[id] = {"created": now, "ended": None, "status": Status.QUEUED, "metadata": about}
        one = chance.choice(sorted(known))
        if known[one]["ended"] is None:
            match chance.choice(("pause", "resume", "terminate", "")):
                case "pause":
                    orders.get(one).pause()
                    known[one]["status"] = Status.PAUSED
                case "resume":
                    orders.get(one).resume()
                    known[one]["status"] = Status.QUEUED
                case "terminate":
                    orders.get(one).terminate()
                    known[one] |= {"status": Status.TERMINATED, "ended": now}
        elif chance.random() < 0.3:
            orders.get(one).restart()
            known[one] |= {"status": Status.QUEUED, "ended": None}
    return known


def question(chance: random.Random, known: dict[str, dict[str, Any]]) -> tuple[list[str] | None, Where]:
    moments = sorted(one["created"] for one in known.values())
    where: Where = {}
    for name in ("created_from", "created_before", "ended_from", "ended_before"):
        if chance.random() < 0.25:
            where[name] = chance.choice(moments)  # type: ignore[literal-required]
    if chance.random() < 0.6:
        where["metadata"] = {key: chance.choice(VALUES) for key in KEYS if chance.random() < 0.6}
    statuses = chance.sample([str(one) for one in Status], chance.choice((1, 3, 8)))
    return (statuses if chance.random() < 0.5 else None), where


def is_meant(one: dict[str, Any], statuses: list[str] | None, where: Where) -> bool:
    ended, before = one["ended"], where.get("ended_before")
    return (
        (statuses is None or one["status"] in statuses)
        and one["created"] >= (where.get("created_from") or one["created"])
        and not (where.get("created_before") and one["created"] >= where["created_before"])
        and not (where.get("ended_from") and (ended is None or ended < where["ended_from"]))
        and not (before and (ended is None or ended >= before))
        and (where.get("metadata") or {}).items() <= one["metadata"].items()
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_listing_shows_what_a_look_at_every_instance_would(
    orders: WorkflowHandle, clock: HandClock, seed: int
) -> None:
    chance = random.Random(seed)
    known = crowd(chance, orders, clock)
    for _ in range(QUERIES):
        statuses, where = question(chance, known)
        limit, oldest_first = chance.choice((1, 5, 100)), chance.random() < 0.5
        shown, cursor = [], None
        while True:
            page = orders.list(statuses, limit, cursor, oldest_first=oldest_first, **where)
            assert len(page) <= limit
            shown += list(page)
            cursor = page.cursor
            if cursor is None:
                break
        wanted = {id: one for id, one in known.items() if is_meant(one, statuses, where)}
        assert sorted(one.id for one in shown) == sorted(wanted), (statuses, where)
        moments = [one.created_at for one in shown]
        assert moments == sorted(moments, reverse=not oldest_first)
        for one in shown:
            about = known[one.id]
            assert (one.status, one.created_at, one.metadata) == (about["status"], about["created"], about["metadata"])
