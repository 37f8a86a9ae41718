"""The inbox: whoever fills a stream, or trims it, keeps nobody else waiting, and no instance takes more than it may."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import pytest
import redis as redis_py

from orchestrator import inbox
from tests.driving import store_of
from tests.integration.test_garbage import Running
from workflows import App, WorkflowEntrypoint, WorkflowEvent, WorkflowStep, limits
from workflows.errors import BadName, InstanceError
from workflows.health import namespace as diagnosis
from workflows.storage import aside
from workflows.storage.keys import Keyspace
from workflows.storage.manifest import publish_manifest
from workflows.storage.outage import is_full
from workflows.storage.store import Store, unpackb
from workflows.values.failure import Failure

app = App("shop", producers=("front", "partner"))


@app.workflow(name="order")
class Order(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> int:
        first = await step.do("one", lambda: 1)
        await step.sleep("nap", "1 second" if event.payload.get("naps") else 1)
        second: int = await step.do("two", lambda first: first + 1, first)
        return second


@app.workflow(name="listener")
class Listener(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> object:
        return (await step.wait_for_event("wait", type="awaited", timeout="1 day")).payload


@pytest.fixture
def running(redis: redis_py.Redis, redis_url: str) -> Iterator[Running]:
    with Running(redis, redis_url, app) as made:
        yield made


@pytest.fixture
def store(redis: redis_py.Redis) -> Store:
    """A namespace in which nobody is at work."""
    store = store_of(redis, shards=1)
    publish_manifest(store, app)
    return store


ROUNDS_OF_A_PROBE = 10
"""Where nobody has to wait for others it takes two to four, one for each time that the orchestrator is needed."""


def keys_of(producer: str) -> tuple[str, str]:
    stream = Keyspace("shop", 1).inbox_of(producer)
    return stream.key, stream.refused


FRONT, FRONT_REFUSED = keys_of("front")
PARTNER, PARTNER_REFUSED = keys_of("partner")


def event(id: str, type: str = "early", **more: str) -> dict[str, str]:
    return {"op": "event", "workflow": "listener", "id": id, "type": type, **more}


def fill(redis: redis_py.Redis, key: str, count: int, request: dict[str, str], most: int | None = None) -> None:
    with redis.pipeline(transaction=False) as pipeline:
        for _ in range(count):
            pipeline.xadd(key, request, maxlen=most)  # type: ignore[arg-type]
        pipeline.execute()


def mail(redis: redis_py.Redis, id: str) -> int:
    """How many events an instance keeps."""
    keys = Keyspace("shop", 1)
    return sum(field.startswith(b"e:") for field in redis.hkeys(keys.of_instance(keys.instance("listener", id))[3]))


def probe(running: Running, n: int, *, naps: bool) -> None:
    """A new instance ends; one that naps, when it has slept for a second."""
    order = running.orders.create(id=f"probe-{n}", params={"naps": naps})
    assert order.result(timeout="20 seconds") == 2


# Errors


@pytest.mark.parametrize(
    ("fields", "stored"), [({"error": "no"}, ("EventError", "no")), ({"error": "no", "error_name": "N"}, ("N", "no"))]
)
def test_a_request_may_say_that_what_was_waited_for_has_failed(
    store: Store, redis: redis_py.Redis, fields: dict[str, str], stored: tuple[str, str]
) -> None:
    instance = store.keys.instance("listener", "a1")
    redis.xadd(FRONT, {"op": "create", "workflow": "listener", "id": "a1"})
    redis.xadd(FRONT, {**event("a1"), **fields})
    inbox.Inbox(store).apply()
    mailed = unpackb(redis.hget(store.keys.of_instance(instance)[3], "e:1"))
    failed = Failure.from_blob(mailed[b"x"])
    assert (failed.name, failed.message) == stored


def test_a_request_for_an_event_may_start_its_instance(store: Store, redis: redis_py.Redis) -> None:
    instance = store.keys.instance("listener", "a1")
    redis.xadd(FRONT, {**event("a1"), "create_with": '{"naps": 1}'})
    redis.xadd(FRONT, {**event("a2"), "create_with": "{"})
    inbox.Inbox(store).apply()
    assert mail(redis, "a1") == 1
    assert redis.exists(store.keys.header(instance))
    ((_, refused),) = redis.xrange(FRONT_REFUSED)
    assert refused[b"reason"].startswith(b"create_with is not JSON")


def test_a_name_of_no_error_is_refused(store: Store, redis: redis_py.Redis) -> None:
    redis.xadd(FRONT, {**event("a1"), "error_name": "N"})
    inbox.Inbox(store).apply()
    ((_, refused),) = redis.xrange(FRONT_REFUSED)
    assert refused[b"reason"] == b"error_name is the name of an error, and there is none"


# One instance


@pytest.mark.timeout(120)
def test_a_flood_for_one_instance_keeps_nobody_waiting_and_fills_it_no_further_than_any_sender_may(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long others take is told in rounds of requests: a second is long or short as the machine is busy."""
    reader, rounds = running.orchestrator._inbox, []
    apply = reader.apply
    monkeypatch.setattr(reader, "apply", lambda: rounds.append(apply()) or rounds[-1])
    listener = running.client.workflow("listener").create(id="flooded")
    running.wait(lambda: listener.status().status == "waiting")
    fill(
        running.redis,
        running.keys.inbox,
        limits.MAILBOX_EVENTS + 5_000,
        event("flooded", payload='"' + "x" * 500 + '"'),
    )
    probes = 0
    while running.redis.exists(running.keys.inbox):
        before, naps = len(rounds), probes % 3 == 2
        probe(running, probes, naps=naps)
        assert naps or len(rounds) - before <= ROUNDS_OF_A_PROBE
        probes += 1
    assert probes > 2, "the flood was over before anybody could suffer from it"
    assert mail(running.redis, "flooded") == limits.MAILBOX_EVENTS
    with pytest.raises(InstanceError, match="10,000 events that nothing waits for; it takes no more"):
        listener.send_event("early")
    refused = [fields for _, fields in running.redis.xrange(running.keys.inbox_refused)]
    assert {fields[b"reason"] for fields in refused} == {b"event of listener/flooded: full"}
    assert len(refused) < limits.REFUSED_KEPT + 200
    assert max(sum(map(len, fields.values())) for fields in refused) < 500


