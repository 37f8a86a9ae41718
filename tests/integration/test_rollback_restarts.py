"""Rollbacks and restarts from a step: who is undone again, what is forgotten, and who comes too late."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis as redis_py

from tests.deployment import PATIENCE_SECONDS
from tests.integration.test_rollback import NO_RETRY, Shop, ended, fail, rollbacks, until


@pytest.fixture
def shop(redis: redis_py.Redis, redis_url: str) -> Iterator[Shop]:
    made = Shop(redis_url)
    yield made
    made.close()


class Trip:
    """Books a flight, a hotel and a car; what is broken fails for good."""

    def __init__(self, shop: Shop, broken: str = "car") -> None:
        self.shop, self.broken = shop, {broken}

    def book(self, ctx: Any) -> list[str]:
        self.shop.noted.append(ctx.step.name)
        if ctx.step.name in self.broken:
            fail()
        return [ctx.step.name, ctx.idempotency_key]

    def undo(self, output: Any, ctx: Any) -> None:
        self.shop.noted.append(f"no {ctx.step.name}")
        if f"no {ctx.step.name}" in self.broken:
            fail()
        if output is not None:
            # The step's own key, of whichever life it was that did it.
            assert output[1] == ctx.forward.idempotency_key

    async def run(self, step: Any) -> str:
        for name in ("flight", "hotel", "car"):
            await step.do(name, self.book, rollback=self.undo, rollback_config=NO_RETRY)
        return "booked"


def start(shop: Shop, trip: Trip, **settings: Any) -> Any:
    async def run(self: Any, event: Any, step: Any) -> Any:
        return await trip.run(step)

    return shop.start(run, **settings)


FIRST = ["flight", "hotel", "car", "no car", "no hotel", "no flight"]


@pytest.mark.parametrize("warm", [0, 10_000])
def test_what_a_restart_keeps_is_undone_once_more_with_what_was_done_since(shop: Shop, warm: int) -> None:
    instance = start(shop, Trip(shop), warm=warm)
    ended(instance)
    assert shop.noted == FIRST
    instance.restart(from_="hotel")
    status = until(instance, lambda status: len(shop.noted) == 11 and status.ended_at is not None)
    assert shop.noted[6:] == ["hotel", "car", "no car", "no hotel", "no flight"]
    assert rollbacks(status) == [("car", "complete"), ("hotel", "complete"), ("flight", "complete")]
    assert status.rollback is not None and status.rollback.outcome == "complete"


def test_one_that_succeeds_after_a_restart_knows_of_no_rollback(shop: Shop) -> None:
    trip = Trip(shop)
    instance = start(shop, trip)
    ended(instance)
    trip.broken.clear()
    instance.restart(from_="car")
    status = until(instance, lambda status: status.status == "complete")
    assert (status.output, status.rollback, status.is_rolling_back, rollbacks(status)) == ("booked", None, False, [])
    assert shop.noted[6:] == ["car"]
    told = [(event.type, event.step_name) for event in instance.subscribe() if event.type.startswith(("step", "roll"))]
    assert told == [(f"step_{what}", name) for name in ("flight", "hotel", "car") for what in ("started", "completed")]


def test_a_restart_forgets_a_rollback_that_a_handler_has_stopped(shop: Shop) -> None:
    trip = Trip(shop)
    trip.broken.add("no hotel")
    instance = start(shop, trip)
    assert rollbacks(ended(instance)) == [("car", "complete"), ("hotel", "failed")]
    trip.broken.discard("no hotel")
    instance.restart(from_="car")
    until(instance, lambda status: len(shop.noted) == 9 and status.ended_at is not None)
    assert shop.noted[5:] == ["car", "no car", "no hotel", "no flight"]


def test_a_restart_from_a_step_in_the_midst_of_a_rollback_drops_what_is_left_of_it(shop: Shop) -> None:
    """The handler that was running may write nothing any more."""
    begun, release, over = threading.Event(), threading.Event(), threading.Event()
    trip = Trip(shop)

    def hang() -> None:
        begun.set()
        release.wait(PATIENCE_SECONDS)
        over.set()

    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("first", lambda: 1, rollback=hang)
        return await trip.run(step)

    trip.undo = lambda output, ctx: None  # type: ignore[method-assign, assignment]
    instance = shop.start(run)
    assert begun.wait(PATIENCE_SECONDS)
    trip.broken.clear()
    instance.restart(from_="car")
    status = until(instance, lambda status: status.ended_at is not None)
    release.set()
    assert over.wait(PATIENCE_SECONDS)
    assert (status.status, status.rollback, rollbacks(status)) == ("complete", None, [])
    assert instance.status().as_dict() == status.as_dict()


def test_what_a_restart_has_kept_is_undone_before_anybody_goes_on_with_it(shop: Shop) -> None:
    """It is terminated before a worker has begun with its new life."""
    trip = Trip(shop)
    instance = start(shop, trip)
    ended(instance)
    assert shop.deployment is not None
    shop.deployment.engines.pop().stop()
    instance.restart(from_="car")
    instance.terminate(rollback=True)
    assert instance.status().is_rolling_back
    shop.deployment.engine()
    status = ended(instance)
    assert shop.noted[6:] == ["no hotel", "no flight"]
    assert (status.status, status.rollback and status.rollback.outcome) == ("terminated", "complete")


def test_a_subscriber_of_a_rollback_that_a_restart_drops_is_told_the_new_life(shop: Shop) -> None:
    begun, release = threading.Event(), threading.Event()
    trip = Trip(shop)

    def hang(output: Any, ctx: Any) -> None:
        begun.set()
        release.wait(PATIENCE_SECONDS)

    trip.undo = hang  # type: ignore[method-assign]
    instance = start(shop, trip)
    assert begun.wait(PATIENCE_SECONDS)
    cursor = next(event.event_id for event in instance.subscribe() if event.type == "rollback_attempt_started")
    trip.broken.clear()
    instance.restart(from_="car")
    release.set()
    told = [(event.type, event.step_name) for event in instance.subscribe(cursor=cursor)]
    assert not [type for type, _ in told if type.startswith("rollback")]
    assert [name for type, name in told if type == "step_completed"] == ["flight", "hotel", "car"]
    assert told[-1] == ("workflow_completed", None)
