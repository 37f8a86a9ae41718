"""Children that are to end with their parents: what is said to their shard, and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_py

from orchestrator import relay
from tests.scripts.world import BROKEN, STOPPED, World, child, do, sleep
from workflows import limits
from workflows.storage import journal
from workflows.storage.intake import CreateItem, create_call
from workflows.storage.journal import CancelRequested
from workflows.storage.records import Asked, Decision, End, GivenUp, ParentStep
from workflows.values import codec

PARENT = ParentStep("job", "p", "gp", 7)


@pytest.fixture
def world(redis: redis_py.Redis) -> World:
    return World(redis)


# What is said


def ask_for(world: World, policy: str = "terminate", *, is_created: bool = True) -> None:
    world.open(child(1, policy) if policy else child(1), do(2))
    if is_created:
        relay.deliver(world.store, 0)
        assert world.relayed() == {}


def end(world: World, how: str) -> None:
    if how == "give up":
        world.settle(2, world.held("a", 2))
        assert world.commit(world.held(), d=Decision([GivenUp(1, "child", False)])) == 1
    elif how == "complete":
        world.settle(2, world.held("a", 2))
        finish = End("complete", codec.encode(None, what="the output"), asked=["1|child|1|c"])
        assert world.commit(world.held(), d=Decision(end=finish)) == 2
    else:
        world.control(how, cid="c", x=STOPPED, gen="g2", cut=b"")


ENDS = ("give up", "complete", "terminate", "restart", "delete")


@pytest.mark.parametrize("how", ENDS)
def test_however_a_parent_ceases_to_wait_the_shard_of_its_child_is_told(world: World, how: str) -> None:
    ask_for(world, "cancel")
    end(world, how)
    (message,) = world.relayed().values()
    assert (message[b"op"], message[b"id"], message[b"stop"]) == (b"stop", b"child", b"cancel")


@pytest.mark.parametrize("how", ENDS)
def test_of_a_child_that_goes_on_nothing_is_said(world: World, how: str) -> None:
    ask_for(world, "")
    end(world, how)
    assert world.relayed() == {}


@pytest.mark.parametrize("how", ENDS)
def test_a_child_that_is_not_there_yet_is_created_and_ends(world: World, how: str) -> None:
    ask_for(world, is_created=False)
    end(world, how)
    (message,) = world.relayed().values()
    assert (message[b"op"], message[b"stop"]) == (b"invoke", b"terminate")
    assert relay.deliver(world.store, 0) == 1
    assert header(world, "st") == "terminated"


def test_of_a_child_that_has_ended_before_nothing_is_said(world: World) -> None:
    ask_for(world)
    world.call("child_ended", [world.a], g="g-a", s=1, wf="job", id="child", x=BROKEN)
    end(world, "terminate")
    assert world.relayed() == {}


def test_what_says_something_else_of_a_child_is_set_aside(world: World) -> None:
    ask_for(world, "destroy")
    end(world, "terminate")
    assert relay.deliver(world.store, 0) == 1
    assert (world.relayed(), header(world, "st")) == ({}, "queued")


def header(world: World, field: str, id: str = "child") -> str:
    found = world.client.hget(world.keys.header(world.keys.instance("job", id)), field)
    return found.decode() if isinstance(found, bytes) else ""


# What becomes of it: here ``a`` is the child


def be_a_child(world: World, *asked: Asked) -> None:
    world.control("delete", x=b"")
    params = codec.encode({}, what="params")
    item = CreateItem("job", "a", "g-a", params, "default", 1000, 2000, parent=PARENT)
    assert world.store.call(create_call(world.keys, item)) == [b"created"]
    if asked:
        world.open(*asked)


def end_child(world: World, how: str = "terminate", parent: ParentStep = PARENT) -> int:
    arguments: dict[str, Any] = {"how": how, "why": "p waits no more", "ms": limits.CANCEL_GRACE_MS, "x": STOPPED}
    answer: int = world.call("end_child", [world.a], parent=parent.wire(), **arguments)
    return answer


def last_entry(world: World) -> Any:
    return journal.decode(world.journal()[-1])


def test_it_is_terminated_at_once_and_whoever_waits_for_it_is_told(world: World) -> None:
    be_a_child(world, sleep(1))
    assert end_child(world) == 1
    assert (world.header("st"), world.timers(), world.record(1)) == ("terminated", [], None)
    assert [message[b"x"] for message in world.relayed().values()] == [STOPPED]


def test_it_is_asked_to_end_and_told_why(world: World) -> None:
    be_a_child(world, sleep(1))
    assert end_child(world, "cancel") == 1
    assert last_entry(world) == CancelRequested(world.clock.ms, "p waits no more")
    assert world.header("turn").startswith("r|")


@pytest.mark.parametrize(("how", "status"), [("terminate", "terminated"), ("cancel", "running")])
def test_it_is_reached_while_it_is_paused(world: World, how: str, status: str) -> None:
    be_a_child(world, sleep(1))
    world.control("pause")
    assert end_child(world, how) == 1
    assert (world.header("st"), world.header("want")) == (status, "")


def test_one_that_nobody_has_begun_with_ends_at_once(world: World) -> None:
    be_a_child(world)
    assert end_child(world, "cancel") == 1
    assert (world.header("st"), world.intents()) == ("terminated", [])


@pytest.mark.parametrize("how", ["terminate", "cancel"])
def test_a_second_time_changes_nothing(world: World, how: str) -> None:
    be_a_child(world, sleep(1))
    end_child(world, how)
    with world.unchanged():
        assert end_child(world, how) == 1


@pytest.mark.parametrize("how", ["terminate", "cancel"])
def test_a_second_time_does_not_reach_a_life_that_was_begun_since(world: World, how: str) -> None:
    be_a_child(world, sleep(1))
    end_child(world, how)
    world.control("restart", cid="r", gen="g2")
    with world.unchanged():
        assert end_child(world, how) == 1


def test_one_that_has_ended_stays_as_it_is(world: World) -> None:
    be_a_child(world)
    world.complete()
    assert end_child(world) == 0
    assert world.header("st") == "complete"


def test_one_that_was_asked_before_is_told_nothing_new(world: World) -> None:
    be_a_child(world, sleep(1))
    world.control("cancel", cid="c", why="no stock", ms=1_000)
    before = world.journal()
    assert end_child(world, "cancel") == 0
    assert (world.journal(), world.header("stop_for")) == (before, "no stock")


def test_one_that_was_asked_before_is_terminated_all_the_same(world: World) -> None:
    be_a_child(world, sleep(1))
    world.control("cancel", cid="c", why="no stock", ms=1_000)
    assert end_child(world) == 1
    assert (world.header("st"), world.timers()) == ("terminated", [])


@pytest.mark.parametrize("how", ["terminate", "cancel"])
def test_one_that_is_rolled_back_goes_on_with_that(world: World, how: str) -> None:
    be_a_child(world, sleep(1))
    world.control("terminate", cid="t", rb=1, x=STOPPED, cut=b"")
    before = world.journal()
    assert end_child(world, how) == 0
    assert world.journal() == before


@pytest.mark.parametrize(
    "parent",
    [ParentStep("job", "p", "another life", 7), ParentStep("job", "p", "gp", 8), ParentStep("job", "q", "gp", 7)],
    ids=["another life of it", "another step of it", "another instance"],
)
def test_only_who_has_created_it_ends_it(world: World, parent: ParentStep) -> None:
    be_a_child(world, sleep(1))
    with world.unchanged():
        assert end_child(world, parent=parent) == 0


def test_one_that_somebody_else_has_created_under_this_id_is_left_alone(world: World) -> None:
    with world.unchanged():
        assert end_child(world) == 0


def test_one_that_is_gone_stays_gone(world: World) -> None:
    world.control("delete", x=b"")
    with world.unchanged():
        assert end_child(world) == 0


def test_one_whose_beginning_cannot_be_read_is_left_alone(world: World) -> None:
    be_a_child(world)
    start = world.journal()[0]
    world.client.lset(world.keys.journal(world.a), 0, start[: journal.HEADER_BYTES] + b"\xc1")
    assert end_child(world) == 0
    assert world.header("st") == "queued"
