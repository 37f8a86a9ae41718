"""The invariants of docs/invariants.md, each in the smallest situation in which it could break."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import redis as redis_py

from orchestrator import sweep
from tests.driving import CLAIM, FIRE, HandClock, HandWorker, sleep, step, store_of, wait
from workflows.authoring.app import App
from workflows.authoring.workflow import WorkflowEntrypoint
from workflows.client import Client, WorkflowInstance
from workflows.storage.journal import EventReceived
from workflows.storage.keys import Instance
from workflows.storage.manifest import publish_manifest
from workflows.storage.records import GivenUp
from workflows.storage.status import TRANSITIONS, Status
from workflows.storage.store import Store, call_one
from workflows.values import codec


class OrderWorkflow(WorkflowEntrypoint):
    """Never executed: the tests say what it would have asked for."""

    async def run(self, event: Any, step: Any) -> None: ...


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def client(redis: redis_py.Redis, redis_url: str, clock: HandClock) -> Any:
    app = App("shop")
    app.workflow(OrderWorkflow)
    with Client(app, redis_url, clock=clock) as made:
        publish_manifest(made.store, app)
        yield made


@pytest.fixture
def worker(redis: redis_py.Redis, client: Client, clock: HandClock) -> HandWorker:
    return HandWorker(store_of(redis, clock=clock))


def create(client: Client) -> tuple[WorkflowInstance, Instance]:
    instance = client.workflow("order-workflow").create(id="a")
    return instance, client.store.keys.instance("order-workflow", "a")


def timers(store: Store, place: Instance) -> Any:
    return store.redis.zrange(store.keys.shard_key(place.shard, "timers"), 0, -1)


def test_i1_an_outcome_is_accepted_once(client: Client, worker: HandWorker) -> None:
    """The same settle again, and another one under the same token, change nothing."""
    _, place = create(client)
    worker.turn(place, opened=[step(1, "charge")])
    token = worker.claim(place, "a", 1)
    record = worker.record(place, 1)
    assert worker.settle(place, 1, "charge", token, value="first") > 0
    entries = worker.entries(place)
    # The record is gone; a worker that has not heard the answer still remembers it.
    worker.record = lambda instance, seq: record  # type: ignore[method-assign]
    assert worker.settle(place, 1, "charge", token, value="second") == 0
    assert worker.entries(place) == entries


def test_i2_every_move_of_a_status_is_in_the_table(client: Client, worker: HandWorker, clock: HandClock) -> None:
    """A walk through every command, and each move is one that the table knows."""
    instance, place = create(client)
    seen = [instance.status().status]

    def look() -> None:
        seen.append(instance.status().status)

    worker.turn(place, opened=[step(1, "charge"), wait(2, "wait", "go")])
    look()
    token = worker.claim(place, "a", 1)
    instance.pause()
    look()
    worker.settle(place, 1, "charge", token, value=1)
    look()
    instance.resume()
    look()
    worker.turn(place)
    look()
    instance.send_event("go")
    look()
    instance.restart()
    look()
    instance.terminate()
    look()
    moves = {(Status(before), Status(after)) for before, after in pairwise(seen) if before != after}
    known = {(before, after) for (before, _), followers in TRANSITIONS.items() for after in followers}
    assert moves <= known
    assert Status.WAITING_FOR_PAUSE in seen
    assert Status.PAUSED in seen


def test_i3_the_journal_only_grows(client: Client, worker: HandWorker, clock: HandClock) -> None:
    """Settles, events, pauses and the end append; what was there stays byte for byte."""
    instance, place = create(client)
    key = client.store.keys.journal(place)
    before: list[bytes] = []

    def check() -> None:
        now: Any = client.store.redis.lrange(key, 0, -1)
        assert now[: len(before)] == before
        before[:] = now

    worker.turn(place, opened=[step(1, "charge"), wait(2, "wait", "go")])
    check()
    worker.settle(place, 1, "charge", worker.claim(place, "a", 1), value=1)
    check()
    instance.send_event("go")
    check()
    instance.pause()
    instance.resume()
    check()
    worker.complete(place)
    check()
    assert len(before) == 4


def test_i4_a_turn_is_committed_once(client: Client, worker: HandWorker) -> None:
    """The second of two equal commits is stale and opens nothing."""
    _, place = create(client)
    token = worker.claim(place)
    assert worker.commit(place, token, opened=[sleep(1, "nap", 1000)]) == 1
    assert worker.commit(place, token, opened=[sleep(2, "nap", 1000)]) == 0
    assert client.store.redis.hkeys(client.store.keys.of_instance(place)[2]) == [b"1"]


@pytest.mark.parametrize("verb", ["terminate", "restart", "delete", "pause"])
def test_i5_the_end_of_an_instance_takes_its_timers_with_it(client: Client, worker: HandWorker, verb: str) -> None:
    instance, place = create(client)
    worker.turn(place, opened=[sleep(1, "nap", 1000), wait(2, "wait", "go")])
    assert len(timers(client.store, place)) == 2
    getattr(instance, verb)()
    assert timers(client.store, place) == []


def test_i6_an_event_of_an_abandoned_wait_goes_to_the_next_one(client: Client, worker: HandWorker) -> None:
    """A step wins a race, then the event comes, and only then is the loser's wait withdrawn: the event is not lost."""
    instance, place = create(client)
    worker.turn(place, opened=[step(1, "fast"), wait(2, "first wait", "go")])
    worker.settle(place, 1, "fast", worker.claim(place, "a", 1), value=1)
    assert instance.send_event("go", {"n": 1}) == "delivered"
    worker.turn(place, withdrawn=[GivenUp(2, "wait")], opened=[wait(3, "second wait", "go")])
    received = [entry for entry in worker.entries(place) if isinstance(entry, EventReceived)]
    assert [(entry.seq, codec.decode(entry.payload)) for entry in received] == [(2, {"n": 1}), (3, {"n": 1})]


