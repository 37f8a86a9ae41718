"""What a wait listens to, and what becomes of an event, script by script."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import redis as redis_py

from orchestrator import sweep
from tests.scripts.world import STOPPED, World, do, load
from workflows import limits
from workflows.health.kept_events import mailbox
from workflows.storage.intake import CreateItem, event_call, heartbeat_call, new_event
from workflows.storage.journal import HEADER_BYTES, EventReceived, TimedOut, decode
from workflows.storage.keys import Unfinished
from workflows.storage.records import Asked, Decision, GivenUp
from workflows.storage.store import call_on, unpackb
from workflows.values import codec
from workflows.values.listening import AnswerToken

HOUR = 3_600_000


@pytest.fixture
def world(redis: redis_py.Redis) -> World:
    return World(redis)


def wait(seq: int, type: str, ms: int = HOUR) -> Asked:
    return Asked(["wait", seq, f"w{seq}", 1, False, False, ms, type])


def received(world: World) -> list[tuple[str, str]]:
    """By which wait, and which event, in the order of the journal."""
    entries = [decode(blob) for blob in world.journal()]
    return [(one.name, one.event_id) for one in entries if isinstance(one, EventReceived)]


def listening(world: World) -> list[str]:
    return [member for member in world.queues() if member.startswith("w|")]


def mail(world: World, number: int) -> Any:
    return unpackb(world.client.hget(world.keys.of_instance(world.a)[3], f"e:{number}"))


# Errors


def test_an_event_that_is_an_error_is_still_one_when_it_has_gone_back_to_the_mailbox(world: World) -> None:
    world.open(wait(1, "e"), do(2))
    event = new_event("e", 1, id="ev1", error="too dear")
    world.settle(2, world.held("a", 2))
    assert world.store.call(event_call(world.keys, world.a, event)) == [b"delivered"]
    assert world.commit(world.held(), d=Decision(withdrawn=[GivenUp(1, "wait")])) == 1
    assert mail(world, 1)[b"x"] == event.error


# Any of several types


def test_a_wait_for_any_of_several_types_takes_what_was_accepted_first(world: World) -> None:
    """Of those that came before it was asked for, whatever their types are called."""
    for event, type in (("ev1", "other"), ("ev2", "z"), ("ev3", "a")):
        world.send(event, type)
    world.open(wait(1, "a|m|z"))
    assert received(world) == [("w1", "ev2")]
    assert listening(world) == []
    world.open(wait(2, "a"))
    assert received(world)[1:] == [("w2", "ev3")]


@pytest.mark.parametrize("type", ["a", "m", "z"])
def test_a_wait_for_any_of_several_types_takes_the_next_event_of_each(world: World, type: str) -> None:
    world.open(wait(1, "a|m|z"))
    assert world.send("ev1", "other") == "buffered"
    assert world.send("ev2", type) == "delivered"
    assert world.send("ev3", type) == "buffered"
    assert received(world) == [("w1", "ev2")]


def test_of_two_waits_the_one_that_asked_first_gets_what_both_are_for(world: World) -> None:
    world.open(wait(1, "a|z"), wait(2, "z"), wait(3, "m|z"))
    assert [world.send(event, "z") for event in ("ev1", "ev2", "ev3")] == ["delivered"] * 3
    assert received(world) == [("w1", "ev1"), ("w2", "ev2"), ("w3", "ev3")]


@pytest.mark.parametrize("how", ["times out", "is given up", "ends", "restarts"])
def test_a_wait_that_is_over_listens_to_none_of_its_types(world: World, how: str) -> None:
    world.open(wait(1, "a|m|z"), wait(2, "z"), do(3))
    match how:
        case "times out":
            world.clock.ms += HOUR
            assert world.fire("w|job|a|g-a|1") == 1
        case "is given up":
            world.settle(3, world.held("a", 3))
            assert world.commit(world.held(), d=Decision(withdrawn=[GivenUp(1, "wait")])) == 1
        case "ends":
            world.control("terminate", cid="c", x=STOPPED, cut=STOPPED)
        case "restarts":
            world.control("restart", cid="c", gen="g-b")
    assert listening(world) == (["w|z|A2"] if how in ("times out", "is given up") else [])


def test_an_event_goes_back_to_its_own_type_when_its_wait_was_given_up(world: World) -> None:
    world.open(wait(1, "a|z"), do(2))
    world.settle(2, world.held("a", 2))
    assert world.send("ev1", "z") == "delivered"
    assert (
        world.commit(world.held(), d=Decision(withdrawn=[GivenUp(1, "wait")], opened=[wait(3, "a"), wait(4, "z")])) == 1
    )
    assert received(world) == [("w1", "ev1"), ("w4", "ev1")]


def test_a_sweep_finds_that_a_wait_listens_to_too_little(world: World) -> None:
    world.open(wait(1, "a|m|z"))
    world.client.zrem(world.keys.of_instance(world.a)[5], "w|m|A1")
    world.send("ev1", "m")
    assert sum(sweep.pages(world.store, 0, {})) == 1
    assert received(world) == [("w1", "ev1")]


# What people are not shown


def hiding(seq: int, *, heartbeat: int | bool = False) -> Asked:
    return Asked([*wait(seq, f"e~{seq}" if heartbeat else "e").values, heartbeat, False, True])


def hidden(world: World) -> list[tuple[str, bool]]:
    """Which waits have got an event, and whether people are not shown its payload."""
    entries = [decode(blob) for blob in world.journal()]
    return [(one.name, one.is_sensitive) for one in entries if isinstance(one, EventReceived)]


def test_a_sensitive_wait_hides_what_it_is_given(world: World) -> None:
    world.open(hiding(1), wait(2, "e"))
    world.send("ev1")
    world.send("ev2")
    assert hidden(world) == [("w1", True), ("w2", False)]


def test_a_wait_that_is_not_sensitive_stores_nothing_about_that(world: World) -> None:
    world.open(wait(1, "e"))
    (blob,) = world.client.hvals(world.keys.of_instance(world.a)[2])
    assert len(unpackb(blob)) == 8
    world.send("ev1")
    assert b"se" not in unpackb(world.journal()[1][HEADER_BYTES:])


def test_what_was_hidden_stays_so_when_its_wait_was_given_up(world: World) -> None:
    world.open(hiding(1), do(2))
    world.settle(2, world.held("a", 2))
    world.send("ev1")
    assert world.commit(world.held(), d=Decision(withdrawn=[GivenUp(1, "wait")])) == 1
    (kept,) = mailbox(world.store, world.a).events
    assert (kept.id, kept.payload()) == ("ev1", "[REDACTED]")


def test_a_heartbeat_leaves_a_wait_sensitive(world: World) -> None:
    world.open(hiding(1, heartbeat=1_000))
    assert beat(world) == "heard"
    assert (world.record(1).sensitive, world.record(1).heard) == (True, world.clock.ms)


# Send or start


def new(world: World, id: str = "b") -> CreateItem:
    return CreateItem("job", id, f"g-{id}", codec.encode({}, what="params"), "default", 1000, 2000)


def start(world: World, event: str = "ev1", id: str = "b") -> str:
    item = replace(new_event("e", event, id=event), new=new(world, id))
    answer: bytes = world.store.call(event_call(world.keys, world.keys.instance("job", id), item))[0]
    return answer.decode()


def test_an_event_creates_its_instance_and_is_its_first(world: World) -> None:
    assert start(world) == "started"
    b = world.keys.instance("job", "b")
    assert unpackb(world.client.hget(world.keys.of_instance(b)[3], "e:1"))[b"ev"] == b"ev1"
    assert [member for member in world.intents() if "|b|" in member]
    with world.unchanged():
        assert start(world) == "started"  # the same event
    assert start(world, "ev2") == "buffered"


def test_an_event_that_may_create_goes_to_the_wait_of_an_instance_that_is_there(world: World) -> None:
    world.open(wait(1, "e"))
    assert start(world, id="a") == "delivered"
    assert received(world) == [("w1", "ev1")]


def test_an_instance_that_has_ended_is_not_created_anew_by_an_event(world: World) -> None:
    world.complete()
    with world.unchanged():
        assert start(world, id="a") == "ended"


def test_an_instance_that_cannot_be_read_is_not_created_over(world: World) -> None:
    world.client.hset(world.keys.header(world.a), "st", "nonsense")
    assert start(world, id="a") == "unreadable"


# Keys


def lines(world: World) -> list[str]:
    """Of open waits for a key, as their shard has them."""
    return [line.decode() for line in world.client.zrange(world.keys.keyed(0), 0, -1)]


def send_to_key(world: World, event: str = "ev1", line: str = "e=k|job|a|g-a|1") -> str:
    item = replace(new_event("e", event, id=event), name="e=k", line=line)
    answer: bytes = world.store.call(event_call(world.keys, world.a, item))[0]
    return answer.decode()


def test_a_wait_for_a_key_is_found_by_it_and_takes_what_is_sent_to_either(world: World) -> None:
    world.open(wait(1, "e|e=k"), wait(2, "e|e=k"), wait(3, "e"))
    assert lines(world) == ["e=k|job|a|g-a|1", "e=k|job|a|g-a|2"]
    assert send_to_key(world) == "delivered"
    assert world.send("ev2") == "delivered"
    assert received(world) == [("w1", "ev1"), ("w2", "ev2")]
    assert lines(world) == []
    assert send_to_key(world) == "delivered"  # as the first time
    assert send_to_key(world, "ev3") == "gone"
    assert world.mailbox() == {b"n"}


def test_an_event_for_a_key_that_nobody_waits_for_leaves_nothing(world: World) -> None:
    world.open(wait(1, "e"))
    with world.unchanged():
        assert send_to_key(world) == "gone"


def test_a_line_of_a_wait_that_is_not_there_goes_with_the_first_event_for_its_key(world: World) -> None:
    """A key removed by hand, say."""
    world.client.zadd(world.keys.keyed(0), {"e=k|job|a|g-old|1": 0})
    assert send_to_key(world, line="e=k|job|a|g-old|1") == "gone"
    assert lines(world) == []


@pytest.mark.parametrize("how", ["times out", "is given up", "ends", "is rolled back", "restarts", "is deleted"])
def test_no_key_outlives_its_wait(world: World, how: str) -> None:
    """I8."""
    world.open(wait(1, "e|e=k"), do(2))
    match how:
        case "times out":
            world.clock.ms += HOUR
            assert world.fire("w|job|a|g-a|1") == 1
        case "is given up":
            world.settle(2, world.held("a", 2))
            assert world.commit(world.held(), d=Decision(withdrawn=[GivenUp(1, "wait")])) == 1
        case "restarts":
            world.control("restart", cid="c", gen="g-b")
        case "is deleted":
            world.control("delete", x=STOPPED)
        case _:
            rollback = {"rb": 1} if how == "is rolled back" else {}
            world.control("terminate", cid="c", x=STOPPED, cut=STOPPED, **rollback)
    assert lines(world) == []


def test_more_waits_for_keys_than_a_call_takes_back_lose_them_one_slice_after_the_other(world: World) -> None:
    many = limits.SCRIPT_ELEMENTS + 5
    world.open(*[wait(seq, f"e|e=k{seq}") for seq in range(1, many + 1)])
    assert len(lines(world)) == many
    world.control("delete", x=STOPPED)
    assert len(lines(world)) == many
    (member,) = [one.decode() for one in world.client.zrange(world.key("unfinished"), 0, -1)]
    one = Unfinished.parse(member)
    while world.client.exists(remains := world.keys.remains(world.a, one.token)):
        call = call_on(world.keys, load("clean"), 0, [], {"m": member, "wf": "job", "id": "a", "g": "g-a"})
        world.store.call(replace(call, keys=[*call.keys, remains]))
    assert lines(world) == []


def test_a_key_is_found_while_time_stands_still(world: World) -> None:
    world.open(wait(1, "e|e=k"))
    world.control("pause")
    assert lines(world) == ["e=k|job|a|g-a|1"]
    assert send_to_key(world) == "delivered"
    assert world.header("st") == "paused"


def test_a_sweep_brings_back_a_key_that_was_lost(world: World) -> None:
    world.open(wait(1, "e|e=k"))
    world.client.delete(world.keys.keyed(0))
    assert sum(sweep.pages(world.store, 0, {})) == 1
    assert lines(world) == ["e=k|job|a|g-a|1"]


def test_who_waits_for_no_key_costs_no_line(world: World) -> None:
    world.open(wait(1, "e"), wait(2, "a|z"))
    assert world.send("ev1") == "delivered"
    assert not world.client.exists(world.keys.keyed(0))


# Tokens


def answer(world: World, event: str = "ev1", life: str = "g-a", name: str = "e~1") -> str:
    item = replace(new_event("e", event, id=event), name=name, life=life)
    said: bytes = world.store.call(event_call(world.keys, world.a, item))[0]
    return said.decode()


def test_a_wait_by_token_takes_the_one_answer_and_no_other_event(world: World) -> None:
    world.open(wait(1, "e~1"), wait(2, "e"))
    assert world.send("ev0") == "delivered"
    assert answer(world) == "delivered"
    assert received(world) == [("w2", "ev0"), ("w1", "ev1")]
    with world.unchanged():
        assert answer(world) == "delivered"  # as the first time
        assert answer(world, "ev2") == "over"


@pytest.mark.parametrize("how", ["times out", "is given up", "is not there yet", "restarts"])
def test_no_answer_is_taken_where_no_wait_is_open_for_it(world: World, how: str) -> None:
    world.open(*([wait(1, "e~1")] if how != "is not there yet" else []), do(2))
    match how:
        case "times out":
            world.clock.ms += HOUR
            assert world.fire("w|job|a|g-a|1") == 1
        case "is given up":
            world.settle(2, world.held("a", 2))
            assert world.commit(world.held(), d=Decision(withdrawn=[GivenUp(1, "wait")])) == 1
        case "restarts":
            world.control("restart", cid="c", gen="g-b")
            world.open(wait(1, "e~1"))
    with world.unchanged():
        assert answer(world) == "over"


def test_an_answer_and_its_timeout_are_one_or_the_other(world: World) -> None:
    world.open(wait(1, "e~1"))
    world.clock.ms += HOUR
    assert answer(world) == "delivered"  # due, and not fired yet
    assert world.fire("w|job|a|g-a|1") == 0
    assert received(world) == [("w1", "ev1")]


def test_a_token_is_good_in_the_life_after_a_restart_that_has_kept_its_wait(world: World) -> None:
    world.open(wait(1, "e~1"), do(2))
    world.control("restart", cid="c", gen="g-b", seq=2, of="g-a")
    world.open(wait(1, "e~1"), do(2))
    assert answer(world, "ev1", "g-c") == "over"
    assert answer(world, "ev2", "g-a") == "delivered"


def test_an_answer_that_came_first_keeps_another_from_the_mailbox(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits there for a moment where the instance has more left over than one call takes up."""
    world.open(wait(1, "e~1"))
    world.client.zadd(world.keys.of_instance(world.a)[5], {"m|e~1|A7": 0})
    with world.unchanged():
        assert answer(world) == "over"