def test_a_log_has_one_line_for_a_round_of_requests_refused_alike(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    fill(store.redis, FRONT, inbox.BATCH, event("nobody"))
    assert inbox.Inbox(store).apply() == inbox.BATCH
    (line,) = [record for record in caplog.records if record.message == "requests refused"]
    assert line.__dict__["key"] == FRONT
    assert line.__dict__["count"] == inbox.BATCH
    assert line.__dict__["reason"] == "event of listener/nobody: unknown"


# A stream per producer


@pytest.mark.timeout(120)
def test_a_producer_that_floods_and_trims_its_stream_costs_another_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request of the other stands in its stream when a round ends only if it came while that round was running."""
    running.client.workflow("listener").create(id="target")
    stop = threading.Event()
    left: Counter[bytes] = Counter()
    reader = running.orchestrator._inbox
    apply = reader.apply

    def round_of_requests() -> int:
        taken = apply()
        left.update(id for id, _ in running.redis.xrange(FRONT))
        return taken

    def flood() -> None:
        while not stop.is_set():
            fill(running.redis, PARTNER, 500, event("target"), most=5_000)

    monkeypatch.setattr(reader, "apply", round_of_requests)
    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        running.wait(lambda: running.redis.xlen(PARTNER) == 5_000)
        for n in range(5):
            running.redis.xadd(FRONT, {"op": "create", "workflow": "listener", "id": f"front-{n}"})
            running.redis.xadd(FRONT, event(f"front-{n}", "awaited", payload=str(n)))
            running.wait(lambda: not running.redis.exists(FRONT))
            assert running.client.workflow("listener").get(f"front-{n}").result(timeout="20 seconds") == n
        assert running.redis.xlen(PARTNER) > 1_000, "nobody has flooded anything"
    finally:
        stop.set()
        flooding.join()
    assert all(rounds == 1 for rounds in left.values()), left
    assert not running.redis.exists(FRONT_REFUSED)


def test_streams_share_a_round_and_take_turns_with_large_requests(store: Store) -> None:
    keys = [store.keys.inbox, FRONT, PARTNER]
    for key in keys:
        fill(store.redis, key, 200, {"op": "nonsense"})
    reader = inbox.Inbox(store)
    assert reader.apply() <= inbox.BATCH
    assert [store.redis.xlen(key) for key in keys] == [167, 167, 167]
    store.redis.delete(*keys)
    for key in keys:
        fill(store.redis, key, 9, {"op": "nonsense", "params": "x" * limits.PAYLOAD_BYTES})
    for _ in range(3):
        assert reader.apply() == 2
    assert [store.redis.xlen(key) for key in keys] == [7, 7, 7]


def test_requests_of_two_streams_are_two_whatever_their_ids(store: Store) -> None:
    """Redis numbers entries by milliseconds, in each stream for itself."""
    for key in (store.keys.inbox, FRONT, PARTNER):
        store.redis.xadd(key, {"op": "create", "workflow": "listener"}, id="7-1")
    reader = inbox.Inbox(store)
    assert reader.apply() == 3
    headers = {key.decode().split(":")[3] for key in store.redis.keys(store.keys.headers_of(0))}
    assert headers == {"inbox-7-1", "inbox-front-7-1", "inbox-partner-7-1"}
    for key in (store.keys.inbox, FRONT, PARTNER):
        store.redis.xadd(key, event("inbox-7-1"), id="8-1")  # type: ignore[arg-type]
    assert reader.apply() == 3
    assert mail(store.redis, "inbox-7-1") == 3
    assert _refused(store) == []


def test_a_request_applied_twice_counts_once(store: Store) -> None:
    """Its stream's reader died before it could take the request away."""
    requests = [{"op": "create", "workflow": "listener", "id": "one"}, event("one")]
    for _ in range(2):
        for n, request in enumerate(requests):
            store.redis.xadd(FRONT, request, id=f"7-{n}")  # type: ignore[arg-type]
        assert inbox.Inbox(store).apply() == 2
    assert mail(store.redis, "one") == 1
    assert _refused(store) == []


def test_requests_that_redis_has_no_room_for_wait_until_there_is_some(store: Store) -> None:
    """They are right, so they are neither refused nor lost (F45)."""
    store.redis.xadd(FRONT, {"op": "create", "workflow": "listener", "id": "one"})
    store.redis.xadd(FRONT, event("one"))  # type: ignore[arg-type]
    reader = inbox.Inbox(store)
    store.redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(redis_py.ResponseError) as error:
            reader.apply()
    finally:
        store.redis.config_set("maxmemory", "0")
    assert is_full(error.value)
    assert store.redis.xlen(FRONT) == 2
    assert reader.apply() == 2
    assert mail(store.redis, "one") == 1
    assert _refused(store) == []


@pytest.mark.parametrize("spoilt", ["key", "refused"])
def test_a_producers_stream_of_another_type_is_taken_away_and_the_others_go_on(store: Store, spoilt: str) -> None:
    key = FRONT if spoilt == "key" else FRONT_REFUSED
    store.redis.set(key, "garbage")
    if spoilt == "refused":
        store.redis.xadd(FRONT, {"op": "nonsense"})
    said = [finding.message for finding in diagnosis.report(store).findings()]
    assert any(f"{key}: is a string and should be a stream" in line for line in said)
    store.redis.xadd(PARTNER, {"op": "create", "workflow": "listener", "id": "good"})
    reader = inbox.Inbox(store)
    while reader.apply():
        pass
    assert store.redis.exists(store.keys.header(store.keys.instance("listener", "good")))
    (note,) = aside.notes(store, aside.NAMESPACE_SHARD, 10)[1]
    assert note.key == key


def test_what_is_refused_stays_with_its_stream_and_the_doctor_counts_it(store: Store) -> None:
    store.redis.xadd(FRONT, {"op": "nonsense"})
    store.redis.xadd(PARTNER, event("nobody"))  # type: ignore[arg-type]
    store.redis.xadd(PARTNER, event("nobody"))  # type: ignore[arg-type]
    inbox.Inbox(store).apply()
    fill(store.redis, FRONT, 3, {"op": "nonsense"})
    found = {one.message: one.level for one in diagnosis.report(store).findings() if "inbox" in one.message}
    assert found == {
        "inbox shop:inbox: 0 waiting, 0 refused": "ok",
        f"inbox {FRONT}: 3 waiting, 1 refused and kept in {FRONT_REFUSED}, the newest because: "
        "op is 'nonsense': it must be 'create', 'event' or 'heartbeat'": "warning",
        f"inbox {PARTNER}: 0 waiting, 2 refused and kept in {PARTNER_REFUSED}, the newest because: "
        "event of listener/nobody: unknown": "warning",
    }


def test_a_producer_needs_the_right_to_its_stream_only(store: Store, redis_url: str) -> None:
    store.redis.acl_setuser("front", enabled=True, passwords="+secret", keys=[FRONT], commands=["+xadd"])
    try:
        with redis_py.Redis.from_url(redis_url) as own:
            own.execute_command("AUTH", "front", "secret")
            own.xadd(FRONT, {"op": "create", "workflow": "listener", "id": "mine"}, maxlen=10)
            for key in (PARTNER, FRONT_REFUSED, store.keys.inbox):
                with pytest.raises(redis_py.ResponseError, match="No permissions to access a key|no permissions"):
                    own.execute_command("XADD", key, "MAXLEN", 0, "*", "op", "create")
    finally:
        store.redis.acl_deluser("front")
    assert inbox.Inbox(store).apply() == 1


@pytest.mark.parametrize("name", ["", "a:b", "{a}", "-a", "x" * 49])
def test_nobody_can_be_named_as_a_key_cannot(store: Store, name: str) -> None:
    with pytest.raises(BadName, match="A producer cannot be named so"):
        App("shop", producers=[name])
    if name:
        with pytest.raises(BadName, match="A producer cannot be named so"):
            store.keys.inbox_of(name)


def _refused(store: Store) -> list[bytes]:
    found = [store.redis.xrange(key) for key in (store.keys.inbox_refused, FRONT_REFUSED, PARTNER_REFUSED)]
    return [fields[b"reason"] for entries in found for _, fields in entries]
