"""Events on running engines: one that keeps its replays, and one that replays every turn from the start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from tests.deployment import PATIENCE_SECONDS, Deployment, warm_and_cold
from workflows import (
    App,
    AsyncClient,
    BadEvent,
    BadName,
    Client,
    ConfigError,
    EventError,
    EventTimeout,
    HeartbeatTimeout,
    InstanceEnded,
    InstanceNotFound,
    PayloadNotSerializable,
    WaitOver,
    WorkflowEntrypoint,
    WorkflowInstance,
    limits,
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


@on_both
class Watcher(WorkflowEntrypoint[Any]):
    """One of many who wait for news of one order."""

    async def run(self, event: Any, step: Any) -> Any:
        return (await step.wait_for_event("shipped", type="shipped", key=event.payload["order"])).payload


handed_out: dict[str, tuple[str, str]] = {}


@on_both
class Asking(WorkflowEntrypoint[Any]):
    """Hands out a token for each of two waits, and does something else before it awaits them."""

    async def run(self, event: Any, step: Any) -> Any:
        options = {"type": "answer", "timeout": event.payload["timeout"], "token": True}
        silences = event.payload.get("silences", (None, None))
        workflow = event.workflow_name
        waits = [
            step.wait_for_event(name, **options, heartbeat_timeout=silence)
            for name, silence in zip(("first", "second"), silences, strict=True)
        ]
        await step.do("hand out", handed_out.__setitem__, workflow, (waits[0].token, waits[1].token))
        await asyncio.wait([*waits, step.do("other", lambda: 1)], return_when=asyncio.FIRST_COMPLETED)
        await step.do("more", lambda: 1)
        said = []
        for one in waits:
            try:
                said.append((await one).payload)
            except EventTimeout:
                said.append("late")
            except HeartbeatTimeout:
                said.append("silent")
            except EventError as error:
                said.append(error.message)
        return said


@pytest.fixture(scope="module")
def deployment(redis_server: EmbeddedRedis) -> Iterator[Deployment]:
    with warm_and_cold(app, redis_server.url) as made:
        yield made


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


# Keys


def test_an_event_for_a_key_reaches_everybody_who_waits_for_it(client: Client) -> None:
    """In both shards and of both workflows, each once; who waits for another key goes on waiting."""
    waiting = [
        client.workflow(f"watcher-{queue}").create(id=f"{queue}-{n}", params={"order": f"o-{n % 2}"})
        for queue in QUEUES
        for n in range(6)
    ]
    for one in waiting:
        until_open(one, "shipped")
    ours = [one for one in waiting if one.id.endswith(("0", "2", "4"))]
    assert {one._instance.shard for one in ours} == {0, 1}
    for _ in range(2):  # a sender that has not heard the answer
        reached = client.send_event("shipped", {"by": "sea"}, key="o-0", id="news")
        assert {(one.workflow, one.id) for one in reached} <= {(one.workflow, one.id) for one in ours}
    assert [one.result("10 seconds") for one in ours] == [{"by": "sea"}] * 6
    others = [one for one in waiting if one not in ours]
    assert {one.status().status for one in others} == {"waiting"}
    some = client.send_event("shipped", error="lost at sea", key="o-1", workflow="watcher-warm")
    assert {one.workflow for one in some} == {"watcher-warm"}
    assert len(some) == 3
    assert len(client.send_event("shipped", 1, key="o-1")) == 3
    assert client.send_event("shipped", 1, key="o-1") == []
    for one in others:
        if one.workflow == "watcher-cold":
            assert one.result("10 seconds") == 1
            continue
        with pytest.raises(EventError, match="lost at sea"):
            one.result("10 seconds")
    for shard in range(2):
        assert not client.store.redis.exists(client.store.keys.keyed(shard))


def test_more_than_a_call_takes_up_are_all_reached(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SCRIPT_ELEMENTS", 2)
    waiting = [client.workflow("watcher-warm").create(id=f"many-{n}", params={"order": 7}) for n in range(9)]
    for one in waiting:
        until_open(one, "shipped")
    assert len(client.send_event("shipped", 1, key=7)) == 9
    assert [one.result("10 seconds") for one in waiting] == [1] * 9


async def _tell(url: str) -> int:
    async with AsyncClient(app, url) as client:
        return len(await client.send_event("shipped", 1, key="ä|b", workflow="watcher-warm"))


def test_a_key_may_be_any_text_and_an_async_client_sends_to_it_too(client: Client, redis_server: EmbeddedRedis) -> None:
    watcher = client.workflow("watcher-warm").create(params={"order": "ä|b"})
    until_open(watcher, "shipped")
    assert asyncio.run(_tell(redis_server.url)) == 1
    assert watcher.result("10 seconds") == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [({"key": ""}, BadName), ({"key": 1.5}, BadName), ({"key": "k", "id": ""}, BadName), ({"key": "k" * 501}, BadName)],
)
def test_what_can_be_no_key_is_refused(client: Client, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        client.send_event("shipped", 1, **options)


def test_a_payload_for_a_key_is_held_to_the_models_of_those_who_may_get_it(client: Client) -> None:
    with pytest.raises(BadEvent):
        client.send_event("packed", {"boxes": 1}, key="k")
    assert client.send_event("packed", {"boxes": 1}, key="k", workflow="watcher-warm") == []


# Tokens


def tokens_of(instance: WorkflowInstance) -> tuple[str, str]:
    """Those that its step hands out, once it has."""
    deadline = monotonic() + PATIENCE_SECONDS
    while not any((step.name, step.status) == ("hand out", "complete") for step in instance.status().steps):
        assert monotonic() < deadline, instance.status()
    return handed_out.pop(instance.workflow)


def test_an_answer_by_a_token_reaches_the_wait_whose_token_was_handed_out(create: Any, client: Client) -> None:
    asking = create("asking", params={"timeout": "1 hour"})
    first, second = tokens_of(asking)
    assert client.send_event(token=second, payload="two", id="click") == "delivered"
    assert client.send_event(token=second, payload="two", id="click") == "delivered"  # the same answer
    with pytest.raises(WaitOver, match="takes no answer any more"):
        client.send_event(token=second, payload="another")
    assert asking.send_event("answer", "by nobody") == "buffered"
    client.send_event(token=first, error="no idea")
    assert asking.result("10 seconds") == ["no idea", "two"]
    with pytest.raises(InstanceEnded):
        client.send_event(token=first)


def test_an_answer_after_the_timeout_is_refused(create: Any, client: Client) -> None:
    asking = create("asking", params={"timeout": "1 second"})
    deadline = monotonic() + PATIENCE_SECONDS
    while [step.status for step in asking.status().steps].count("timed out") < 2:
        assert monotonic() < deadline
    for token in tokens_of(asking):
        with pytest.raises((WaitOver, InstanceEnded)):
            client.send_event(token=token)
    assert asking.result("10 seconds") == ["late", "late"]


def test_who_is_silent_is_noticed_and_who_may_be_is_waited_for(create: Any, client: Client) -> None:
    asking = create("asking", params={"timeout": "1 hour", "silences": ["1 second", "1 minute"]})
    silent, busy = tokens_of(asking)
    deadline = monotonic() + PATIENCE_SECONDS
    while asking.status().steps[0].status != "timed out":
        assert monotonic() < deadline
    client.heartbeat(busy)
    with pytest.raises(WaitOver):
        client.heartbeat(silent)
    client.send_event(token=busy, payload="done")
    assert asking.result("10 seconds") == ["silent", "done"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"token": "nonsense"}, BadName),
        ({"token": "asking-warm.a.g.0.answer"}, BadName),
        ({"token": "a.b.c.1.d", "type": "answer"}, ConfigError),
        ({"token": "a.b.c.1.d", "key": "k"}, ConfigError),
        ({"token": "a.b.c.1.d"}, InstanceNotFound),
        ({"type": "answer"}, ConfigError),
    ],
)
def test_what_says_not_which_wait_is_meant_is_refused(client: Client, options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        client.send_event(**options)


async def _answer(url: str, token: str) -> str:
    async with AsyncClient(app, url) as client:
        await client.heartbeat(token)
        return await client.send_event(token=token, payload=1)


def test_an_async_client_and_the_inbox_answer_by_a_token_too(client: Client, redis_server: EmbeddedRedis) -> None:
    asking = client.workflow("asking-warm").create(params={"timeout": "1 hour"})
    first, second = tokens_of(asking)
    assert asyncio.run(_answer(redis_server.url, first)) == "delivered"
    client.store.redis.xadd("events:inbox", {"op": "heartbeat", "token": second})
    client.store.redis.xadd("events:inbox", {"op": "event", "token": second, "payload": "2"})
    assert asking.result("10 seconds") == [1, 2]
    client.store.redis.xadd("events:inbox", {"op": "heartbeat", "token": second})
    deadline = monotonic() + PATIENCE_SECONDS
    while not (refused := client.store.redis.xrange("events:inbox:refused")):
        assert monotonic() < deadline
    assert refused[-1][1][b"reason"].endswith(b": ended")


# What people are told


def test_whoever_asks_why_is_told_what_a_wait_is_for(client: Client) -> None:
    watcher = client.workflow("watcher-warm").create(params={"order": "o-9"})
    until_open(watcher, "shipped")
    watcher.send_event("other", 1)
    why = watcher.why()[0]
    assert ' waits for an event of type "shipped", also one sent to its key (step "shipped", ' in why.sentence
    assert 'The mailbox holds 1 event of type "other", which nothing waits for.' in [one.sentence for one in why.hints]
    assert why.facts["type"] == "shipped"
    asking = client.workflow("asking-warm").create(params={"timeout": "1 hour"})
    tokens_of(asking)
    until_open(asking, "second")
    asking.send_event("answer", "by nobody")
    why = next(one for one in asking.why() if one.code == "wait.event")
    assert ' waits for the one answer of type "answer" by its token (step ' in why.sentence
    assert why.way_out == "workflows publish --token … '{…}'"
    assert {step.event_type for step in asking.status().steps if step.kind == "wait"} == {"answer"}
    basket = client.workflow("basket-warm").create()
    until_open(basket, "next")
    assert ' waits for an event of type "added" or "removed" or "paid" (step ' in basket.why()[0].sentence
    for one in (watcher, asking, basket):
        one.terminate()
