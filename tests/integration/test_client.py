"""Does the blocking client say what the scripts mean? The worker's part is played by hand."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pydantic
import pydantic_core
import pytest
import redis as redis_py

from orchestrator import inbox, relay
from tests.driving import HandClock, HandWorker, dump, sleep, step, wait
from workflows import App, WorkflowEntrypoint, WorkflowEvent, WorkflowStep, limits
from workflows.client import Client, WorkflowInstance, requests
from workflows.client.aio import AsyncClient
from workflows.client.creation import CreateOptions
from workflows.client.status import InstanceStatus
from workflows.dev.embedded import EmbeddedRedis
from workflows.errors import (
    BadName,
    BadParams,
    ConfigError,
    InstanceAlreadyExists,
    InstanceEnded,
    InstanceNotFound,
    InstanceTerminated,
    InvalidTransition,
    PayloadNotSerializable,
    ResultTimeout,
    ServerUnavailable,
    UnknownWorkflow,
)
from workflows.storage.connection import connection
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.manifest import publish_manifest
from workflows.storage.records import Asked
from workflows.storage.status import Status
from workflows.storage.store import Call, Store
from workflows.values import codec


class PublishedApp:
    """An app as far as publishing is concerned."""

    name = "shop"

    def manifest(self) -> dict[str, Any]:
        workflow = {"queue": "default", "retention": {"success_ms": 1_000, "error_ms": 2_000}, "schedules": []}
        return {"workflows": {"order": workflow, "parcel": {**workflow, "queue": "gpu"}}}


@pytest.fixture
def client(redis: redis_py.Redis, redis_url: str, clock: HandClock) -> Iterator[Client]:
    """A client that knows the app by name only."""
    with Client("shop", redis_url, clock=clock) as client:
        publish_manifest(client.store, PublishedApp())
        yield client


@pytest.fixture
def worker(client: Client) -> HandWorker:
    return HandWorker(client.store)


def of(instance: WorkflowInstance) -> Instance:
    return instance._instance


def test_a_created_instance_is_queued_with_its_params(client: Client, clock: HandClock) -> None:
    instance = client.workflow("order").create("a1", {"user": 7})
    status = instance.status()
    assert (instance.id, instance.workflow) == ("a1", "order")
    assert status.status == "queued"
    assert status.params == {"user": 7}
    assert status.created_at == datetime.fromtimestamp(clock.ms / 1000, UTC)
    assert (status.started_at, status.ended_at, status.output, status.error, status.rollback) == (None,) * 5
    assert list(status.steps) == []


def test_params_default_to_an_empty_mapping(client: Client) -> None:
    assert client.workflow("order").create().status().params == {}


def test_an_id_is_taken_once_per_workflow(client: Client) -> None:
    client.workflow("order").create("a1")
    client.workflow("parcel").create("a1")
    with pytest.raises(InstanceAlreadyExists) as caught:
        client.workflow("order").create("a1")
    assert str(caught.value) == '(instance.already_exists) Workflow instance with id "a1" already exists'


def test_simultaneous_creates_of_one_id_have_one_winner(client: Client) -> None:
    """F4."""
    handle, outcomes, start = client.workflow("order"), [], threading.Barrier(8)

    def create() -> None:
        start.wait()
        try:
            handle.create("a1")
            outcomes.append("created")
        except InstanceAlreadyExists:
            outcomes.append("exists")

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["created"] + ["exists"] * 7


def test_creating_again_under_one_command_id_means_the_same_instance(client: Client) -> None:
    handle = client.workflow("order")
    first = handle.create("a1", {"n": 1}, command_id="step-3")
    assert handle.create("a1", {"n": 2}, command_id="step-3") == first
    assert first.status().params == {"n": 1}
    with pytest.raises(InstanceAlreadyExists):
        handle.create("a1", command_id="step-4")


@pytest.mark.parametrize("id", ["", "-a", "a b", "x" * 101, "a\n", "ä"])
def test_a_bad_id_is_refused(client: Client, id: str) -> None:
    with pytest.raises(BadName, match="Workflow instance has invalid id"):
        client.workflow("order").create(id)


def test_params_that_cannot_be_stored_are_refused_before_redis_is_touched(
    client: Client, redis: redis_py.Redis
) -> None:
    handle = client.workflow("order")
    before = redis.info("commandstats")
    with pytest.raises(PayloadNotSerializable, match='params of workflow "order"'):
        handle.create(params={"call": print})
    after = redis.info("commandstats")
    assert after.get("cmdstat_evalsha") == before.get("cmdstat_evalsha")


def test_retention_may_be_given_per_instance(client: Client, redis: redis_py.Redis) -> None:
    handle = client.workflow("order")
    handle.create("both", retention="1 hour")
    handle.create("one", retention={"success": "2 hours"})
    handle.create("none")

    def kept(id: str) -> list[bytes | None]:
        return redis.hmget(client.store.keys.header(client.store.keys.instance("order", id)), "keep_ok", "keep_err")

    assert kept("both") == [b"3600000", b"3600000"]
    assert kept("one") == [b"7200000", b"2000"]
    assert kept("none") == [b"1000", b"2000"]


def test_a_batch_creates_what_is_new_and_leaves_out_what_exists(client: Client) -> None:
    handle = client.workflow("order")
    handle.create("a1", {"old": True})
    created = handle.create_batch(
        [{"id": "a0"}, {"id": "a1"}, CreateOptions("a2", {"n": 2}), {"id": "a2", "params": {"n": 3}}, {}]
    )
    assert [instance.id for instance in created[:2]] == ["a0", "a2"]
    assert len(created) == 3
    assert handle.get("a1").status().params == {"old": True}
    assert handle.get("a2").status().params == {"n": 2}


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ({"id": "-"}, BadName),
        ({"params": {"f": print}}, PayloadNotSerializable),
        ({"ids": "x"}, BadParams),
        (7, BadParams),
    ],
)
def test_one_bad_entry_fails_the_whole_batch_before_anything_is_created(
    client: Client, entry: Any, error: type[Exception]
) -> None:
    handle = client.workflow("order")
    with pytest.raises(error, match="entry 1 of the batch"):
        handle.create_batch([{"id": "good"}, entry])
    assert list(handle.list()) == []


@pytest.mark.parametrize("number", [0, 101])
def test_a_batch_has_one_to_a_hundred_entries(client: Client, number: int) -> None:
    with pytest.raises(ConfigError, match="batchCreate"):
        client.workflow("order").create_batch([{}] * number)


def test_get_finds_only_what_exists(client: Client) -> None:
    client.workflow("order").create("a1")
    assert client.workflow("order").get("a1").status().status == "queued"
    with pytest.raises(InstanceNotFound, match=r"\(instance.not_found\) Instance does not exist"):
        client.workflow("order").get("a2")


def test_an_unknown_workflow_is_refused_with_the_known_ones(client: Client) -> None:
    with pytest.raises(UnknownWorkflow, match=r"'ordr'.*order, parcel.*workflows register"):
        client.workflow("ordr").create()
    with pytest.raises(BadName, match="Workflow name is invalid"):
        client.workflow("or:dr")


def test_instances_of_a_workflow_that_no_app_has_any_more_are_steered(client: Client, redis_url: str) -> None:
    """With the code gone, and for a client that has the app's remaining code as for one that has only its name."""
    app = App("shop")

    @app.workflow(name="parcel")
    class Parcel(WorkflowEntrypoint):
        async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None: ...

    for id in ("a1", "a2"):
        client.workflow("order").create(id)
    publish_manifest(client.store, app)
    for id, by in (("a1", Client("shop", redis_url)), ("a2", Client(app, redis_url))):
        with by:
            handle = by.workflow("order")
            assert id in [one.id for one in handle.list()]
            instance = handle.get(id)
            instance.pause()
            assert instance.status().status == "paused"
            instance.resume()
            assert instance.send_event("packed") == "buffered"
            instance.terminate()
            instance.restart()
            instance.delete()
            with pytest.raises(InstanceNotFound):
                handle.get(id)
            with pytest.raises(UnknownWorkflow, match="parcel"):
                handle.create(id)
    with Client(app, redis_url) as by:
        assert by.workflow("PARCEL").name == by.workflow(Parcel).name == "parcel"


