"""Events on running engines: one that keeps its replays, and one that replays every turn from the start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis as redis_py
from pydantic import BaseModel

from tests.integration.test_engine import PATIENCE_SECONDS, Deployment
from worker.engine import Engine
from worker.settings import Settings
from workflows import (
    App,
    AsyncClient,
    BadEvent,
    Client,
    EventError,
    EventTimeout,
    InstanceEnded,
    InstanceNotFound,
    PayloadNotSerializable,
    WorkflowEntrypoint,
    WorkflowInstance,
)
from workflows.clock import monotonic
from workflows.dev.embedded import EmbeddedRedis

app = App("events", queues=("warm", "cold"))
QUEUES = ("warm", "cold")


def on_both(workflow: type[WorkflowEntrypoint[Any]], **options: Any) -> None:
    """Register it once for each engine: ``asks-warm``, ``asks-cold``."""
    for queue in QUEUES:
        name = f"{workflow.__name__.lower()}-{queue}"
        app.workflow(type(workflow.__name__, (workflow,), {}), name=name, queue=queue, **options)


class Packed(BaseModel):
    by: str
    boxes: int = 1


def on_both_with_models(workflow: type[WorkflowEntrypoint[Any]]) -> None:
    on_both(workflow, events={"packed": Packed})


@on_both_with_models
class Packing(WorkflowEntrypoint[Any]):
    async def run(self, event: Any, step: Any) -> Any:
        packed = await step.wait_for_any("packing", ["packed", "note"])
        return [type(packed.payload).__name__, getattr(packed.payload, "boxes", packed.payload)]


@on_both
class Asks(WorkflowEntrypoint[Any]):
    """Takes no for an answer once, if it may."""

    async def run(self, event: Any, step: Any) -> Any:
        said: list[Any] = []
        try:
            said.append((await step.wait_for_event("first", type="answer")).payload)
        except EventError as error:
            if event.payload.get("gives up"):
                raise
            said.append([error.name, error.message, error.payload])
        said.append(await step.do("between", lambda: "done"))
        said.append((await step.wait_for_event("second", type="answer")).payload)
        return said


@on_both
class Basket(WorkflowEntrypoint[Any]):
    """An entity: takes what comes, whichever type it is of."""

    async def run(self, event: Any, step: Any) -> Any:
        things: list[Any] = []
        while True:
            try:
                came = await step.wait_for_any("next", ["added", "removed", "paid"], timeout="1 second")
            except EventTimeout:
                return ["left behind", things]
            if came.type == "paid":
                return things
            things.append([came.type, came.payload])


@pytest.fixture(scope="module")
def deployment(redis_server: EmbeddedRedis) -> Iterator[Deployment]:
    with redis_py.Redis.from_url(redis_server.url) as first:
        first.flushall()
    made = Deployment(app, redis_server.url)
    for queue, warm in (("warm", 100), ("cold", 0)):
        settings = Settings(queues=(queue,), warm=warm)
        engine = Engine(app, made._connect, settings, on_hopeless=pytest.fail)
        engine.start()
        made.engines.append(engine)
    yield made
    made.close()


@pytest.fixture
def client(deployment: Deployment) -> Client:
    return deployment.client


@pytest.fixture(params=QUEUES)
def create(client: Client, request: pytest.FixtureRequest) -> Callable[..., WorkflowInstance]:
    def created(workflow: str, **options: Any) -> WorkflowInstance:
        return client.workflow(f"{workflow}-{request.param}").create(**options)

    return created


def until_open(instance: WorkflowInstance, name: str) -> None:
    deadline = monotonic() + PATIENCE_SECONDS
    while not any((step.name, step.status) == (name, "waiting") for step in instance.status().steps):
        assert monotonic() < deadline, [step.as_dict() for step in instance.status().steps]


# Errors


def test_an_event_that_is_an_error_is_raised_by_the_wait_and_the_rest_goes_on(create: Any) -> None:
    instance = create("asks")
    until_open(instance, "first")
    assert (
        instance.send_event("answer", {"by": "Ann"}, error={"message": "too dear", "name": "Rejected"}) == "delivered"
    )
    instance.send_event("answer", "well then")
    assert instance.result("10 seconds") == [["Rejected", "too dear", {"by": "Ann"}], "done", "well then"]
    first = instance.status().steps[0]
    assert first.error is not None
    assert (first.status, first.error.name, first.error.message, first.output) == (
        *("failed", "Rejected", "too dear"),
        {"by": "Ann"},
    )
    told = [event for event in instance.subscribe() if event.step_name == "first"]
    assert [event.type for event in told] == ["wait_started", "wait_errored"]
    assert told[1].as_dict()["error"] == {"name": "Rejected", "message": "too dear"}


def test_an_error_that_run_does_not_catch_ends_it_and_reaches_who_asks_for_the_result(create: Any) -> None:
    instance = create("asks", params={"gives up": True})
    assert instance.send_event("answer", 7, error="too dear") in ("buffered", "delivered")
    with pytest.raises(EventError, match=r'^too dear \(wait "first", instance') as found:
        instance.result("10 seconds")
    assert (found.value.payload, found.value.step) == (7, 'wait "first"')


# Any of several types


def test_a_loop_over_several_types_takes_them_in_the_order_of_their_acceptance(create: Any) -> None:
    basket = create("basket")
    for number, type in enumerate(["added", "removed", "added", "removed", "removed", "paid"]):
        basket.send_event(type, number)
    expected = [["added", 0], ["removed", 1], ["added", 2], ["removed", 3], ["removed", 4]]
    assert basket.result("10 seconds") == expected


def test_a_wait_for_any_of_several_types_times_out(create: Any) -> None:
    basket = create("basket")
    assert basket.result("20 seconds") == ["left behind", []]
    (step,) = basket.status().steps
    assert (step.kind, step.status) == ("wait", "timed out")


# Models


@pytest.mark.parametrize("payload", [{"by": "Ann", "boxes": "2"}, Packed(by="Ann", boxes=2)])
def test_a_payload_comes_back_as_the_model_of_its_type(create: Any, payload: Any) -> None:
    packing = create("packing")
    packing.send_event("packed", payload)
    assert packing.result("10 seconds") == ["Packed", 2]


def test_a_payload_of_a_type_without_a_model_is_free(create: Any) -> None:
    packing = create("packing")
    packing.send_event("note", [1])
    assert packing.result("10 seconds") == ["list", [1]]


def test_a_payload_that_does_not_fit_is_refused_where_it_is_sent(create: Any) -> None:
    packing = create("packing")
    with pytest.raises(BadEvent, match=r'event "packed" for workflow "packing-.*fit Packed:\n  boxes: .*given: .many'):
        packing.send_event("packed", {"by": "Ann", "boxes": "many"})
    packing.send_event("packed", {"no box": "left"}, error="none left")  # what comes with an error is free
    with pytest.raises(EventError):
        packing.result("10 seconds")


def test_a_payload_that_does_not_fit_parks_whoever_gets_it_from_a_sender_without_the_app(
    create: Any, redis_server: EmbeddedRedis
) -> None:
    packing = create("packing")
    with Client("events", url=redis_server.url) as stranger:
        stranger.workflow(packing.workflow).get(packing.id).send_event("packed", {"boxes": 2})
    deadline = monotonic() + PATIENCE_SECONDS
    while (status := packing.status()).status != "paused":
        assert monotonic() < deadline, status
    assert status.reason is not None
    assert 'event "packed"' in status.reason
    assert "by: Field required" in status.reason
    assert 'wait "packing"' in status.reason
    packing.terminate()


def test_the_models_of_events_are_published_as_schemas(deployment: Deployment) -> None:
    found = app.manifest()["workflows"]["packing-warm"]["event_schemas"]
    assert list(found) == ["packed"]
    assert found["packed"]["required"] == ["by"]
    assert "event_schemas" not in app.manifest()["workflows"]["asks-warm"]


# Send or start


def test_whoever_sends_first_starts_the_instance(client: Client) -> None:
    baskets = client.workflow("basket-warm")
    answers = [
        baskets.send_event("b-1", "added", number, create_with={}, event_id=f"click-{number}") for number in (1, 1, 2)
    ]
    assert answers[:2] == ["started", "started"]
    assert answers[2] in ("buffered", "delivered")
    baskets.send_event("b-1", "paid")
    assert baskets.get("b-1").result("10 seconds") == [["added", 1], ["added", 2]]
    with pytest.raises(InstanceEnded):
        baskets.send_event("b-1", "added", 3, create_with={})
    with pytest.raises(InstanceNotFound):
        baskets.send_event("b-2", "added", 3)


async def _start(url: str) -> str:
    async with AsyncClient(app, url) as client:
        return await client.workflow("basket-warm").send_event("b-3", "paid", create_with={})


def test_an_async_client_starts_an_instance_too(client: Client, redis_server: EmbeddedRedis) -> None:
    assert asyncio.run(_start(redis_server.url)) == "started"
    assert client.workflow("basket-warm").get("b-3").result("10 seconds") == []


def test_params_of_an_instance_that_an_event_would_start_are_checked_before_anything_is_sent(client: Client) -> None:
    with pytest.raises(PayloadNotSerializable):
        client.workflow("basket-warm").send_event("b-4", "added", create_with={"no": object()})
    with pytest.raises(InstanceNotFound):
        client.workflow("basket-warm").get("b-4")
