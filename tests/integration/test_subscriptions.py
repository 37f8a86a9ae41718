"""Is a subscriber told everything that happens to an instance, once and in order?"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import redis as redis_py
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.driving import FIRE, HandClock, HandWorker, PublishedApp, dump, published, sleep, step, store_of, wait
from workflows.authoring.retries import Retry, StepConfig, to_wire
from workflows.client import Client, WorkflowInstance
from workflows.client.aio import AsyncClient
from workflows.client.instance_event import TYPES, InstanceEvent
from workflows.client.subscription import Subscription
from workflows.dev.embedded import EmbeddedRedis
from workflows.errors import ConfigError, InstanceNotFound, ServerUnavailable
from workflows.storage.keys import Instance
from workflows.storage.manifest import publish_manifest
from workflows.storage.records import End, GivenUp
from workflows.storage.store import Store, call_one
from workflows.values import codec

CONFIG = to_wire(StepConfig(Retry(limit=3, delay=200, backoff="constant"), timeout_ms=5_000))


@pytest.fixture
def store(redis: redis_py.Redis, clock: HandClock) -> Store:
    store = store_of(redis, clock=clock)
    publish_manifest(store, PublishedApp())
    return store


@pytest.fixture
def worker(store: Store) -> HandWorker:
    return HandWorker(store)


@pytest.fixture
def client(store: Store, redis: redis_py.Redis, clock: HandClock) -> Iterator[Client]:
    with closing(Client("shop", connection=redis, clock=clock)) as client:
        yield client


def so_far(instance: WorkflowInstance, cursor: str | None = None, **arguments: Any) -> list[InstanceEvent]:
    """What is to be told now."""
    return list(told(Subscription(instance._store.keys, instance._instance, cursor, **arguments), instance))


def told(subscription: Subscription, instance: WorkflowInstance) -> Iterator[InstanceEvent]:
    """Look until nothing is new."""
    while not subscription.is_over:
        found = list(subscription.look().parse(instance._store.call(subscription.look().call)))
        yield from found
        if not found and subscription.pause_seconds:
            return


def briefly(event: InstanceEvent) -> str:
    parts = [event.type, event.step_name, None if event.attempt is None else str(event.attempt)]
    return " ".join(part for part in parts if part)


def in_brief(events: list[InstanceEvent]) -> list[str]:
    return [briefly(event) for event in events]


class Life:
    """A rich life of one instance, move by move: retries, a sleep, events, something given up, a pause, an end."""

    def __init__(self, worker: HandWorker, instance: WorkflowInstance, clock: HandClock) -> None:
        self.worker, self.instance, self.clock = worker, instance, clock
        self.where = instance._instance
        self.tokens: dict[int, str] = {}

    def moves(self) -> list[Callable[[], Any]]:
        worker, where, instance = self.worker, self.where, self.instance
        opened = [
            step(1, "a", config=CONFIG),
            step(2, "b"),
            sleep(3, "nap", 500),
            wait(4, "w", "go"),
            wait(5, "x", "no"),
        ]
        return [
            lambda: worker.turn(where, opened=opened),
            lambda: self.claim(1),
            lambda: self.claim(2),
            lambda: worker.settle(where, 1, "a", self.tokens[1], retry=(200, ValueError("bad"))),
            instance.pause,
            lambda: worker.settle(where, 2, "b", self.tokens[2], value="B"),
            instance.resume,
            lambda: worker.turn(where),
            lambda: self.fire("b", 1),
            lambda: self.claim(1),
            lambda: worker.settle(where, 1, "a", self.tokens[1], error=ValueError("worse")),
            lambda: self.fire("s", 3),
            lambda: instance.send_event("go", {"by": "ann"}),
            lambda: worker.turn(where, opened=[step(6, "c")], withdrawn=[GivenUp(5, "wait")]),
            lambda: self.claim(6),
            lambda: worker.settle(where, 6, "c", self.tokens[6], value="C"),
            lambda: worker.complete(where, {"done": True}),
        ]

    def claim(self, seq: int) -> None:
        self.tokens[seq] = self.worker.claim(self.where, "a", seq)

    def fire(self, kind: str, seq: int) -> None:
        self.clock.ms += 1_000
        generation = self.worker.header(self.where, "gen")
        member = f"{kind}|order|{self.where.id}|{generation}|{seq}"
        item = {"i": 1, "m": member, "k": kind, "g": generation, "s": seq}
        assert self.worker.store.call(call_one(self.worker.keys, FIRE, self.where, {"items": [item]})) == 1

    def live(self) -> Iterator[None]:
        for move in self.moves():
            move()
            self.clock.ms += 10
            yield


@pytest.fixture
def life(client: Client, worker: HandWorker, clock: HandClock) -> Life:
    return Life(worker, client.workflow("order").create("a1", {"n": 1}), clock)


def test_of_each_value_the_latest_is_told_once(client: Client, worker: HandWorker) -> None:
    """Also across a cursor, and across lives: what an earlier one has published is not told of the next."""
    instance = client.workflow("order").create("a1")
    at = instance._instance
    worker.turn(at, opened=[wait(1, "w", "go")], published=published(stage="one", done=0))
    first = so_far(instance, filter="value_published")
    assert [(one.published_name, one.output) for one in first] == [("stage", "one"), ("done", 0)]
    instance.send_event("go")
    worker.turn(at, opened=[wait(2, "w", "go")], published=published(3, done=1))
    instance.send_event("go")
    worker.turn(at, opened=[wait(3, "w", "go")], published=published(4, done=2))
    (last,) = so_far(instance, first[1].event_id, filter="value_published")
    assert last.as_dict()["publishedName"] == "done"
    assert (last.output, last.as_dict()["output"]) == (2, 2)
    assert so_far(instance, last.event_id, filter="value_published") == []
    instance.send_event("go")
    again = End("continued", codec.encode(None, what="params"), asked=[], generation="g2")
    worker.turn(at, end=again)
    assert (instance.value("done"), so_far(instance, last.event_id, filter="value_published")) == (2, [])


STEPS_TOLD = [
    *("step_started a", "attempt_started a 1", "attempt_errored a 1", "attempt_started a 2", "attempt_errored a 2"),
    *("step_errored a", "step_started b", "attempt_started b 1", "attempt_completed b 1", "step_completed b"),
    *("sleep_started nap", "sleep_completed nap", "wait_started w", "wait_completed w", "wait_started x"),
    *("wait_withdrawn x", "step_started c", "attempt_started c 1", "attempt_completed c 1", "step_completed c"),
]


def test_history_comes_whole_and_in_the_order_of_time(life: Life) -> None:
    for _ in life.live():
        pass
    events = so_far(life.instance)
    brief = in_brief(events)
    assert brief[:2] == ["workflow_queued", "workflow_started"]
    assert brief[-1] == "workflow_completed"
    assert sorted(one for one in brief if not one.startswith("workflow")) == sorted(STEPS_TOLD)
    moments = [event.timestamp for event in events if not event.type.startswith("workflow_running")]
    assert moments == sorted(moments)


def test_who_looks_all_the_time_sees_every_status(life: Life) -> None:
    subscription = Subscription(life.instance._store.keys, life.where)
    events = list(told(subscription, life.instance))
    for _ in life.live():
        events += told(subscription, life.instance)
    assert [event.type for event in events if event.type.startswith("workflow")] == [
        *("workflow_queued", "workflow_started", "workflow_waiting_for_pause", "workflow_paused"),
        *("workflow_running", "workflow_waiting", "workflow_running", "workflow_completed"),
    ]
    assert sorted(one for one in in_brief(events) if not one.startswith("workflow")) == sorted(STEPS_TOLD)


def test_each_event_has_the_fields_of_its_type(life: Life) -> None:
    for _ in life.live():
        pass
    events = {briefly(event): event.as_dict() for event in so_far(life.instance)}
    for event in events.values():
        assert event.pop("instanceId") == "a1"
        assert event.pop("eventId")
        assert event.pop("timestamp")
        assert event.pop("stepCount", 1) == 1
        assert event.pop("stepName", None) or event["type"].startswith("workflow")
        assert event["type"] in TYPES
        json.dumps(event)
    error = {"name": "ValueError", "message": "bad"}
    assert events["workflow_started"] == {"type": "workflow_started", "params": {"n": 1}}
    assert events["workflow_completed"] == {"type": "workflow_completed", "output": {"done": True}}
    assert events["attempt_started a 2"] == {"type": "attempt_started", "attempt": 2}
    assert events["attempt_errored a 1"]["error"] == error
    assert events["step_errored a"] == {"type": "step_errored", "error": {"name": "ValueError", "message": "worse"}}
    assert events["step_completed b"] == {"type": "step_completed", "output": "B"}
    assert events["wait_started w"] == {"type": "wait_started", "eventType": "go"}
    assert events["wait_completed w"] == {"type": "wait_completed", "output": {"by": "ann"}}
    assert events["sleep_started nap"]["durationMs"] >= 500


def test_a_step_that_is_open_says_its_settings_and_when_it_is_tried_again(life: Life) -> None:
    for _ in itertools.islice(life.live(), 4):
        pass
    events = {briefly(event): event.as_dict() for event in so_far(life.instance)}
    config = {"retries": {"limit": 3, "delay": 200, "backoff": "constant"}, "timeout": 5_000}
    assert events["step_started a"]["config"] == config
    assert events["attempt_errored a 1"]["retryDelayMs"] == 200
    assert events["sleep_started nap"]["durationMs"] == 500


@pytest.fixture
def stages(life: Life, redis: redis_py.Redis) -> list[WorkflowInstance]:
    """The same life as it was after each move, as instances of their own."""
    keys, found = life.worker.keys, []
    for number, _ in enumerate(life.live()):
        stage = Instance(life.where.shard, "order", f"stage-{number}")
        for source, target in zip(keys.of_instance(life.where), keys.of_instance(stage), strict=True):
            redis.copy(source, target)
        found.append(WorkflowInstance(life.worker.store, stage))
    return found


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_a_subscriber_has_dealt_with_it_is_told_the_rest(
    stages: list[WorkflowInstance], data: st.DataObject
) -> None:
    """It may have stopped behind any event, for as long as it likes, and every time it is another process."""
    dealt_with: list[InstanceEvent] = []
    for stage in stages[:-1]:
        if data.draw(st.booleans()):
            cursor = dealt_with[-1].event_id if dealt_with else None
            dealt_with += so_far(stage, cursor)[: data.draw(st.integers(0, 8))]
    dealt_with += so_far(stages[-1], dealt_with[-1].event_id if dealt_with else None)
    brief = in_brief(dealt_with)
    assert Counter(one for one in brief if not one.startswith("workflow")) == Counter(STEPS_TOLD)
    for once in ("workflow_queued", "workflow_started", "workflow_completed"):
        assert brief.count(once) == 1, brief
    assert {"workflow_waiting_for_pause", "workflow_paused"} & {*brief}
    assert brief.count("workflow_paused") <= 1
    assert brief[0] == "workflow_queued"
    assert brief[-1] == "workflow_completed"
    for name in "abc":
        own = [one for one in brief if one.split()[1:2] == [name]]
        assert own == [one for one in STEPS_TOLD if one.split()[1] == name]
    assert so_far(stages[-1], dealt_with[-1].event_id) == []


def test_two_subscribers_are_told_the_same(life: Life) -> None:
    first, second = (Subscription(life.instance._store.keys, life.where) for _ in range(2))
    heard: list[list[InstanceEvent]] = [[], []]
    for _ in life.live():
        heard[0] += told(first, life.instance)
        heard[1] += told(second, life.instance)
    assert heard[0] == heard[1]


def test_a_filter_hides_what_it_does_not_name_and_the_end_ends_it_all_the_same(life: Life) -> None:
    for _ in life.live():
        pass
    assert in_brief(list(life.instance.subscribe(filter="sleep_started"))) == ["sleep_started nap"]
    wanted = ["step_completed", "sleep_completed"]
    completed = list(life.instance.subscribe(filter=wanted))
    assert in_brief(completed) == ["step_completed b", "sleep_completed nap", "step_completed c"]
    assert in_brief(list(life.instance.subscribe(completed[0].event_id, wanted))) == in_brief(completed[1:])


@pytest.mark.parametrize("arguments", [{"filter": "step_done"}, {"filter": ["step_started", "x"]}, {"cursor": "7"}])
def test_what_cannot_be_asked_for_is_refused_at_once(client: Client, arguments: dict[str, Any]) -> None:
    instance = client.workflow("order").create()
    with pytest.raises(ConfigError):
        instance.subscribe(**arguments)


def test_how_it_ended_is_told_last(client: Client, worker: HandWorker) -> None:
    terminated, errored = client.workflow("order").create("a1"), client.workflow("order").create("a2")
    worker.turn(terminated._instance, opened=[sleep(1, "nap", 500)])
    terminated.terminate()
    assert in_brief(list(terminated.subscribe()))[-3:] == [
        *("sleep_started nap", "sleep_withdrawn nap", "workflow_terminated"),
    ]
    worker.fail(errored._instance, ValueError("bad"))
    last = list(errored.subscribe())[-1].as_dict()
    assert (last["type"], last["error"]) == ("workflow_errored", {"name": "ValueError", "message": "bad"})


def test_a_restart_is_told_as_a_new_beginning(life: Life) -> None:
    moves = life.live()
    for _ in itertools.islice(moves, 4):
        pass
    subscription = Subscription(life.instance._store.keys, life.where)
    before = list(told(subscription, life.instance))
    life.instance.restart()
    assert in_brief(list(told(subscription, life.instance))) == ["workflow_queued"]
    assert in_brief(so_far(life.instance, before[-1].event_id)) == ["workflow_queued"]
    life.worker.complete(life.where)
    assert in_brief(list(told(subscription, life.instance))) == ["workflow_started", "workflow_completed"]


def test_who_was_told_of_an_end_before_a_restart_is_told_the_new_life(life: Life) -> None:
    life.worker.complete(life.where)
    cursor = list(life.instance.subscribe())[-1].event_id
    assert list(life.instance.subscribe(cursor)) == []
    life.instance.restart()
    assert in_brief(so_far(life.instance, cursor)) == ["workflow_queued"]


def test_a_deleted_instance_is_not_found(life: Life) -> None:
    events = life.instance.subscribe()
    assert next(events).type == "workflow_queued"
    life.instance.delete()
    with pytest.raises(InstanceNotFound):
        list(events)


def test_entries_that_a_failover_has_lost_are_told_as_a_new_beginning(life: Life, redis: redis_py.Redis) -> None:
    """What was told of them is not how it is any more (F42)."""
    key = life.worker.keys.journal(life.where)
    for _ in itertools.islice(life.live(), 6):
        pass
    subscription = Subscription(life.instance._store.keys, life.where)
    list(told(subscription, life.instance))
    lost = redis.rpop(key)
    assert in_brief(list(told(subscription, life.instance)))[:2] == ["workflow_queued", "workflow_started"]
    redis.rpush(key, lost)
    assert "step_completed b" in in_brief(list(told(subscription, life.instance)))
    redis.rpop(key)
    redis.rpush(key, lost[:2] + b"elsewhere"[:8] + lost[10:], lost)
    assert in_brief(list(told(subscription, life.instance)))[:1] == ["workflow_queued"]


def test_thousands_of_steps_are_told_page_by_page(client: Client, worker: HandWorker) -> None:
    instance = client.workflow("order").create()
    worker.turn(instance._instance, opened=[step(seq, "s", count=seq) for seq in range(1, 1_001)])
    events = so_far(instance)
    assert Counter(event.type for event in events)["step_started"] == 1_000
    cut = next(event for event in events if event.step_count == 500)
    seen = [event.step_count for event in events[: events.index(cut) + 1] if event.step_count]
    rest = [event.step_count for event in so_far(instance, cut.event_id) if event.step_count]
    assert sorted(seen + rest) == list(range(1, 1_001))


def test_a_look_at_what_has_not_changed_carries_nothing(life: Life, redis: redis_py.Redis) -> None:
    for _ in itertools.islice(life.live(), 4):
        pass
    store = life.worker.store
    subscription = Subscription(store.keys, life.where)
    weights = []
    for _ in range(4):
        answer = store.call(subscription.look().call)
        list(subscription.look().parse(answer))
        weights.append(len(repr(answer)))
    assert weights[-1] == weights[-2] < weights[0] / 4


def test_subscribing_writes_nothing(life: Life, redis: redis_py.Redis) -> None:
    for _ in itertools.islice(life.live(), 7):
        pass
    before = dump(redis)
    so_far(life.instance)
    assert dump(redis) == before


def test_what_happens_is_told_while_it_does(life: Life) -> None:
    heard: list[str] = []
    arrived = threading.Condition()

    def listen() -> None:
        for event in life.instance.subscribe():
            with arrived:
                heard.append(briefly(event))
                arrived.notify()

    listener = threading.Thread(target=listen)
    listener.start()
    for _, expected in zip(life.live(), ["step_started a", "attempt_started a 1", "attempt_started b 1"], strict=False):
        with arrived:
            assert arrived.wait_for(lambda expected=expected: expected in heard, timeout=10)
    for _ in range(1):
        life.instance.terminate()
    listener.join(timeout=10)
    assert not listener.is_alive()
    assert heard[-1] == "workflow_terminated"


def test_a_slow_reader_misses_nothing(life: Life) -> None:
    events = life.instance.subscribe()
    heard = [next(events)]
    for _ in life.live():
        pass
    heard += events
    assert sorted(one for one in in_brief(heard) if not one.startswith("workflow")) == sorted(STEPS_TOLD)


def test_a_subscription_lives_through_a_restart_of_redis() -> None:
    with EmbeddedRedis() as server, Client("shop", server.url) as client:
        publish_manifest(client.store, PublishedApp())
        instance = client.workflow("order").create()
        events = instance.subscribe()
        assert next(events).type == "workflow_queued"
        server.kill()
        server.start()
        instance.terminate()
        assert in_brief(list(events)) == ["workflow_terminated"]


def test_a_subscriber_waits_for_a_redis_that_has_answered_before(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    events = life.instance.subscribe()
    next(events)
    answers, real = iter([ServerUnavailable("gone"), ServerUnavailable("gone")]), Subscription.look

    def look(subscription: Subscription) -> Any:
        for error in answers:
            raise error
        return real(subscription)

    monkeypatch.setattr(Subscription, "look", look)
    life.instance.terminate()
    assert in_brief(list(events)) == ["workflow_terminated"]


def test_what_does_not_answer_at_first_is_said_at_once(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(_: Subscription) -> Any:
        raise ServerUnavailable("gone")

    monkeypatch.setattr(Subscription, "look", look)
    with pytest.raises(ServerUnavailable):
        next(life.instance.subscribe())


def test_with_asyncio_the_same_is_told_and_a_subscriber_can_be_cancelled(life: Life, redis_url: str) -> None:
    async def main() -> list[InstanceEvent]:
        async with AsyncClient("shop", redis_url) as client:
            instance = await client.workflow("order").get("a1")
            heard: asyncio.Queue[InstanceEvent] = asyncio.Queue()

            async def listen() -> None:
                async for event in instance.subscribe():
                    await heard.put(event)

            listener = asyncio.create_task(listen())
            assert (await heard.get()).type == "workflow_queued"
            listener.cancel()
            with pytest.raises(asyncio.CancelledError):
                await listener
            await asyncio.to_thread(lambda: [None for _ in life.live()])
            return [event async for event in instance.subscribe()]

    assert asyncio.run(main()) == list(life.instance.subscribe())