def test_a_namespace_without_manifest_says_how_to_register(redis: redis_py.Redis, redis_url: str) -> None:
    with Client("empty", redis_url) as client, pytest.raises(UnknownWorkflow, match="Start a worker"):
        client.workflow("order").create()


def test_listing_is_newest_first_in_pages(client: Client, clock: HandClock) -> None:
    handle = client.workflow("order")
    for number in range(7):
        clock.ms += 1
        handle.create(f"a{number}")
    client.workflow("parcel").create("other")
    first = handle.list(limit=3)
    second = handle.list(limit=3, cursor=first.cursor)
    third = handle.list(limit=3, cursor=second.cursor)
    assert [one.id for page in (first, second, third) for one in page] == [f"a{n}" for n in range(6, -1, -1)]
    assert third.cursor is None
    assert [one.id for one in handle.list(limit=2, oldest_first=True)] == ["a0", "a1"]


def test_listing_may_be_limited_to_a_status(client: Client) -> None:
    handle = client.workflow("order")
    handle.create("a1").pause()
    handle.create("a2")
    assert [(one.id, one.status) for one in handle.list("paused")] == [("a1", Status.PAUSED)]
    assert [one.id for one in handle.list(["paused", "queued"], oldest_first=True)] == ["a1", "a2"]


