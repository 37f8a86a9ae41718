"""One bad thing hurts one instance: real threads of an orchestrator and a worker, and what anybody may write (I11)."""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress

import pytest
import redis as redis_py
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from orchestrator.loop import Orchestrator
from tests.driving import end_waits, store_of
from tests.spoiling import FIELDS, GARBAGE_BYTES, PLACES, SCORES, Spoilt, spoil
from worker.engine import Engine
from worker.settings import Settings
from workflows import App, Client, WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from workflows.client import WorkflowHandle, WorkflowInstance
from workflows.errors import CorruptPayload, InstanceAlreadyExists, InstanceError
from workflows.health import namespace as diagnosis
from workflows.storage import aside, doorbell, keys
from workflows.storage.connection import connection
from workflows.storage.keys import Keyspace
from workflows.storage.manifest import publish_manifest
from workflows.storage.schedules import states_of
from workflows.storage.store import Store, packb

app = App("shop")


@app.workflow(name="order")
class Order(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> int:
        first = await step.do("one", lambda: 1)
        if event.payload.get("waits"):
            await step.wait_for_event("go", type="go", key=event.payload.get("key"))
        await step.sleep("nap", event.payload.get("naps", 1))
        second: int = await step.do("two", lambda first: first + 1, first)
        return second


@app.workflow(name="parent")
class Parent(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> object:
        if event.payload.get("invoke"):
            return await step.invoke("order", {}, id=event.payload["id"])
        return await step.wait_for_child("child", {"workflow": "order", "id": event.payload["child"]})


class Running:
    """An orchestrator and a worker on threads of their own, in a namespace of one shard."""

    def __init__(self, redis: redis_py.Redis, url: str, app: App = app) -> None:
        self.redis = redis
        self.keys = Keyspace("shop", 1)
        self._stores: list[Store] = []
        self._url = url
        self.gave_up: list[str] = []
        store = store_of(redis, shards=1)
        publish_manifest(store, app)
        self.engine = Engine(app, self._connect, Settings(grace_seconds=0.0), on_hopeless=self.gave_up.append)
        self.orchestrator = Orchestrator(self._connect())
        self.thread = threading.Thread(target=self.orchestrator.run, name="orchestrator", daemon=True)
        self.client = Client(app, connection=redis)
        self.orders: WorkflowHandle = self.client.workflow("order")
        self.parents: WorkflowHandle = self.client.workflow("parent")

    def _connect(self) -> Store:
        store = Store(connection(self._url), self.keys, hot=True)
        self._stores.append(store)
        return store

    def __enter__(self) -> Running:
        self.engine.start()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.draining.set()
        self.orchestrator.stop()
        end_waits(self.redis)
        self.redis.publish(Store(self.redis, self.keys).events_channel, "the end")
        self.engine.stop()
        self.thread.join(timeout=10)
        for store in self._stores:
            store.close()

    def wait(self, holds: Callable[[], object]) -> None:
        """Until a condition holds."""
        deadline = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def check(self) -> WorkflowInstance:
        """Everybody still serves: a new instance comes to its end. Returns: that one."""
        order = self.orders.create(id=f"probe-{secrets.token_hex(4)}")
        assert order.result(timeout="20 seconds") == 2
        assert self.thread.is_alive()
        assert all(fetcher.is_alive() for fetcher in self.engine.fetchers)
        assert not self.gave_up
        return order


@pytest.fixture
def running(redis: redis_py.Redis, redis_url: str) -> Iterator[Running]:
    with Running(redis, redis_url) as made:
        yield made


@pytest.fixture
def orders(redis: redis_py.Redis) -> WorkflowHandle:
    """A namespace in which nobody is at work."""
    publish_manifest(store_of(redis, shards=1), app)
    return Client(app, connection=redis).workflow("order")


@pytest.mark.parametrize("spoilt", ["type", "status", "number", "empty", "journal"])
def test_what_cannot_be_read_says_so_and_can_be_deleted(
    redis: redis_py.Redis, orders: WorkflowHandle, spoilt: str
) -> None:
    order = orders.create(id="o-1")
    header, journal, *_ = Keyspace("shop", 1).of_instance(Keyspace("shop", 1).instance("order", "o-1"))
    match spoilt:
        case "type":
            redis.set(header, "garbage")
        case "status":
            redis.hset(header, "st", b"\xff")
        case "number":
            redis.hset(header, "created", "9" * 40)
        case "empty":
            redis.hset(header, "created", "")
        case "journal":
            redis.set(journal, "garbage")
    for verb in (order.status, order.pause, order.resume, order.terminate, order.restart):
        with pytest.raises(InstanceError, match=r"cannot be read.*delete the instance"):
            verb()
    with pytest.raises(InstanceAlreadyExists):
        orders.create(id="o-1")
    order.delete()
    orders.create(id="o-1")


def test_a_status_shows_what_can_be_read_of_it(redis: redis_py.Redis, orders: WorkflowHandle) -> None:
    order = orders.create(id="o-1")
    redis.hset(Keyspace("shop", 1).of_instance(Keyspace("shop", 1).instance("order", "o-1"))[2], "1", "garbage")
    assert (order.status().status, list(order.status().steps)) == ("queued", [])


@pytest.mark.parametrize("garbage", [b"", b"\n\x9f\x95\x14\xfc", b"\x01Znonce-12\xc1", None])
def test_an_end_that_cannot_be_read_is_never_taken_for_an_end_without_a_result(
    running: Running, garbage: bytes | None
) -> None:
    order = running.orders.create(id="o-1")
    assert order.result(timeout="20 seconds") == 2
    journal = running.keys.journal(running.keys.instance("order", "o-1"))
    if garbage is None:
        running.redis.rpop(journal)
    else:
        running.redis.rpush(journal, garbage)
    for look in (order.result, order.status):
        with pytest.raises(InstanceError, match=r"cannot be read.*delete the instance"):
            look()
    with pytest.raises(CorruptPayload, match="how instance 'o-1' of 'order' ended cannot be read"):
        running.parents.create(params={"child": "o-1"}).result(timeout="20 seconds")
    running.wait(lambda: journal in _said(Store(running.redis, running.keys)))
    order.delete()
    assert running.orders.create(id="o-1").result(timeout="20 seconds") == 2


def _ring(running: Running, id: str | bytes, data: str | bytes) -> None:
    name = running.keys.queue("default")
    job = keys.rq_job_prefix().encode() + (id if isinstance(id, bytes) else id.encode())
    running.redis.hset(job, "data", data)
    running.redis.rpush(keys.rq_queue(name), id)


@pytest.mark.parametrize(
    ("id", "data"),
    [
        ("j1", doorbell.data("shop", f"t|order|o-1|abc|{'9' * 30}|n|default")),
        ("j1", doorbell.data("shop", f"t|order|o-1|abc|{'9' * 5_000}|n|default")),
        ("j1", doorbell.data("shop", "t|order|o-1|abc|0|n|\N{SNOWMAN}")),
        (b"\xff\xfe", '["os.system", "true"]'),
        (b"\xff\xfe", doorbell.data("shop", "nothing")),
    ],
)
def test_a_bad_doorbell_is_dropped_and_the_queue_served_on(running: Running, id: str | bytes, data: str) -> None:
    _ring(running, id, data)
    running.check()


HUGE = "9" * 5_000
MEMBERS = [
    b"\xff\xfe",
    b"",
    b"one|two",
    f"a|order|o-1|abc|{HUGE}|n|default".encode(),
    b"a|order|o-1|abc|99999999999999|n|default",
    b"t|order|o-1|abc|0|n|a queue",
    b"t|order|elsewhere|abc|0|n|default|more",
    b"s|order|o-1|abc|" + HUGE.encode(),
    b"w0|a|order|o-1|abc|" + HUGE.encode() + b"|token",
    b"order|o-1",
    b"running|order|x|o-1",
]


def _set_aside(running: Running) -> list[aside.Note]:
    store = Store(running.redis, running.keys)
    return list(aside.notes(store, 0, 1_000)[1])


def test_the_doctor_names_what_is_no_wait_for_a_key(running: Running) -> None:
    running.redis.zadd(running.keys.keyed(0), {b"go=6b|\xff": 0})
    assert any(
        ":keyed" in line and "not a wait for a key" in line
        for line in _said(Store(running.redis, running.keys)).splitlines()
    )
    running.check()


@pytest.mark.parametrize("name", ["intents", "timers", "held", "workers", "index", "retire"])
def test_members_that_are_none_are_set_aside_and_everybody_served_on(running: Running, name: str) -> None:
    key = running.keys.shard_key(0, name)
    prefixed = [b"dead|" + member for member in MEMBERS] if name == "held" else MEMBERS
    if name == "index":
        prefixed = [b"running|" + member for member in MEMBERS]
    running.redis.zadd(key, dict.fromkeys(prefixed, 0 if name in ("held", "index") else 1))
    running.redis.zadd(running.keys.shard_key(0, "workers"), {"dead": 1})
    running.redis.delete(running.keys.shard_key(0, "wake"))
    running.orchestrator._sweep_at = 0.0
    running.check()
    running.wait(lambda: not any(running.redis.zscore(key, member) is not None for member in prefixed))
    noted = {note.member for note in _set_aside(running) if note.key == key}
    assert len(noted) >= len(prefixed) - 3  # some are read by prefix, and are what they seem to be


@pytest.mark.parametrize("name", keys.SHARD_KEY_NAMES)
def test_a_shards_key_of_another_type_is_taken_away_while_everybody_is_at_work(running: Running, name: str) -> None:
    waiting = running.orders.create(id="waiting", params={"naps": "2 seconds"})
    running.wait(lambda: waiting.status().status == "waiting")
    key = running.keys.shard_key(0, name)
    running.redis.delete(key)
    running.redis.set(key, "garbage")
    running.orchestrator._check_at = 0.0
    running.check()
    assert waiting.result(timeout="20 seconds") == 2
    running.wait(lambda: running.redis.type(key) != b"string")
    if name != "aside":
        assert key in {note.key for note in _set_aside(running)}


def test_where_waits_for_keys_stand_is_made_anew_from_them_when_it_is_of_another_type(running: Running) -> None:
    key = running.keys.keyed(0)
    early = running.orders.create(id="early", params={"waits": True, "key": "k"})
    running.wait(lambda: early.status().status == "waiting")
    running.redis.delete(key)
    running.redis.set(key, "garbage")
    late = running.orders.create(id="late", params={"waits": True, "key": "k"})
    running.wait(lambda: late.status().status == "waiting")
    assert key in {note.key for note in _set_aside(running)}
    running.wait(lambda: len(running.redis.zrange(key, 0, -1)) == 2)
    assert len(running.client.send_event("go", key="k")) == 2
    assert [one.result(timeout="20 seconds") for one in (early, late)] == [2, 2]


@pytest.mark.parametrize("score", [-1.0, 1e300])
def test_nobody_who_waits_for_a_key_is_hidden_by_what_is_out_of_order(running: Running, score: float) -> None:
    waiting = running.orders.create(id="waiting", params={"waits": True, "key": "k"})
    running.wait(lambda: waiting.status().status == "waiting")
    running.redis.zadd(running.keys.keyed(0), {b"\xff" if score < 0 else b"": score})
    running.orchestrator._check_at = 0.0
    running.wait(lambda: running.client.send_event("go", key="k", id="go"))
    assert waiting.result(timeout="20 seconds") == 2


def test_slots_that_are_out_of_order_are_put_in_their_places(running: Running) -> None:
    for key in running.keys.slots(0):
        running.redis.zadd(key, {b"no slot": 3.0})
    running.orchestrator._check_at = 0.0
    for key in running.keys.slots(0):
        running.wait(lambda key=key: all(not score for _, score in running.redis.zrange(key, 0, -1, withscores=True)))


@pytest.mark.parametrize("name", ["orchestrators", "schedules", "manifest", "meta", "inbox", "inbox_refused"])
def test_a_namespaces_key_of_another_type_is_taken_away_too(running: Running, name: str) -> None:
    key = getattr(running.keys, name)
    running.redis.delete(key)
    running.redis.set(key, "garbage")
    running.orchestrator._check_at = 0.0
    running.check()
    running.wait(lambda: running.redis.type(key) != b"string")
    running.wait(lambda: key in {note.key for note in _set_aside(running)})


@pytest.mark.parametrize("name", ["queue", "handover", "queues", "failed"])
def test_a_key_of_rq_of_another_type_is_taken_away(running: Running, name: str) -> None:
    queue = running.keys.queue("default")
    key = {
        "queue": keys.rq_queue(queue),
        "handover": keys.rq_handover(queue),
        "queues": keys.rq_queues(),
        "failed": keys.rq_failed(queue),
    }[name]
    running.redis.delete(key)
    running.redis.hset(key, "garbage", 1)
    if name == "failed":
        _ring(running, "forged", "[]")
    running.check()
    running.wait(lambda: running.redis.type(key) != b"hash")


def test_cursors_of_schedules_that_are_none_are_put_right(running: Running) -> None:
    store = Store(running.redis, running.keys)
    body = {"queue": "default", "retention": {"success_ms": 1, "error_ms": 1}, "schedules": ["* * * * *", "no cron"]}
    running.redis.hset(running.keys.manifest, "cron", json.dumps({"workflows": {"clock": body}}))
    running.redis.hset(running.keys.schedules, "clock * * * * *", b"\xff")
    running.redis.hset(running.keys.schedules, "clock no cron", "1")
    running.check()
    running.wait(lambda: "clock * * * * *" in states_of(store.fields(running.keys.schedules), store.clock.now_ms()))
    running.wait(lambda: {note.key for note in _set_aside(running)} >= {running.keys.schedules, running.keys.manifest})


def test_a_message_between_shards_that_cannot_be_read_fails_the_step_that_waits(running: Running) -> None:
    relay = running.keys.shard_key(0, "relay")
    running.orders.create(id="slow", params={"naps": "2 seconds"})
    parent = running.parents.create(id="p-1", params={"child": "slow"})
    running.wait(lambda: parent.status().status == "waiting")
    generation = running.redis.hget(running.keys.header(running.keys.instance("parent", "p-1")), "gen")
    assert isinstance(generation, bytes)
    running.redis.hset(relay, f"c|parent|p-1|{generation.decode()}|1", b"\xc1")
    running.redis.hset(relay, "nothing", packb({"op": "outcome", "wf": 1}))
    with pytest.raises(CorruptPayload, match="the message about this child cannot be read"):
        parent.result(timeout="20 seconds")
    running.check()
    assert running.redis.hlen(relay) == 0
    assert len([note for note in _set_aside(running) if note.key == relay]) == 2


def test_a_message_whose_target_cannot_be_read_does_not_keep_the_loop_busy(running: Running) -> None:
    child = running.keys.instance("order", "taken")
    running.redis.set(running.keys.header(child), "garbage")
    parent = running.parents.create(id="p-1", params={"id": "taken", "invoke": True})
    with pytest.raises(InstanceAlreadyExists):
        parent.result(timeout="20 seconds")
    running.check()
    assert running.redis.hlen(running.keys.shard_key(0, "relay")) == 0


def test_requests_that_are_too_large_are_refused_and_kept_small(running: Running) -> None:
    """One of them would block the inbox, or cost half a minute and a gigabyte."""
    inbox = running.keys.inbox
    running.redis.xadd(inbox, {f"field-{n}": "x" for n in range(4_100)})
    running.redis.xadd(inbox, {"op": "create", "workflow": "order", "id": "huge", "params": "9" * 8_000_000})
    event = {"op": "event", "workflow": "order", "id": "o-1", "type": "e", "event_id": "x" * 201}
    running.redis.xadd(inbox, event)  # type: ignore[arg-type]
    running.redis.xadd(inbox, {"op": "create", "workflow": "order", "id": "good", "params": "{}"})
    running.wait(lambda: not running.redis.exists(inbox))
    assert running.orders.get("good").result(timeout="20 seconds") == 2
    refused = [fields for _, fields in running.redis.xrange(running.keys.inbox_refused)]
    assert [fields[b"reason"][:12] for fields in refused] == [b"4,100 fields", b"4 fields of ", b"An event id "]
    assert max(sum(map(len, fields.values())) for fields in refused) < 4_000


def test_a_full_inbox_keeps_nobody_from_timers_and_new_instances(running: Running) -> None:
    with running.redis.pipeline(transaction=False) as pipeline:
        for n in range(20_000):
            pipeline.xadd(running.keys.inbox, {"op": "nonsense", "n": n})
        pipeline.execute()
    begin = time.monotonic()
    running.check()
    assert running.redis.xlen(running.keys.inbox) > 0
    assert time.monotonic() - begin < 15


def test_doctor_survives_and_names_what_was_set_aside(running: Running) -> None:
    store = Store(running.redis, running.keys)
    for name in ("intents", "index", "retire", "held", "timers"):
        running.redis.zadd(running.keys.shard_key(0, name), {b"\xff\x1b[2J": 1})
    running.redis.hset(running.keys.shard_key(0, "owner"), "expiry", "soon")
    running.redis.hset(running.keys.manifest, b"\xff", b"\xff")
    diagnosis.report(store)
    running.wait(lambda: len(_set_aside(running)) >= 3)
    said = [finding.message for finding in diagnosis.report(store).findings()]
    assert any("shop/00}:intents" in line and "not an intent" in line for line in said)
    assert all(line.isprintable() for line in said)
    running.redis.delete(running.keys.schedules)
    running.redis.set(running.keys.schedules, "garbage")
    assert diagnosis.report(store).findings()


SPOILT = st.builds(
    Spoilt,
    place=st.integers(0, PLACES),
    garbage=st.binary(max_size=GARBAGE_BYTES),
    other_type=st.booleans(),
    score=st.sampled_from(SCORES),
    field=st.integers(0, FIELDS),
)
EXAMPLES = int(os.environ.get("GARBAGE_EXAMPLES", "15"))
"""A hundred and more are the long form."""


@pytest.mark.slow
@pytest.mark.timeout(60 + 5 * EXAMPLES)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
@given(spoilt=SPOILT)
def test_whatever_stands_in_one_key_only_its_own_instance_suffers(running: Running, spoilt: Spoilt) -> None:
    """Random garbage, also of another type, in any key of a namespace at work: the others end well (I11).

    One example after the other on the same processes: what one leaves behind is part of what the next one meets.
    """
    redis, store = running.redis, Store(running.redis, running.keys)
    # Named is what this example has done.
    redis.delete(running.keys.shard_key(0, "aside"))
    example = secrets.token_hex(4)
    listening = [running.orders.create(id=f"w{n}-{example}", params={"waits": True}) for n in range(2)]
    keyed = running.orders.create(id=f"k-{example}", params={"waits": True, "key": example})
    running.wait(lambda: all(one.status().status == "waiting" for one in (*listening, keyed)))
    sleeping = [running.orders.create(id=f"s{n}-{example}", params={"naps": "300 milliseconds"}) for n in range(2)]
    # On a busy machine the nap may be over before anybody has seen it.
    running.wait(lambda: all(one.status().status in ("waiting", "complete") for one in sleeping))
    keys_there = sorted(redis.keys("*"))
    key = keys_there[spoilt.place % len(keys_there)]
    note(f"{key!r} is a {redis.type(key)!r}")
    must_be_named = spoil(redis, key, spoilt)
    running.orchestrator._check_at = 0.0
    running.orchestrator._sweep_at = 0.0
    probe = running.check()
    everybody = (*sleeping, *listening, keyed)
    damaged = [one for one in everybody if f":{one.id}:".encode() in key]
    for one in listening:
        with suppress(InstanceError) if one in damaged else nullcontext():
            one.send_event("go")
    if keyed in damaged:
        running.client.send_event("go", key=example)
    else:
        running.wait(lambda: running.client.send_event("go", key=example, id="go"))
    for one in everybody:
        if one not in damaged:
            assert one.result(timeout="30 seconds") == 2
    if damaged:
        running.wait(lambda: _is_told_or_unhurt(store, damaged[0]))
    elif must_be_named:
        running.wait(lambda: key.decode() in _said(store))
    else:
        _said(store)
    for one in (*everybody, probe):
        one.delete()


def _is_told_or_unhurt(store: Store, damaged: WorkflowInstance) -> bool:
    said = _said(store)
    if f"/{damaged.id} is paused" in said or f":{damaged.id}:" in said:
        return True
    with suppress(InstanceError):
        # What it does not need again may be whatever it is.
        return damaged.status().output == 2
    return False


def _said(store: Store) -> str:
    """What ``doctor`` says cannot be read, and who is parked."""
    try:
        found = diagnosis.report(store).findings()
    except redis_py.ResponseError:
        return ""  # somebody took a key away while it looked
    return "\n".join(one.message for one in found if "cannot be read: " in one.message or " is paused: " in one.message)


@pytest.mark.parametrize("name", ["timers", "intents", "held", "workers", "relay", "index", "retire", "unfinished"])
@pytest.mark.parametrize("garbage", [b"\xff\xfe", b"", b"one|two"])
def test_doctor_names_what_nobody_reads(
    redis: redis_py.Redis, orders: WorkflowHandle, name: str, garbage: bytes
) -> None:
    """Several keys are read by prefix, and only where something moves."""
    orders.create(id="o-1")
    store = store_of(redis, shards=1)
    assert not _said(store)
    key = store.keys.shard_key(0, name)
    if name == "relay":
        redis.hset(key, garbage, b"\xc1")  # type: ignore[arg-type]
    else:
        redis.zadd(key, {garbage: 1e300})
    (line,) = _said(store).splitlines()
    assert line.startswith(f"cannot be read: {key} {aside.shown(garbage)}".rstrip())
    assert ": not " in line


def test_garbage_among_many_others_is_named_once_its_turn_has_come(
    redis: redis_py.Redis, redis_url: str, orders: WorkflowHandle
) -> None:
    """``doctor`` looks at both ends of a key only."""
    store = store_of(redis, shards=1)
    key = store.keys.shard_key(0, "timers")
    many = 2 * diagnosis.MEMBERS_LOOKED_AT
    redis.zadd(key, {f"s|order|o-{n}|abc|1": 0 for n in range(many)})
    redis.zadd(key, {"garbage": 1})
    redis.zadd(key, {f"s|order|p-{n}|abc|1": 1e14 for n in range(many)})
    assert not _said(store)
    with Running(redis, redis_url) as running:
        running.wait(lambda: f"{key} garbage" in _said(store))
        running.check()


@pytest.mark.parametrize("garbage", [b"", b"\n\x9f\x95\x14\xfc", b"\x01E\xff\xfe\xfd\xfc12345\x80"])
def test_garbage_at_the_end_of_a_journal_parks_its_instance_and_stops_nobody(running: Running, garbage: bytes) -> None:
    order = running.orders.create(id="o-1", params={"waits": True})
    running.wait(lambda: order.status().status == "waiting")
    # Claimed with garbage as its last entry: no event follows.
    running.redis.rpush(running.keys.journal(running.keys.instance("order", "o-1")), garbage)
    running.orchestrator._sweep_at = 0.0
    running.wait(lambda: "order/o-1 is paused" in _said(Store(running.redis, running.keys)))
    running.check()


@pytest.mark.parametrize("score", [-1, 1])
def test_a_queue_that_is_out_of_order_parks_its_instance(running: Running, score: int) -> None:
    """What is read by prefix is not found any more: the wait would never hear of its event."""
    order = running.orders.create(id="o-1", params={"waits": True})
    running.wait(lambda: order.status().status == "waiting")
    queues = running.keys.of_instance(running.keys.instance("order", "o-1"))[5]
    running.redis.zadd(queues, {b"zzz" if score < 0 else b"": score})
    order.send_event("go")
    running.wait(lambda: queues in _said(Store(running.redis, running.keys)))
    assert order.status().status == "paused"
    order.resume()
    assert order.result(timeout="20 seconds") == 2


@pytest.mark.parametrize("name", ["index", "held"])
@pytest.mark.parametrize("score", [-1, 1])
def test_what_is_read_by_prefix_is_kept_in_order(running: Running, name: str, score: int) -> None:
    key = running.keys.shard_key(0, name)
    running.redis.zadd(key, {b"zzz" if score < 0 else b"": score})
    running.wait(lambda: key in _said(Store(running.redis, running.keys)))
    running.wait(lambda: running.redis.zcount(key, "-inf", "(0") + running.redis.zcount(key, "(0", "+inf") == 0)
    running.check()
    assert [one.id for one in running.orders.list() if one.id.startswith("probe")]
