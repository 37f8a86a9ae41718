"""Asking an instance to end: what is written, what a second time changes, and what becomes of one that does not end."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_py

from tests.scripts.world import World, do, sleep
from workflows import limits
from workflows.storage import journal
from workflows.storage.intake import CreateItem, create_call
from workflows.storage.journal import CancelRequested, RollingBack
from workflows.storage.store import unpackb
from workflows.values import codec
from workflows.values.failure import Failure

GRACE_MS = 60_000


@pytest.fixture
def world(redis: redis_py.Redis) -> World:
    return World(redis)


def cancel(world: World, cid: str = "c1", why: str = "no stock") -> str:
    answer: bytes = world.control("cancel", cid=cid, why=why, ms=GRACE_MS)
    return answer.decode()


def entries(world: World) -> list[Any]:
    return [journal.decode(blob) for blob in world.journal() if journal.kind_of(blob) != b"Z"]


def end_timer(world: World) -> list[str]:
    return [member for member in world.timers() if member.startswith("d|")]


def expire(world: World) -> None:
    world.clock.ms += GRACE_MS
    world.fire(*end_timer(world))


def begun(world: World) -> None:
    """It has asked for a sleep, and waits."""
    world.open(sleep(1))


def test_one_that_waits_is_woken_by_an_entry_that_says_why(world: World) -> None:
    begun(world)
    assert cancel(world) == "cancelling"
    assert entries(world)[-1] == CancelRequested(world.clock.ms, "no stock")
    assert world.header("st") == "running"
    assert world.header("turn").startswith("r|")
    assert end_timer(world) == ["d|job|a|g-a|0"]


def test_the_same_command_is_answered_like_the_first_time_and_another_one_says_that_it_was_asked(world: World) -> None:
    begun(world)
    cancel(world)
    with world.unchanged():
        assert cancel(world) == "cancelling"
    before = world.journal()
    assert cancel(world, "c2", "another reason") == "already"
    assert (world.journal(), world.header("stop_for")) == (before, "no stock")


def test_one_that_nobody_has_begun_with_ends_at_once(world: World) -> None:
    assert cancel(world) == "terminated"
    assert (world.header("st"), world.intents(), world.timers()) == ("terminated", [], [])
    outcome = unpackb(world.journal()[-1][journal.HEADER_BYTES :])
    assert Failure.from_blob(outcome[b"x"]).name == "InstanceCancelled"


def test_one_that_has_ended_cannot_be_cancelled(world: World) -> None:
    cancel(world)
    with world.unchanged():
        assert cancel(world, "c2") == "cannot"


def test_one_that_is_paused_goes_on(world: World) -> None:
    begun(world)
    world.control("pause")
    assert cancel(world) == "cancelling"
    assert (world.header("want"), world.header("st")) == ("", "running")
    assert len(world.timers()) == 2


def test_a_pause_stops_the_time_it_has_left(world: World) -> None:
    begun(world)
    cancel(world)
    world.clock.ms += 10_000
    world.control("pause")
    assert world.timers() == []
    world.clock.ms += 3_600_000
    world.control("resume")
    due = world.client.zscore(world.keys.shard_key(0, "timers"), "d|job|a|g-a|0")
    assert due == world.clock.ms + GRACE_MS - 10_000


def test_one_whose_time_is_over_is_rolled_back_as_if_it_had_been_terminated(world: World) -> None:
    world.open(do(1))
    cancel(world)
    expire(world)
    assert entries(world)[-1] == RollingBack(world.clock.ms, is_terminated=True)
    assert end_timer(world) == []
    assert Failure.from_blob(world.client.hget(world.keys.header(world.a), "rb")).name == "InstanceCancelled"


def test_a_timer_that_is_lost_is_made_anew(world: World) -> None:
    begun(world)
    cancel(world)
    before = world.timers()
    world.client.delete(world.keys.shard_key(0, "timers"))
    assert world.call("sweep", [world.a], items=[{"i": 1, "c": "0"}])[0][0] == 1
    assert world.timers() == before


def test_a_terminated_one_is_not_asked_any_more(world: World) -> None:
    begun(world)
    cancel(world)
    world.control("terminate", cid="t", x=b"", cut=b"")
    assert (world.header("stop"), world.timers()) == ("", [])


def test_a_life_that_begins_anew_is_not_asked(world: World) -> None:
    begun(world)
    cancel(world)
    world.control("restart", cid="r", gen="g2")
    assert (world.header("stop"), world.timers(), world.kinds()) == ("", [], "0")


DEADLINE_MS = 5_000


def timed(world: World) -> None:
    """The same instance once more, with a deadline."""
    world.control("delete", x=b"")
    item = CreateItem("job", "a", "g-a", codec.encode({}, what="params"), "default", 1000, 2000)
    item.deadline_ms = DEADLINE_MS
    assert world.store.call(create_call(world.keys, item)) == [b"created"]


def test_a_deadline_asks_when_it_is_over_and_ends_after_the_grace(world: World) -> None:
    timed(world)
    begun(world)
    world.clock.ms += DEADLINE_MS - 1
    assert world.fire(*end_timer(world)) == 0
    world.clock.ms += 1
    assert world.fire(*end_timer(world)) == 1
    assert entries(world)[-1] == CancelRequested(world.clock.ms, "Execution timed out after 5000ms", is_late=True)
    world.clock.ms += limits.CANCEL_GRACE_MS
    world.fire(*end_timer(world))
    assert Failure.from_blob(world.client.hget(world.keys.header(world.a), "rb")).name == "InstanceTimeout"


def test_one_that_nobody_has_begun_with_by_then_has_failed(world: World) -> None:
    timed(world)
    world.clock.ms += DEADLINE_MS
    world.fire(*end_timer(world))
    assert (world.header("st"), world.timers(), world.intents()) == ("errored", [], [])


def test_a_deadline_stands_still_in_a_pause(world: World) -> None:
    timed(world)
    begun(world)
    world.control("pause")
    assert world.timers() == []
    world.clock.ms += 3_600_000
    world.control("resume")
    due = world.client.zscore(world.keys.shard_key(0, "timers"), *end_timer(world))
    assert due == world.clock.ms + DEADLINE_MS


def test_a_restart_begins_the_deadline_anew(world: World) -> None:
    timed(world)
    begun(world)
    world.clock.ms += 4_000
    world.control("restart", cid="r", gen="g2")
    due = world.client.zscore(world.keys.shard_key(0, "timers"), "d|job|a|g2|0")
    assert (end_timer(world), due) == (["d|job|a|g2|0"], world.clock.ms + DEADLINE_MS)


def test_who_has_no_deadline_and_is_not_asked_stores_nothing_of_it(world: World) -> None:
    begun(world)
    fields = world.client.hkeys(world.keys.header(world.a))
    assert not {b"stop", b"stop_for"} & {*fields}
    assert b"dl" not in unpackb(world.journal()[0][journal.HEADER_BYTES :])