# Heartbeats

MINUTE = 60_000


def watched(seq: int, ms: int = HOUR) -> Asked:
    """A wait whose answerer may be silent for a minute."""
    return Asked([*wait(seq, f"e~{seq}", ms).values, MINUTE])


def beat(world: World, life: str = "g-a") -> str:
    said: bytes = world.store.call(heartbeat_call(world.keys, AnswerToken("job", "a", life, 1, "e")))
    return said.decode()


def timer(world: World) -> int:
    ((_, at),) = world.client.zrange(world.keys.shard_key(0, "timers"), 0, -1, withscores=True)
    return int(at) - world.clock.ms


def ended(world: World) -> list[tuple[str, int, bool]]:
    entries = [decode(blob) for blob in world.journal()]
    return [(one.name, one.timeout_ms, one.is_silent) for one in entries if isinstance(one, TimedOut)]


def test_a_wait_ends_when_whoever_has_its_token_is_silent_for_too_long(world: World) -> None:
    world.open(watched(1))
    assert timer(world) == MINUTE
    world.clock.ms += MINUTE
    assert world.fire("w|job|a|g-a|1") == 1
    assert ended(world) == [("w1", MINUTE, True)]
    with world.unchanged():
        assert beat(world) == "over"


def test_a_heartbeat_begins_the_silence_anew(world: World) -> None:
    world.open(watched(1))
    for _ in range(3):
        world.clock.ms += MINUTE - 1
        assert beat(world) == "heard"
        assert timer(world) == MINUTE
    with world.unchanged():
        assert beat(world) == "heard"
    assert answer(world) == "delivered"


