"""Events on running engines: one that keeps its replays, and one that replays every turn from the start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis as redis_py

from tests.integration.test_engine import PATIENCE_SECONDS, Deployment
from worker.engine import Engine
from worker.settings import Settings
from workflows import App, Client, EventError, EventTimeout, WorkflowEntrypoint, WorkflowInstance
from workflows.clock import monotonic
from workflows.dev.embedded import EmbeddedRedis

app = App("events", queues=("warm", "cold"))
QUEUES = ("warm", "cold")


def on_both(workflow: type[WorkflowEntrypoint[Any]]) -> None:
    """Register it once for each engine: ``asks-warm``, ``asks-cold``."""
    for queue in QUEUES:
        name = f"{workflow.__name__.lower()}-{queue}"
        app.workflow(type(workflow.__name__, (workflow,), {}), name=name, queue=queue)


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