@pytest.mark.parametrize("wrong", [{"status": "done"}, {"limit": 0}, {"limit": 1001}, {"cursor": "nonsense"}])
def test_a_listing_refuses_what_it_cannot_read(client: Client, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        client.workflow("order").list(**wrong)


def test_an_event_is_buffered_until_somebody_waits(client: Client, worker: HandWorker) -> None:
    instance = client.workflow("order").create()
    assert instance.send_event("approved", {"by": "ann"}) == "buffered"
    worker.turn(of(instance), opened=[wait(1, "approval", "approved"), wait(2, "second", "approved")])
    assert instance.send_event("approved", {"by": "bob"}) == "delivered"
    assert [(step.name, step.output, step.event_type) for step in instance.status().steps] == [
        ("approval", {"by": "ann"}, "approved"),
        ("second", {"by": "bob"}, "approved"),
    ]


def test_an_event_id_is_accepted_once(client: Client, redis: redis_py.Redis) -> None:
    instance = client.workflow("order").create()
    answers = {instance.send_event("approved", n, id="one") for n in range(3)}
    assert answers == {"buffered"}
    mailbox = client.store.keys.of_instance(of(instance))[3]
    assert [field for field in redis.hkeys(mailbox) if field.startswith(b"e:")] == [b"e:1"]


def test_events_are_refused_by_ended_and_unknown_instances(client: Client, worker: HandWorker) -> None:
    instance = client.workflow("order").create()
    worker.complete(of(instance))
    with pytest.raises(InstanceEnded, match=r"^\(instance.in_finite_state\) Instance reached a finite state"):
        instance.send_event("approved")
    instance.delete()
    with pytest.raises(InstanceNotFound):
        instance.send_event("approved")


@pytest.mark.parametrize("type", ["", "a b", "x" * 101, "a|b"])
def test_a_bad_event_type_is_refused(client: Client, type: str) -> None:
    with pytest.raises(BadName, match=r"\(workflow.invalid_event_type\) Provided event type is invalid"):
        client.workflow("order").create().send_event(type)


def test_pause_and_resume_have_no_effect_where_they_make_no_sense(client: Client, worker: HandWorker) -> None:
    instance = client.workflow("order").create()
    instance.resume()
    assert instance.status().status == "queued"
    instance.pause()
    instance.pause()
    assert instance.status().status == "paused"
    instance.resume()
    assert instance.status().status == "queued"
    worker.complete(of(instance))
    instance.pause()
    instance.resume()
    assert instance.status().status == "complete"


def test_terminate_ends_once(client: Client) -> None:
    instance = client.workflow("order").create()
    instance.terminate()
    assert instance.status().status == "terminated"
    with pytest.raises(
        InvalidTransition, match=r"^\(instance.cannot_terminate\) Cannot terminate .* it has ended already$"
    ):
        instance.terminate()


def test_restart_keeps_id_params_and_timestamp(client: Client, worker: HandWorker, clock: HandClock) -> None:
    instance = client.workflow("order").create(params={"n": 1})
    worker.complete(of(instance), "done")
    before = instance.status()
    clock.ms += 60_000
    instance.restart()
    after = instance.status()
    assert (after.status, after.output, after.params) == ("queued", None, {"n": 1})
    assert after.created_at == before.created_at
    assert after.generation != before.generation


def test_a_deleted_instance_leaves_no_key_and_frees_its_id(client: Client, redis: redis_py.Redis) -> None:
    handle = client.workflow("order")
    before = set(redis.keys("*"))
    instance = handle.create("a1")
    instance.send_event("approved")
    instance.delete()
    assert {key for key in redis.keys("*") if not key.endswith(b":wake")} == before
    with pytest.raises(InstanceNotFound):
        instance.delete()
    handle.create("a1")


@pytest.mark.parametrize("verb", ["status", "pause", "resume", "terminate", "restart", "delete", "result"])
def test_every_command_on_a_vanished_instance_says_so(client: Client, verb: str) -> None:
    instance = client.workflow("order").create("a1")
    instance.delete()
    with pytest.raises(InstanceNotFound, match='"a1" of workflow "order"'):
        getattr(instance, verb)()


def test_the_result_of_an_ended_instance_is_there_at_once(client: Client, worker: HandWorker) -> None:
    instance = client.workflow("order").create()
    worker.complete(of(instance), {"total": 3}, warnings=["one step was left open"])
    assert instance.result() == {"total": 3}
    status = instance.status()
    assert (status.status, status.output, status.warnings) == ("complete", {"total": 3}, ("one step was left open",))
    assert status.ended_at is not None


def test_a_waiting_result_is_woken_by_the_end(client: Client, worker: HandWorker, redis: redis_py.Redis) -> None:
    instance = client.workflow("order").create()
    results: list[Any] = []
    waiter = threading.Thread(target=lambda: results.append(instance.result("30 seconds")))
    waiter.start()
    channel = client.store.ended_channel(of(instance))
    while dict(redis.pubsub_numsub(channel)).get(channel.encode()) != 1:
        pass
    worker.complete(of(instance), 7)
    waiter.join(10)
    assert results == [7]


def ends(client: Client, redis: redis_py.Redis, finish: Callable[[Instance], object]) -> tuple[Any, int]:
    """What a waiting ``result()`` comes to, and how often it has looked once it was about to listen."""
    instance = client.workflow("order").create()
    looked = Counter[str]()
    execute = client.store.execute
    results: list[Any] = []

    def counting(calls: Sequence[Call], **more: Any) -> list[Any]:
        looked.update(call.script.name for call in calls)
        return execute(calls, **more)

    def wait_for_it() -> None:
        try:
            results.append(instance.result("30 seconds"))
        except Exception as error:
            results.append(error)

    with mock.patch.object(client.store, "execute", counting), mock.patch.object(requests, "POLL_SECONDS", 20.0):
        waiter = threading.Thread(target=wait_for_it)
        waiter.start()
        channel = client.store.ended_channel(of(instance))
        while dict(redis.pubsub_numsub(channel)).get(channel.encode()) != 1 or not looked["read"]:
            pass
        finish(of(instance))
        waiter.join(10)
    return results[0], looked["read"]


def test_who_waits_is_told_how_it_ended(client: Client, worker: HandWorker, redis: redis_py.Redis) -> None:
    """One look, because an end before the subscription would be missed, and none after the end."""
    assert ends(client, redis, lambda instance: worker.complete(instance, {"n": 7})) == ({"n": 7}, 1)
    assert ends(client, redis, lambda instance: worker.complete(instance, None)) == (None, 1)


def test_who_waits_reads_what_is_too_large_to_be_told(
    client: Client, worker: HandWorker, redis: redis_py.Redis
) -> None:
    large = "x" * limits.ANNOUNCED_BYTES
    assert ends(client, redis, lambda instance: worker.complete(instance, large)) == (large, 2)


def test_who_waits_is_told_of_a_termination(client: Client, redis: redis_py.Redis) -> None:
    def terminate(instance: Instance) -> None:
        client.workflow("order").get(instance.id).terminate()

    found, _ = ends(client, redis, terminate)
    assert isinstance(found, InstanceTerminated)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"complete",
        b"complete|",
        b"complete|x",
        b"complete|\x01Z12345678\xc1",
        b"complete|\x01Z12345678\x81\xa1v\x07",
    ],
)
def test_what_is_not_an_end_only_makes_who_waits_look(
    client: Client, worker: HandWorker, redis: redis_py.Redis, nonsense: bytes
) -> None:
    def finish(instance: Instance) -> None:
        redis.publish(client.store.ended_channel(instance), nonsense)
        worker.complete(instance, 7)

    found, _ = ends(client, redis, finish)
    assert found == 7