def test_i6_events_of_several_types_are_answered_in_the_order_of_their_acceptance(
    client: Client, worker: HandWorker
) -> None:
    """Whatever their types are called, and whichever wait asked first."""
    instance, place = create(client)
    types = ["refused", "paid", "assign", "b", "a", "shutdown", "c", "delete"]
    for number, type in enumerate(types):
        instance.send_event(type, number)
    worker.turn(place, opened=[wait(seq, type, type) for seq, type in enumerate(sorted(types), 1)])
    received = [entry for entry in worker.entries(place) if isinstance(entry, EventReceived)]
    assert [codec.decode(entry.payload) for entry in received] == list(range(len(types)))


def test_i9_an_intent_is_claimed_once_and_only_with_a_lease(client: Client, worker: HandWorker) -> None:
    """A worker whose lease is gone gets nothing, and of two workers that heard one doorbell one gets the turn."""
    _, place = create(client)
    (member,) = worker.intents(place)
    _, _, _, generation, _, nonce, _ = member.split("|")

    def claim(name: str) -> Any:
        item = {"i": 1, "k": "t", "g": generation, "s": 0, "n": nonce, "m": member, "t": f"token-of-{name}", "h": 0}
        return worker.store.call(
            call_one(worker.keys, CLAIM, place, {"w": name, "items": [item], "page": 10, "turn": 10, "bytes": 1_000})
        )

    HandWorker(worker.store, "other")
    assert claim("without-a-lease") == [b"no-lease"]
    assert claim("hand") != [0]
    assert claim("other") == [0]


def test_i10_the_sweep_brings_back_lost_intents_and_timers(
    client: Client, worker: HandWorker, clock: HandClock
) -> None:
    _, place = create(client)
    worker.turn(place, opened=[step(1, "charge"), sleep(2, "nap", 1000)])
    before = (worker.intents(place), timers(client.store, place))
    for lost in ("intents", "timers", "wake"):
        client.store.redis.delete(client.store.keys.shard_key(place.shard, lost))
    assert sum(sweep.pages(worker.store, place.shard)) == 1
    assert (worker.intents(place), timers(client.store, place)) == before
    clock.ms += 1000
    (timer,) = before[1]
    item = {"i": 1, "m": timer, "k": "s", "g": worker.header(place, "gen"), "s": 2}
    assert worker.store.call(call_one(worker.keys, FIRE, place, {"items": [item]})) == 1
    assert sum(sweep.pages(worker.store, place.shard)) == 0
