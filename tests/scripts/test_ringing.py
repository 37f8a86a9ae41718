"""Who rings for a new intent: the script that makes it, where the shard's owner permits it, else the owner."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_py
from rq import Queue
from rq.serializers import JSONSerializer

from orchestrator import dispatch
from tests.scripts.world import LEASE_MS, World, do
from workflows import limits
from workflows.storage import doorbell, keys
from workflows.storage.keys import Intent
from workflows.storage.records import Decision
from workflows.storage.store import Store

QUEUE = "test.default"


@pytest.fixture
def world(redis: redis_py.Redis) -> World:
    return World(redis)


def own(world: World, *limited: str, ttl: int = LEASE_MS, permit: Any = None) -> None:
    world.call("own", t="one", ttl=ttl, permit=permit or doorbell.permit("test", limited))


def made(world: World, id: str = "b") -> Intent:
    """A new instance's first intent."""
    world.client.delete(world.key("wake"))
    assert world.create(world.keys.instance("job", id)) == "created"
    (member,) = [member for member in world.intents() if f"|{id}|" in member]
    return Intent.parse(member)


def rung(world: World) -> list[bytes]:
    waiting = keys.rq_queue(QUEUE)
    found: list[bytes] = world.client.lrange(waiting, 0, -1) if world.client.type(waiting) == b"list" else []
    return found


def is_woken(world: World) -> bool:
    return bool(world.client.exists(world.key("wake")))


def test_with_a_permit_a_new_intent_is_rung_for_and_nobody_is_woken(world: World) -> None:
    own(world)
    intent = made(world)
    assert rung(world) == [doorbell.job_id(0, intent).encode()]
    assert not is_woken(world)


def test_it_is_looked_at_again_as_if_the_owner_had_rung(world: World) -> None:
    own(world)
    intent = made(world)
    begin = int(world.client.time()[0]) * 1000
    score = world.client.zscore(world.key("intents"), intent.member)
    assert abs(score - begin - limits.RING_AGAIN_MS) < 1_500
    assert intent.member.encode() not in world.call("dispatch", t="one", n=100, u=10)[1]


def test_the_doorbell_is_the_one_that_the_owner_would_hang(world: World) -> None:
    own(world)
    intent = made(world)
    key = keys.rq_job_prefix() + doorbell.job_id(0, intent)
    found = world.client.hgetall(key)
    world.client.flushdb()
    assert dispatch.ring(world.store, 0, [intent.member.encode()]) == 1
    other = world.client.hgetall(key)
    moments = (b"created_at", b"enqueued_at", b"rung")
    assert {name: value for name, value in found.items() if name not in moments} == {
        name: value for name, value in other.items() if name not in moments
    }
    assert found.keys() == other.keys()


def test_it_is_a_job_that_rq_can_read(world: World) -> None:
    own(world)
    intent = made(world)
    queue = Queue(QUEUE, connection=world.client, serializer=JSONSerializer)
    (job,) = queue.jobs
    assert (job.func_name, job.args) == (doorbell.ENTRY_POINT, ["test", intent.member])
    assert abs(job.created_at.timestamp() - int(world.client.time()[0])) < 5
    assert QUEUE in [one.name for one in Queue.all(connection=world.client)]


@pytest.mark.parametrize("limited", [("job",), ("other", "job")])
def test_for_a_workflow_with_a_limit_the_owner_rings(world: World, limited: tuple[str, ...]) -> None:
    own(world, *limited)
    intent = made(world)
    assert (rung(world), is_woken(world)) == ([], True)
    assert intent.member.encode() in world.call("dispatch", t="one", n=100, u=10)[1]


def test_a_limit_of_another_workflow_keeps_nobody_waiting(world: World) -> None:
    own(world, "other")
    made(world)
    assert (len(rung(world)), is_woken(world)) == (1, False)


def test_a_permit_ends_with_the_lease(world: World) -> None:
    own(world, ttl=-1)
    made(world)
    assert (rung(world), is_woken(world)) == ([], True)


def test_an_owner_that_leaves_takes_its_permit_along(world: World) -> None:
    own(world)
    world.call("own", t="one", ttl=0, leave=True)
    made(world)
    assert (rung(world), is_woken(world)) == ([], True)


def test_an_owner_that_permits_nothing_any_more_is_woken(world: World) -> None:
    own(world)
    world.call("own", t="one", ttl=LEASE_MS)
    made(world)
    assert (rung(world), is_woken(world)) == ([], True)


@pytest.mark.parametrize("garbage", ["nonsense", b"\xc1", b"\x80", b"\x90", b"\x07"])
def test_a_permit_that_is_none_wakes_the_owner(world: World, garbage: object) -> None:
    own(world, permit=garbage)
    made(world)
    assert (rung(world), is_woken(world)) == ([], True)


@pytest.mark.parametrize("spoilt", [keys.rq_queue(QUEUE), keys.rq_queues()])
def test_where_rqs_keys_hold_something_else_the_owner_puts_it_right(world: World, spoilt: str) -> None:
    own(world)
    world.client.set(spoilt, "garbage")
    intent = made(world)
    assert is_woken(world)
    store = Store(world.client, world.keys, hot=True)  # as an orchestrator's is
    assert dispatch.ring(store, 0, [intent.member.encode()]) == 1
    store.release()
    assert doorbell.job_id(0, intent).encode() in rung(world)


def test_steps_and_turns_that_follow_are_rung_for_as_well(world: World) -> None:
    own(world)
    token = world.held()
    world.client.delete(world.key("wake"))
    assert world.commit(token, d=Decision(opened=[do(1), do(2)])) == 1
    assert len(rung(world)) == 2
    assert not is_woken(world)