def test_who_waits_in_one_database_is_not_woken_by_an_end_in_another(client: Client, redis_url: str) -> None:
    """Channels are shared by all databases; keys are not."""
    instance = client.workflow("order").create(id="a1")
    with (
        closing(Store(connection(redis_url.replace("db=0", "db=1")), client.store.keys)) as other,
        other.listening(other.ended_channel(of(instance))) as other_heard,
        client.store.listening(client.store.ended_channel(of(instance))) as heard,
    ):
        instance.terminate()
        assert heard(10.0)
        assert not other_heard(0.1)
        instance.delete()
        assert heard(10.0)
        assert not other_heard(0.1)


def test_a_waiting_result_lives_through_a_restart_of_redis() -> None:
    """What is stored survives a crash of the server, so those who wait for it need not notice."""
    with EmbeddedRedis() as server, Client("shop", server.url) as client:
        publish_manifest(client.store, PublishedApp())
        worker = HandWorker(client.store)
        instance = client.workflow("order").create()
        channel = client.store.ended_channel(of(instance))
        results: list[Any] = []
        waiter = threading.Thread(target=lambda: results.append(instance.result("30 seconds")))
        waiter.start()
        while dict(client.store.redis.pubsub_numsub(channel)).get(channel.encode()) != 1:
            pass
        server.kill()
        server.start()
        worker.complete(of(instance), 7)
        waiter.join(20)
        assert results == [7]


def test_result_gives_up_in_time_and_says_how_the_instance_is(client: Client) -> None:
    instance = client.workflow("order").create("a1")
    with pytest.raises(ResultTimeout, match='Instance "a1" of workflow "order" did not end within 20ms; it is queued'):
        instance.result(timeout=20)