@pytest.mark.parametrize("ms", [MINUTE, MINUTE + 10])
def test_the_timeout_counts_where_it_comes_before_the_silence_or_with_it(world: World, ms: int) -> None:
    world.open(watched(1, ms))
    world.clock.ms += ms - MINUTE
    beat(world)
    world.clock.ms += MINUTE
    assert world.fire("w|job|a|g-a|1") == 1
    assert ended(world) == [("w1", ms, False)]


def test_silence_does_not_go_on_while_time_stands_still(world: World) -> None:
    world.open(watched(1))
    world.clock.ms += MINUTE // 2
    world.control("pause")
    world.clock.ms += HOUR
    world.control("resume")
    assert timer(world) == MINUTE // 2
    world.control("pause")
    world.clock.ms += HOUR
    assert beat(world) == "heard"
    world.control("resume")
    assert timer(world) == MINUTE


@pytest.mark.parametrize("of", ["another life", "one that has ended"])
def test_a_heartbeat_for_no_open_wait_is_refused(world: World, of: str) -> None:
    world.open(watched(1))
    if of == "one that has ended":
        world.control("terminate", cid="c", x=b"x", cut=b"x")
    with world.unchanged():
        assert beat(world, "g-b") == ("ended" if of == "one that has ended" else "over")


def test_a_wait_that_minds_no_silence_has_nothing_written_by_a_heartbeat(world: World) -> None:
    world.open(wait(1, "e~1"))
    with world.unchanged():
        assert beat(world) == "heard"
    assert len(unpackb(world.client.hget(world.keys.of_instance(world.a)[2], "1"))) == 8


def test_a_sweep_arms_a_lost_timer_for_the_end_of_the_silence(world: World) -> None:
    world.open(watched(1))
    world.client.delete(world.keys.shard_key(0, "timers"))
    assert sum(sweep.pages(world.store, 0, {})) == 1
    assert timer(world) == MINUTE
