"""Instances that never end: each life hands over to the next, on engines warm and cold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.deployment import PATIENCE_SECONDS, Deployment, warm_and_cold
from workflows import App, Client, InvalidTransition, WorkflowEntrypoint
from workflows.dev.embedded import EmbeddedRedis

app = App("entities", queues=("warm", "cold"))
EVENTS = 60
EVENTS_OF_A_LIFE = 7
_RESULT_MS = PATIENCE_SECONDS * 3000


def same(payload: int) -> int:
    return payload


class Account(WorkflowEntrypoint[Any]):
    """Adds up what it is sent; returns all of it, in order, with the number of its lives, when it is closed."""

    async def run(self, event: Any, step: Any) -> Any:
        booked = list(event.payload.get("booked", ()))
        for _ in range(EVENTS_OF_A_LIFE):
            entry = await step.wait_for_any("entry", ["booked", "closed"], timeout="1 hour")
            if entry.type == "closed":
                return [event.payload.get("lives", 1), booked]
            booked.append(await step.do("book", same, entry.payload))
            step.publish("booked", len(booked))
        return step.continue_as({"booked": booked, "lives": event.payload.get("lives", 1) + 1})


class Hasty(WorkflowEntrypoint[Any]):
    async def run(self, event: Any, step: Any) -> Any:
        step.sleep("left", "1 hour")
        step.continue_as()


class Owner(WorkflowEntrypoint[Any]):
    async def run(self, event: Any, step: Any) -> Any:
        return await step.wait_for_child("account", event.payload)


for queue in app.queues:
    for workflow in (Account, Hasty, Owner):
        name = f"{workflow.__name__.lower()}-{queue}"
        app.workflow(type(workflow.__name__, (workflow,), {}), name=name, queue=queue)


@pytest.fixture(scope="module")
def deployment(redis_server: EmbeddedRedis) -> Iterator[Deployment]:
    with warm_and_cold(app, redis_server.url) as made:
        yield made


@pytest.fixture
def client(deployment: Deployment) -> Client:
    return deployment.client


@pytest.mark.parametrize("queue", app.queues)
def test_each_event_is_handled_once_and_in_order_by_whichever_life(client: Client, queue: str) -> None:
    """Who waits for the end hears of the last life, and the journal is that of the last life alone."""
    name = f"account-{queue}"
    account = client.workflow(name).create()
    owner = client.workflow(f"owner-{queue}").create(params={"workflow": name, "id": account.id})
    subscribed = account.subscribe(filter=["workflow_started", "workflow_completed"])
    heard = [next(subscribed).type]
    for number in range(EVENTS):
        account.send_event("booked", number)
    account.send_event("closed")
    lives, booked = owner.result(timeout=_RESULT_MS)
    assert (lives, booked) == (1 + EVENTS // EVENTS_OF_A_LIFE, list(range(EVENTS)))
    assert len(list(account.status().steps)) <= 2 * EVENTS_OF_A_LIFE + 1
    assert account.result(timeout=_RESULT_MS) == [lives, booked]
    heard += [event.type for event in subscribed]
    assert (heard[0], heard[-1]) == ("workflow_started", "workflow_completed")
    assert heard.count("workflow_completed") == 1


@pytest.mark.parametrize("queue", app.queues)
def test_what_it_shows_never_goes_back_and_stays_behind_the_end(client: Client, queue: str) -> None:
    """Whether each turn begins at the start or not, and from life to life."""
    account = client.workflow(f"account-{queue}").create()
    for number in range(EVENTS_OF_A_LIFE + 3):
        account.send_event("booked", number)
    account.send_event("closed")
    seen = [0]
    while account.status().ended_at is None:
        seen.append(account.value("booked", 0))
    assert seen == sorted(seen)
    assert (account.value("booked"), account.value("other"), account.value("other", "none")) == (10, None, "none")
    assert account.status().values == {"booked": 10}


@pytest.mark.parametrize("queue", app.queues)
def test_open_steps_are_refused_by_name(client: Client, queue: str) -> None:
    with pytest.raises(InvalidTransition, match='sleep "left"'):
        client.workflow(f"hasty-{queue}").create().result(timeout=_RESULT_MS)