def test_result_raises_what_run_raised(client: Client, worker: HandWorker) -> None:
    instance = client.workflow("order").create()
    worker.fail(of(instance), LookupError("no such order"))
    with pytest.raises(LookupError, match="no such order"):
        instance.result()
    error = instance.status().error
    assert error is not None
    assert (error.name, error.message) == ("LookupError", "no such order")


def test_result_of_a_terminated_instance_says_so(client: Client) -> None:
    instance = client.workflow("order").create()
    instance.terminate()
    with pytest.raises(InstanceTerminated):
        instance.result()


def test_status_tells_every_kind_of_step(client: Client, worker: HandWorker, clock: HandClock) -> None:
    instance = client.workflow("order").create()
    at = of(instance)
    worker.turn(
        at,
        opened=[
            step(1, "ok"),
            step(2, "again"),
            step(3, "never"),
            step(4, "now"),
            sleep(5, "nap", 5_000),
            wait(6, "w", "t"),
        ],
    )
    worker.settle(at, 1, "ok", worker.claim(at, "a", 1), value=[1, 2])
    worker.settle(at, 2, "again", worker.claim(at, "a", 2), retry=(7_000, OSError("down")))
    worker.settle(at, 3, "never", worker.claim(at, "a", 3), error=ValueError("bad"))
    worker.claim(at, "a", 4)
    status = instance.status()
    assert status.status == "running"
    assert [(one.seq, one.name, one.kind, one.status, one.attempts) for one in status.steps] == [
        (1, "ok", "do", "complete", 1),
        (2, "again", "do", "retrying", 1),
        (3, "never", "do", "failed", 1),
        (4, "now", "do", "running", 1),
        (5, "nap", "sleep", "sleeping", 0),
        (6, "w", "wait", "waiting", 0),
    ]
    ok, again, never, _, nap, waiting = status.steps
    assert ok.output == [1, 2]
    assert never.error is not None and str(never.error) == "ValueError: bad"
    assert again.failures[0].error.message == "down"
    assert again.due_at == datetime.fromtimestamp((clock.ms + 7_000) / 1000, UTC)
    assert nap.due_at == datetime.fromtimestamp((clock.ms + 5_000) / 1000, UTC)
    assert waiting.event_type == "t"


def test_large_params_and_outputs_do_not_swell_the_header(client: Client, worker: HandWorker) -> None:
    """A value of more than 64 bytes in a hash makes Redis keep all of it in three times the memory."""
    params, output = {"text": "p" * 500}, "o" * 500
    instance = client.workflow("order").create(params=params)
    header = client.store.keys.header(of(instance))
    worker.complete(of(instance), output, warnings=["w" * 500])
    assert client.store.redis.object("encoding", header) in (b"listpack", b"ziplist")
    status = instance.status()
    assert (status.params, status.output, status.warnings) == (params, output, ("w" * 500,))
    assert instance.result() == output

    instance.restart()
    worker.fail(of(instance), ValueError("e" * 500))
    assert client.store.redis.object("encoding", header) in (b"listpack", b"ziplist")
    status = instance.status()
    assert (status.params, status.output) == (params, None)
    assert status.error is not None
    assert status.error.message == "e" * 500


def test_an_instance_whose_journal_is_lost_can_still_be_looked_at_and_deleted(client: Client) -> None:
    """After manual damage, say."""
    instance = client.workflow("order").create(params={"n": 1})
    client.store.redis.delete(client.store.keys.journal(of(instance)))
    assert instance.status().status == "queued"
    before = dump(client.store.redis)
    with pytest.raises(redis_py.ResponseError, match="lost with the journal"):
        instance.restart()
    assert dump(client.store.redis) == before
    instance.delete()


