"""Instances that are asked to end: what ``run`` does about it, and what everybody is told, on engines warm and cold."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.deployment import PATIENCE_SECONDS, Deployment, warm_and_cold
from workflows import (
    App,
    Client,
    DeadlineExceeded,
    InstanceCancelled,
    InstanceTimeout,
    InvalidTransition,
    WorkflowCancelled,
    WorkflowEntrypoint,
)
from workflows.client import WorkflowInstance
from workflows.clock import monotonic
from workflows.dev.embedded import EmbeddedRedis

app = App("asked", queues=("warm", "cold"))
_RESULT_MS = PATIENCE_SECONDS * 3000
given_up: list[str] = []
undone: list[str] = []


class Order(WorkflowEntrypoint[Any]):
    """Reserves, and ships after a while; cancelled, it releases what it has reserved."""

    async def run(self, event: Any, step: Any) -> Any:
        reserved = await step.do("reserve", lambda: "r-1")
        try:
            await step.sleep("wait for the truck", "1 hour")
        except WorkflowCancelled as cancelled:
            reason = cancelled.reason
            await step.do("release", lambda: f"{reserved} released, {reason}")
            if event.payload.get("goes_on"):
                return "kept"
            raise
        return "shipped"


class Busy(WorkflowEntrypoint[Any]):
    """Works on something that takes for ever."""

    async def run(self, event: Any, step: Any) -> Any:
        async def work(ctx: Any) -> None:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                given_up.append(ctx.instance_id)
                raise

        await step.do("work", work)


class Trip(WorkflowEntrypoint[Any]):
    """Is undone by handlers; may hang in what it does when it is asked to end."""

    async def run(self, event: Any, step: Any) -> Any:
        id = event.instance_id
        await step.do("book", lambda: "b-1", rollback=lambda output: undone.append(f"{id} {output}"))
        try:
            await step.sleep("travel", "1 hour")
        finally:
            if event.payload.get("hangs"):
                await step.sleep("hang", "1 day")


class Late(WorkflowEntrypoint[Any]):
    """Is expected to be done soon, and is not."""

    async def run(self, event: Any, step: Any) -> Any:
        try:
            await step.sleep("wait", "1 hour")
        except DeadlineExceeded:
            await step.do("clean", lambda: None)
            raise


class Owner(WorkflowEntrypoint[Any]):
    async def run(self, event: Any, step: Any) -> Any:
        try:
            await step.wait_for_child("order", event.payload)
        except InstanceCancelled as cancelled:
            return str(cancelled)


for queue in app.queues:
    for workflow in (Order, Busy, Trip, Late, Owner):
        name = f"{workflow.__name__.lower()}-{queue}"
        made = type(workflow.__name__, (workflow,), {})
        app.workflow(name=name, queue=queue, deadline="1 second" if workflow is Late else None)(made)

either = pytest.mark.parametrize("queue", app.queues)


@pytest.fixture(scope="module")
def deployment(redis_server: EmbeddedRedis) -> Iterator[Deployment]:
    with warm_and_cold(app, redis_server.url) as made:
        yield made


@pytest.fixture
def client(deployment: Deployment) -> Client:
    return deployment.client


def until(holds: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE_SECONDS
    while not holds():
        assert monotonic() < deadline
        threading.Event().wait(0.02)


def started(client: Client, name: str, step: str, status: str, **params: Any) -> WorkflowInstance:
    """One that has come to this step."""
    instance = client.workflow(name).create(params=params)
    until(lambda: any((one.name, one.status) == (step, status) for one in instance.status().steps))
    return instance


@either
def test_run_cleans_up_with_further_steps_and_ends_as_cancelled(client: Client, queue: str) -> None:
    order = started(client, f"order-{queue}", "wait for the truck", "sleeping")
    owner = client.workflow(f"owner-{queue}").create(params={"workflow": order.workflow, "id": order.id})
    assert order.cancel("no stock") is True
    with pytest.raises(InstanceCancelled, match="was cancelled: no stock"):
        order.result(_RESULT_MS)
    status = order.status()
    assert (status.status, status.cancelling) == ("terminated", None)
    assert status.error is not None
    assert status.error.name == "InstanceCancelled"
    steps = {step.name: step for step in status.steps}
    assert steps["wait for the truck"].status == "withdrawn"
    assert steps["release"].output == "r-1 released, no stock"
    assert owner.result(_RESULT_MS).endswith("was cancelled: no stock")
    with pytest.raises(InvalidTransition, match="it has ended already"):
        order.cancel()


@either
def test_one_that_catches_it_and_returns_is_complete(client: Client, queue: str) -> None:
    order = started(client, f"order-{queue}", "wait for the truck", "sleeping", goes_on=True)
    order.cancel()
    assert order.result(_RESULT_MS) == "kept"
    assert order.status().status == "complete"


@either
def test_a_step_that_runs_is_given_up(client: Client, queue: str) -> None:
    busy = started(client, f"busy-{queue}", "work", "running")
    busy.cancel()
    with pytest.raises(InstanceCancelled):
        busy.result(_RESULT_MS)
    until(lambda: busy.id in given_up)


@either
def test_what_was_done_is_undone_by_its_handlers(client: Client, queue: str) -> None:
    trip = started(client, f"trip-{queue}", "travel", "sleeping")
    trip.cancel("ill")
    with pytest.raises(InstanceCancelled, match="ill"):
        trip.result(_RESULT_MS)
    status = trip.status()
    assert status.rollback is not None
    assert (status.status, status.rollback.outcome) == ("terminated", "complete")
    assert f"{trip.id} b-1" in undone


@either
def test_one_that_does_not_end_in_its_time_is_ended_and_undone(client: Client, queue: str) -> None:
    trip = started(client, f"trip-{queue}", "travel", "sleeping", hangs=True)
    trip.cancel("ill", grace="1 second")
    assert trip.cancel() is False
    with pytest.raises(InstanceCancelled, match="ill"):
        trip.result(_RESULT_MS)
    status = trip.status()
    assert status.rollback is not None
    assert (status.status, status.rollback.outcome) == ("terminated", "complete")
    assert f"{trip.id} b-1" in undone


@either
def test_one_whose_deadline_is_over_is_asked_to_end_and_has_failed(client: Client, queue: str) -> None:
    late = client.workflow(f"late-{queue}").create()
    with pytest.raises(InstanceTimeout, match="has not ended within its deadline: Execution timed out after 1000ms"):
        late.result(_RESULT_MS)
    status = late.status()
    assert (status.status, [step.name for step in status.steps]) == ("errored", ["wait", "clean"])


def test_a_deadline_of_one_instance_comes_before_that_of_its_workflow(client: Client) -> None:
    late = client.workflow("late-warm").create(deadline="1 hour")
    status = late.status()
    assert status.deadline_at is not None
    assert (status.deadline_at - status.created_at).total_seconds() == 3600
    late.terminate()
    assert late.status().deadline_at is None


def test_while_it_cleans_up_everybody_is_told(client: Client) -> None:
    trip = started(client, "trip-warm", "travel", "sleeping", hangs=True)
    trip.cancel("ill", grace="1 hour")
    until(lambda: any(step.name == "hang" for step in trip.status().steps))
    status = trip.status()
    assert status.cancelling is not None
    assert (status.shown_status, status.cancelling.reason) == ("cancelling", "ill")
    assert status.as_dict()["cancelling"]["is_late"] is False
    (reason,) = [one for one in trip.why() if one.code == "cancel.running"]
    assert "it was cancelled (ill)" in reason.sentence
    told = next(one for one in trip.subscribe(filter="cancel_requested"))
    assert told.reason == "ill"
    trip.terminate()
    assert trip.status().cancelling is None


def test_one_that_is_paused_goes_on_to_clean_up(client: Client) -> None:
    order = started(client, "order-warm", "wait for the truck", "sleeping")
    order.pause()
    order.cancel()
    with pytest.raises(InstanceCancelled):
        order.result(_RESULT_MS)


def test_many_are_cancelled_at_once(client: Client) -> None:
    trips = [started(client, "trip-warm", "travel", "sleeping") for _ in range(2)]
    done = client.workflow("trip-warm").cancel_all("waiting", reason="strike")
    assert done.done >= len(trips)
    for trip in trips:
        with pytest.raises(InstanceCancelled, match="strike"):
            trip.result(_RESULT_MS)