def test_a_long_history_is_read_in_pages(client: Client, worker: HandWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step once, whatever the size of a page."""
    monkeypatch.setattr("workflows.client.reading.PAGE_ENTRIES", 3)
    instance = client.workflow("order").create()
    at = of(instance)
    worker.turn(at, opened=[step(seq, f"s{seq}") for seq in range(1, 12)])
    for seq in (5, 3, 1, 2, 4, 6, 8, 9, 10):
        worker.settle(at, seq, f"s{seq}", worker.claim(at, "a", seq), value=seq)
    status = instance.status()
    assert [(one.name, one.output) for one in status.steps] == [
        (f"s{seq}", seq if seq not in (7, 11) else None) for seq in range(1, 12)
    ]


def test_a_parked_instance_says_why(client: Client, worker: HandWorker) -> None:
    instance = client.workflow("order").create()
    worker.park(of(instance), "run() asked for step b where the journal has step a")
    status = instance.status()
    assert status.status == "paused"
    assert "code and journal disagree: run() asked for step b where the journal has step a." in str(status.reason)
    instance.resume()
    assert instance.status().reason is None


def test_work_that_nobody_takes_is_explained_after_ten_seconds(
    client: Client, clock: HandClock, redis: redis_py.Redis
) -> None:
    instance = client.workflow("parcel").create()
    assert instance.status().reason is None
    clock.ms += 10_001
    assert "No orchestrator is running" in str(instance.status().reason)
    redis.zadd(client.store.keys.orchestrators, {"o1": 2**45})
    redis.hset(client.store.keys.shard_key(of(instance).shard, "owner"), mapping={"token": "o1", "expiry": 2**45})
    assert "No worker serves queue gpu" in str(instance.status().reason)
    redis.sadd("rq:workers:shop.gpu", "rq:worker:w1")
    redis.hset("rq:worker:w1", "state", "busy")
    assert instance.status().reason is None


def test_handles_travel_inside_values(client: Client) -> None:
    instance = client.workflow("order").create("a1")
    blob = codec.encode({"child": instance}, what="a value")
    assert codec.decode(blob) == {"child": codec.InstanceRef("order", "a1")}


def test_an_unreachable_redis_is_one_clear_error() -> None:
    with (
        Client("shop", "redis://127.0.0.1:1/0") as client,
        pytest.raises(ServerUnavailable, match=r"Redis.*127.0.0.1:1.*does not answer|Redis does not answer"),
    ):
        client.workflow("order")


def test_a_full_redis_is_one_clear_error(client: Client, redis: redis_py.Redis) -> None:
    handle = client.workflow("order")
    redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(ServerUnavailable, match="is out of memory"):
            handle.create()
    finally:
        redis.config_set("maxmemory", "0")
    assert list(handle.list()) == []


def test_in_a_full_redis_instances_can_be_ended_and_deleted(client: Client, redis: redis_py.Redis) -> None:
    """F45: whoever has to make room can."""
    instance = client.workflow("order").create()
    redis.config_set("maxmemory", "1")
    try:
        instance.terminate()
        assert instance.status().status == "terminated"
        instance.delete()
    finally:
        redis.config_set("maxmemory", "0")
    assert not redis.keys("*:i:*")


def test_a_url_is_needed() -> None:
    with pytest.raises(ConfigError, match="WORKFLOWS_REDIS_URL or REDIS_URL"):
        Client("shop")


def test_a_connection_that_decodes_is_refused(redis_url: str) -> None:
    with (
        redis_py.Redis.from_url(redis_url, decode_responses=True) as decoding,
        pytest.raises(ConfigError, match="decode_responses"),
    ):
        Client("shop", connection=decoding)


@pytest.mark.parametrize("wrong", ["", "x" * 201, "a\nb", 7])
def test_ids_of_commands_and_events_have_the_same_limits(client: Client, wrong: Any) -> None:
    handle = client.workflow("order")
    instance = handle.create("a1", command_id="x" * 200)
    with pytest.raises(BadName, match="command_id is text of 1 to 200 printable characters"):
        handle.create("a2", command_id=wrong)
    with pytest.raises(BadName, match="command_id is text of 1 to 200"):
        handle.create_batch([CreateOptions("a2", command_id=wrong)])
    with pytest.raises(BadName, match="An event id is text of 1 to 200"):
        instance.send_event("packed", id=wrong)
    if isinstance(wrong, str):
        fields = {"op": "event", "workflow": "order", "id": "a1", "type": "packed", "event_id": wrong}
        client.store.redis.xadd(client.store.keys.inbox, fields)
        assert inbox.Inbox(client.store).apply() == 1
        ((_, refused),) = client.store.redis.xrange(client.store.keys.inbox_refused)
        assert b"An event id is text of 1 to 200" in refused[b"reason"]
    assert [one.id for one in handle.list()] == ["a1"]


@pytest.mark.parametrize("cursor", ["١٢:a1", "12:-a1", "12:" + "a" * 101, "12:a1|x"])
def test_a_cursor_that_no_page_had_is_refused(client: Client, cursor: str) -> None:
    with pytest.raises(ConfigError, match="is not a cursor"):
        client.workflow("order").list(cursor=cursor)


@pytest.mark.parametrize("namespace", ["", "a:b", "{x}", "-a", "x" * 65, "a\n"])
def test_every_door_refuses_what_cannot_be_a_namespace(redis_url: str, namespace: str) -> None:
    for door in (Client, AsyncClient, App):
        with pytest.raises(BadName, match="An app's name cannot be"):
            door(namespace) if door is App else door(namespace, redis_url)
    with pytest.raises(BadName, match="An app's name cannot be"):
        Keyspace(namespace)


def in_threads(many: int, act: Callable[[int], Any]) -> list[Any]:
    """What so many threads that begin at the same moment return or raise."""
    found: list[Any] = []
    start = threading.Barrier(many)

    def one(number: int) -> None:
        start.wait()
        try:
            found.append(act(number))
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_calls_beyond_the_limit_of_connections_wait_for_one(client: Client) -> None:
    handle = client.workflow("order")
    found = in_threads(150, lambda number: handle.create(f"a{number}").id)
    assert sorted(found) == sorted(f"a{number}" for number in range(150))


def test_those_who_wait_for_a_result_leave_connections_for_calls(client: Client, worker: HandWorker) -> None:
    """Each of them listens; with the last connection in a listener's hand nobody could look any more."""
    handle = client.workflow("order")
    waiting = handle.create("a1")
    ended = threading.Event()

    def act(number: int) -> Any:
        if number == 0:
            worker.complete(of(waiting), 7)
            ended.set()
            return 7
        return waiting.result("20 seconds")

    assert in_threads(150, act) == [7] * 150


def test_a_call_that_gets_no_connection_says_that_and_not_that_redis_is_away(client: Client, redis_url: str) -> None:
    with Client("shop", f"{redis_url}&max_connections=1&timeout=0.05") as narrow:
        handle = narrow.workflow("order")
        pool = narrow._connection.connection_pool
        taken = pool.get_connection()
        with pytest.raises(ServerUnavailable, match="all connections of this client were in use") as caught:
            handle.create("a1")
        assert "answer" not in str(caught.value)
        pool.release(taken)
        handle.create("a1")


def test_a_given_connection_without_room_says_so(client: Client, redis_url: str) -> None:
    given = redis_py.Redis.from_url(redis_url, max_connections=1)
    with given, Client("shop", connection=given) as narrow:
        handle = narrow.workflow("order")
        taken = given.connection_pool.get_connection()
        with pytest.raises(ServerUnavailable, match="all connections of this client are in use"):
            handle.create("a1")
        given.connection_pool.release(taken)


def fork(body: Callable[[], object]) -> int:
    """Run it in a forked process. Returns: the process id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process may have threads; the child needs none
        child = os.fork()
    if child == 0:
        code = 1
        try:
            body()
            code = 0
        finally:
            os._exit(code)
    return child


def succeeded(child: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_forked_process_shares_no_connection_with_its_parent(client: Client, worker: HandWorker) -> None:
    """One that listened in the parent would have two readers, who take each other's messages."""
    first = client.workflow("order").create("a1")
    worker.complete(of(first), 1)
    assert first.result() == 1
    second = client.workflow("order").create("a2")
    with client.store.listening("warm"):
        pass
    before = {id(line) for line in client.store._listeners._idle}
    assert before

    def look() -> None:
        assert not client.store._listeners._idle
        assert client.workflow("order").get("a2").status().status == "queued"

    assert succeeded(fork(look))
    assert {id(line) for line in client.store._listeners._idle} == before
    worker.complete(of(second), 2)
    assert second.result() == 2


class Traffic:
    """What clients have sent to a server since ``begin``; what scripts do depends on what is there already."""

    SENT = ("evalsha", "script", "hello", "hgetall", "ping", "subscribe")

    def __init__(self, url: str) -> None:
        self._look = redis_py.Redis.from_url(url)

    def begin(self) -> None:
        self._look.config_resetstat()

    def so_far(self) -> dict[str, int]:
        """Calls by command, and connections made."""
        counts = self._look.info("commandstats")
        sent = {name: counts.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in self.SENT}
        return {**sent, "connections": self._look.info("stats")["total_connections_received"]}


def calls_and_waits(client: Client, name: str, traffic: Traffic) -> list[dict[str, int]]:
    """Twice: 20 calls, and a wait that somebody else ends. Returns: the traffic of each of the four."""
    found = []
    for number in (1, 2):
        traffic.begin()
        handle = client.workflow("order")
        for one in range(20):
            handle.create(f"{name}-{number}-{one}")
        found.append(traffic.so_far())
        waiting = handle.create(f"{name}-{number}")
        traffic.begin()
        assert waiting.result("20 seconds") == number
        waited = traffic.so_far()
        # Calls are left out: a wait looks once more if it takes longer than a second.
        found.append({"subscribe": waited["subscribe"], "connections": waited["connections"]})
    return found


def test_a_forked_client_costs_what_a_fresh_one_does(
    client: Client, worker: HandWorker, redis: redis_py.Redis, redis_url: str, tmp_path: Path
) -> None:
    """Counted at the server. It connects once for calls and once to listen, and goes on like any other."""
    with client.store.listening("warm"):
        client.workflows()  # over a second connection

    def measured(name: str, choose: Callable[[], Client]) -> Any:
        result = tmp_path / name

        def measure() -> None:
            result.write_text(json.dumps(calls_and_waits(choose(), name, Traffic(redis_url))))

        child = fork(measure)
        for number in (1, 2):
            waited_for = client.store.keys.instance("order", f"{name}-{number}")
            channel = client.store.ended_channel(waited_for)
            while dict(redis.pubsub_numsub(channel)).get(channel.encode()) != 1:
                pass
            worker.complete(waited_for, number)
        assert succeeded(child)
        return json.loads(result.read_text())

    forked = measured("forked", lambda: client)
    fresh = measured("fresh", lambda: Client("shop", redis_url))
    # The first call of a fresh one asks for the number of shards.
    assert forked[0] == {**fresh[0], "evalsha": fresh[0]["evalsha"] - 1}
    assert forked[1:] == fresh[1:]
    assert [part["connections"] for part in forked] == [1, 1, 0, 0]


def json_of(instance: WorkflowInstance) -> Any:
    return json.loads(json.dumps(instance.status().as_dict()))


@pytest.fixture
def rich(client: Client, worker: HandWorker) -> WorkflowInstance:
    """An instance with one of everything, and values that are no text."""
    instance = client.workflow("order").create("a1", {"when": datetime(2030, 1, 2, tzinfo=UTC), "raw": b"\xff\xfe"})
    worker.turn(of(instance), opened=[step(1, "fetch"), step(2, "charge"), wait(3, "approval", "approved")])
    worker.settle(of(instance), 1, "fetch", worker.claim(of(instance), "a", 1), value={"n": (1, 2)})
    worker.settle(of(instance), 2, "charge", worker.claim(of(instance), "a", 2), retry=(60_000, OSError("refused")))
    return instance


def test_a_status_is_dumped_as_the_command_line_prints_it(rich: WorkflowInstance) -> None:
    found = json_of(rich)
    assert (found["workflow"], found["id"], found["status"], found["output"]) == ("order", "a1", "running", None)
    assert found["params"] == {"when": "2030-01-02T00:00:00+00:00", "raw": "//4="}
    assert [(one["name"], one["status"], one["output"]) for one in found["steps"]] == [
        ("fetch", "complete", {"n": [1, 2]}),
        ("charge", "retrying", None),
        ("approval", "waiting", None),
    ]
    assert found["steps"][1]["failures"][0]["error"]["message"] == "refused"
    assert found["steps_complete"] is True
    assert "output" not in rich.status().as_dict(outputs=False)["steps"][0]


def test_a_status_is_dumped_by_pydantic_and_dataclasses(rich: WorkflowInstance) -> None:
    """Frameworks use one or the other on what a handler returns."""
    status, expected = rich.status(), json_of(rich)
    assert pydantic_core.to_jsonable_python(status) == expected
    assert pydantic_core.to_jsonable_python({"orders": [status]}) == {"orders": [expected]}
    assert pydantic_core.to_jsonable_python(list(status.steps)) == expected["steps"]
    for kind in (Any, InstanceStatus):
        adapter = pydantic.TypeAdapter(kind)
        assert json.loads(adapter.dump_json(status)) == expected
        assert kind is Any or adapter.json_schema(mode="serialization")["type"] == "object"
    plain = dataclasses.asdict(status)
    assert plain["params"] == {"when": datetime(2030, 1, 2, tzinfo=UTC), "raw": b"\xff\xfe"}
    assert [one["output"] for one in plain["steps"]] == [{"n": (1, 2)}, None, None]
    assert plain["steps"][1]["failures"][0]["error"]["name"] == "OSError"
    assert isinstance(plain["created_at"], datetime)


def test_a_value_that_cannot_be_read_does_not_stop_a_dump(rich: WorkflowInstance, client: Client) -> None:
    client.store.redis.delete(client.store.keys.journal(of(rich)))
    found = rich.status().as_dict()
    assert found["params"].startswith("(")
    assert pydantic_core.to_jsonable_python(rich.status())["params"] == found["params"]


def test_a_child_that_is_not_there_yet_is_starting(client: Client, worker: HandWorker) -> None:
    """Its creation is on its way to another shard, and is carried out by an orchestrator."""
    instance = client.workflow("order").create("a1")
    message = {"op": "invoke", "wf": "parcel", "id": "p1", "gen": "g", "p": b"", "qu": "gpu", "ok": 1, "err": 1}
    asked = Asked(["child", 1, "pack", 1, False, "parcel", "p1"], message)
    worker.turn(of(instance), opened=[asked])
    (step_of,) = instance.status().steps
    assert (step_of.status, step_of.child) == ("starting", codec.InstanceRef("parcel", "p1"))
    with pytest.raises(InstanceNotFound):
        client.workflow("parcel").get("p1")
    relay.deliver(client.store, of(instance).shard)
    (step_of,) = instance.status().steps
    assert step_of.status == "waiting"
    assert client.workflow("parcel").get("p1").status().status == "queued"
