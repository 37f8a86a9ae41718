"""Limits on running instances (I13): who has a slot, who is next, and that no slot is kept by one that does not run."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_py

from orchestrator import relay, slots, sweep
from tests.driving import undo
from tests.scripts.world import STOPPED, World, do, sleep
from workflows.storage.concurrency import Limits, clear_limit, in_force, set_limit
from workflows.storage.intake import CreateItem, create_call, new_slot
from workflows.storage.keys import Instance
from workflows.storage.records import Decision, Slot
from workflows.values import codec
from workflows.values.concurrency import Concurrency

ONE: Limits = {"job": Concurrency(1)}
TWO: Limits = {"job": Concurrency(2)}
BY_TENANT: Limits = {"job": Concurrency(1, key="tenant")}
FREE: Limits = {"job": None}


@pytest.fixture
def world(redis: redis_py.Redis) -> World:
    return World(redis)


def create(world: World, id: str, limits: Limits = ONE, **params: Any) -> Instance:
    """A limited instance, created a millisecond later than the one before."""
    world.clock.ms += 1
    instance, blob = world.keys.instance("job", id), codec.encode(params, what="params")
    limit = limits["job"]
    assert limit is not None
    item = CreateItem("job", id, f"g-{id}", blob, "default", 1000, 2000, slot=new_slot(limit, blob))
    assert world.store.call(create_call(world.keys, item)) == [b"created"]
    return instance


def deliver(world: World, limits: Limits = ONE) -> None:
    """All messages, and those that follow from them."""
    while world.relayed():
        relay.deliver(world.store, 0, limits)


def has_slot(world: World) -> list[str]:
    return sorted(member.decode().split("|")[2] for member in world.client.zrange(world.keys.slots(0)[0], 0, -1))


def waits(world: World) -> list[str]:
    """In the order in which they are next."""
    return [member.decode().split("|")[3] for member in world.client.zrange(world.keys.slots(0)[1], 0, -1)]


def slot(world: World, instance: Instance) -> Slot:
    return Slot.parse(world.client.hget(world.keys.header(instance), "slot"))


def status(world: World, instance: Instance) -> str:
    return str(world.client.hget(world.keys.header(instance), "st").decode())


def take_a_under(world: World, limits: Limits = ONE) -> None:
    slots.look_after(world.store, 0, [(world.a, b"g-a", b"")], limits)
    deliver(world, limits)


def test_without_a_limit_nothing_is_written(world: World) -> None:
    world.open(do())
    assert world.client.hexists(world.keys.header(world.a), "slot") == 0
    assert world.relayed() == {}
    assert world.client.exists(*world.keys.slots(0)) == 0


def test_no_more_have_slots_than_the_limit_says(world: World) -> None:
    instances = [create(world, id, TWO) for id in "bcde"]
    assert not [member for member in world.intents() if "|a|" not in member]
    deliver(world, TWO)
    assert has_slot(world) == ["b", "c"]
    assert waits(world) == ["d", "e"]
    assert sorted(member.split("|")[2] for member in world.intents()) == ["a", "b", "c"]
    assert [status(world, one) for one in instances] == ["queued"] * 4


def test_each_key_has_slots_of_its_own(world: World) -> None:
    for id, tenant in (("b", "x"), ("c", "x"), ("d", "y")):
        create(world, id, BY_TENANT, tenant=tenant)
    deliver(world, BY_TENANT)
    assert has_slot(world) == ["b", "d"]
    assert waits(world) == ["c"]


def test_one_that_only_waits_gives_its_slot_to_the_next_and_is_before_new_ones_when_it_wakes(world: World) -> None:
    take_a_under(world)
    assert has_slot(world) == ["a"]
    for id in "bcd":
        create(world, id)
    deliver(world)
    world.open(sleep(1, 1000))
    assert world.header("st") == "waiting"
    deliver(world)
    assert has_slot(world) == ["b"]
    world.clock.ms += 1000
    assert world.fire(*world.timers()) == 1
    deliver(world)
    assert world.header("st") == "queued"
    assert waits(world) == ["a", "c", "d"]


def test_a_paused_one_gives_its_slot_back_and_asks_anew_when_it_is_resumed(world: World) -> None:
    take_a_under(world)
    create(world, "b")
    deliver(world)
    world.control("pause")
    deliver(world)
    assert has_slot(world) == ["b"]
    assert world.control("resume") == b"queued"
    deliver(world)
    assert waits(world) == ["a"]


def test_one_that_is_pausing_keeps_its_slot_until_its_steps_have_ended(world: World) -> None:
    take_a_under(world)
    world.open(do())
    token = world.held("a", 1)
    world.control("pause")
    deliver(world)
    assert (world.header("st"), has_slot(world)) == ("waitingForPause", ["a"])
    assert world.settle(1, token) == 1
    deliver(world)
    assert (world.header("st"), has_slot(world)) == ("paused", [])


@pytest.mark.parametrize("asked", [False, True], ids=["has one", "waits for one"])
@pytest.mark.parametrize(
    ("verb", "arguments"),
    [("terminate", {"cid": "c", "x": STOPPED}), ("delete", {"x": STOPPED}), ("restart", {"cid": "c", "gen": "g-new"})],
)
def test_a_life_that_is_over_keeps_no_slot(world: World, verb: str, arguments: dict[str, Any], asked: bool) -> None:
    if asked:
        create(world, "b")
        deliver(world)
    take_a_under(world)
    assert (waits(world) if asked else has_slot(world)) == ["a"]
    world.control(verb, **arguments)
    deliver(world)
    members = [*world.client.zrange(world.keys.slots(0)[0], 0, -1), *world.client.zrange(world.keys.slots(0)[1], 0, -1)]
    assert not [member for member in members if b"|g-a|" in member]
    assert any(b"|g-new|" in member for member in members) == (verb == "restart")


def test_a_slot_comes_back_from_one_that_does_not_want_it_any_more(world: World) -> None:
    take_a_under(world)
    create(world, "b")
    deliver(world)
    world.complete()
    relay.deliver(world.store, 0, ONE)
    assert has_slot(world) == ["b"]
    world.call("terminate", [world.keys.instance("job", "b")], cid="c", x=STOPPED)
    # What it was told is delivered after what it has said since.
    deliver(world)
    assert has_slot(world) == []


def test_what_is_delivered_again_changes_nothing(world: World) -> None:
    for id in "bc":
        create(world, id)
    asked = dict(world.client.hgetall(world.key("relay")))
    deliver(world)
    world.client.hset(world.key("relay"), mapping=asked)
    deliver(world)
    assert (has_slot(world), waits(world)) == (["b"], ["c"])
    b = world.keys.instance("job", "b")
    with world.unchanged():
        assert world.call("grant", [b], g="g-b", n=1) == 1
        assert world.call("grant", [b], g="g-b", n=2) == 0
        assert world.call("grant", [b], g="g-former", n=1) == 0


def test_an_asking_that_is_over_gets_no_slot_for_long(world: World) -> None:
    """It is heard late, is given a slot, refuses it, and the next one has it."""
    b = create(world, "b")
    late = dict(world.client.hgetall(world.key("relay")))
    world.call("pause", [b])
    deliver(world)
    world.client.hset(world.key("relay"), mapping=late)
    create(world, "c")
    deliver(world)
    assert (has_slot(world), waits(world)) == (["c"], [])


def test_of_a_workflow_that_is_not_published_nobody_knows_whether_it_has_a_limit(world: World) -> None:
    create(world, "b")
    deliver(world, {})
    assert (has_slot(world), waits(world)) == ([], ["b"])
    slots.grant(world.store, 0, FREE)
    assert (has_slot(world), waits(world)) == (["b"], [])


def test_a_higher_limit_is_filled_and_a_lower_one_stops_nobody(world: World) -> None:
    for id in "bcd":
        create(world, id)
    deliver(world)
    slots.grant(world.store, 0, TWO)
    assert has_slot(world) == ["b", "c"]
    deliver(world, ONE)
    world.call("terminate", [world.keys.instance("job", "b")], cid="c", x=STOPPED)
    deliver(world, ONE)
    assert (has_slot(world), waits(world)) == (["c"], ["d"])


def test_one_that_runs_when_its_workflow_is_limited_is_counted_at_once(world: World) -> None:
    create(world, "b")
    deliver(world)
    world.open(do())
    world.held("a", 1)
    take_a_under(world)
    assert (world.header("st"), has_slot(world)) == ("running", ["a", "b"])


def test_one_that_is_pausing_when_its_workflow_is_limited_is_counted_until_its_steps_have_ended(world: World) -> None:
    world.open(do())
    token = world.held("a", 1)
    world.control("pause")
    take_a_under(world)
    assert (world.header("st"), has_slot(world)) == ("waitingForPause", ["a"])
    assert world.settle(1, token) == 1
    deliver(world)
    assert (world.header("st"), has_slot(world)) == ("paused", [])


def test_one_that_nobody_has_begun_with_waits_like_a_new_one(world: World) -> None:
    create(world, "b")
    deliver(world)
    members = [member.encode() for member in world.intents()]
    admitted = slots.admitted(world.store, 0, members, ONE)
    assert [member.split(b"|")[2] for member in admitted] == [b"b"]
    deliver(world)
    assert (has_slot(world), waits(world)) == (["b"], ["a"])
    assert not [member for member in world.intents() if "|a|" in member]


def test_one_whose_workflow_has_no_limit_any_more_goes_on(world: World) -> None:
    create(world, "b")
    deliver(world)
    take_a_under(world)
    list(sweep.pages(world.store, 0, FREE))
    deliver(world, FREE)
    assert (has_slot(world), waits(world)) == ([], [])
    assert slot(world, world.a).state == "u"
    world.open(sleep())
    take_a_under(world)
    assert slot(world, world.a).state == "-"


def test_another_key_counts_anew(world: World) -> None:
    b = create(world, "b", tenant="x")
    deliver(world)
    list(sweep.pages(world.store, 0, BY_TENANT))
    deliver(world, BY_TENANT)
    assert (has_slot(world), slot(world, b).key) == (["a", "b"], "=x")


@pytest.mark.parametrize("key", [0, 1], ids=["slots", "slotq"])
@pytest.mark.parametrize("how", ["lost", "of another type"])
def test_the_sweep_finds_again_what_was_lost(world: World, key: int, how: str) -> None:
    for id in "bcd":
        create(world, id)
    deliver(world)
    world.client.delete(world.keys.slots(0)[key])
    if how != "lost":
        world.client.set(world.keys.slots(0)[key], "garbage")
        slots.grant(world.store, 0, ONE)
    list(sweep.pages(world.store, 0, ONE))
    deliver(world)
    list(sweep.pages(world.store, 0, ONE))
    deliver(world)
    # One of those that wait may have been given a slot before the one that has it was heard of.
    assert sorted([*has_slot(world), *waits(world)]) == ["a", "b", "c", "d"]
    assert "b" in has_slot(world)


def test_a_message_that_was_lost_is_sent_again_by_the_sweep(world: World) -> None:
    world.complete()
    create(world, "b")
    world.client.delete(world.key("relay"))
    list(sweep.pages(world.store, 0, ONE))
    relay.deliver(world.store, 0, ONE)
    world.client.delete(world.key("relay"))
    list(sweep.pages(world.store, 0, ONE))
    deliver(world)
    assert "|b|" in "".join(world.intents())


@pytest.mark.parametrize("garbage", ["h", "j"], ids=["header", "journal"])
def test_the_sweep_takes_the_slot_of_one_that_cannot_be_read(world: World, garbage: str) -> None:
    b = create(world, "b")
    create(world, "c")
    deliver(world)
    key = world.keys.of_instance(b)["hjomcq".index(garbage)]
    world.client.delete(key)
    world.client.set(key, "garbage")
    list(sweep.pages(world.store, 0, {"job": Concurrency(2)}))
    deliver(world, TWO)
    assert "b" not in has_slot(world)
    assert "c" in has_slot(world)


@pytest.mark.parametrize("text", ["x", "h|1", "h|1|2|3|", "a|1||0|-|", "h|1e9||0|-"])
def test_a_slot_that_cannot_be_read_parks_its_instance(world: World, text: str) -> None:
    world.client.hset(world.keys.header(world.a), "slot", text)
    world.send("e1")
    assert world.header("reason") == "whether it has a slot cannot be read"


def test_what_a_person_has_set_is_kept_until_it_is_cleared(world: World) -> None:
    for _ in range(2):
        set_limit(world.store, "job", Concurrency(3, "tenant"))
    assert in_force(world.store).limits == {"job": Concurrency(3, "tenant")}
    assert clear_limit(world.store, "job")
    assert not clear_limit(world.store, "job")
    assert in_force(world.store).limits == {}


def test_steps_that_are_due_wait_for_a_slot(world: World) -> None:
    take_a_under(world)
    world.open(do())
    token = world.held("a", 1)
    world.fail(1, token, 500)
    create(world, "b")
    deliver(world)
    assert (world.header("st"), has_slot(world)) == ("waiting", ["b"])
    world.clock.ms += 500
    world.fire(*world.timers())
    deliver(world)
    assert (world.header("st"), waits(world)) == ("queued", ["a"])
    assert world.client.zrange(world.key("unfinished"), 0, -1) == []
    world.call("terminate", [world.keys.instance("job", "b")], cid="c", x=STOPPED)
    deliver(world)
    assert world.settle(1, world.held("a", 1)) == 1


def test_the_one_that_waits_longest_is_next_whatever_the_order_of_messages(world: World) -> None:
    create(world, "b")
    deliver(world)
    for id in "cdefgh":
        create(world, id)
    deliver(world)
    order: list[str] = []
    for _ in range(6):
        (holder,) = has_slot(world)
        world.call("terminate", [world.keys.instance("job", holder)], cid="c", x=STOPPED)
        deliver(world)
        order += has_slot(world)
    assert order == list("cdefgh")


def roll_back(world: World) -> Any:
    answer = world.control("terminate", cid="undo", x=STOPPED, cut=STOPPED, rb=1)
    deliver(world)
    return answer


def stand(world: World, how: str) -> None:
    """``a`` stands like that, and ``b`` waits for a slot or has the only one."""
    take_a_under(world)
    create(world, "b")
    deliver(world)
    world.open(do(1) if how == "waitingForPause" else sleep(1, 1000))
    if how == "waitingForPause":
        world.held("a", 1)
    deliver(world)
    if how == "queued":
        world.clock.ms += 1000
        assert world.fire(*world.timers()) == 1
    elif how != "waiting":
        world.control("pause")
    deliver(world)
    assert world.header("st") == how


@pytest.mark.parametrize("how", ["queued", "waiting", "paused", "waitingForPause"])
def test_one_that_is_rolled_back_needs_a_slot_like_any_other_and_gives_it_back_at_the_end(
    world: World, how: str
) -> None:
    stand(world, how)
    roll_back(world)
    if how != "waitingForPause":
        assert (world.header("st"), has_slot(world), waits(world)) == ("queued", ["b"], ["a"])
        assert not [member for member in world.intents() if "|a|" in member]
        world.call("terminate", [world.keys.instance("job", "b")], cid="c", x=STOPPED)
        deliver(world)
    assert has_slot(world) == ["a"]
    assert world.commit(world.held(), d=Decision(opened=[undo(9, "A")])) == 1
    token = world.held("a", 9)
    assert world.fail(9, token, 1000) == 1
    deliver(world)
    # Between the attempts of a handler it runs as little as between those of a step.
    assert (world.header("st"), "a" in has_slot(world)) == ("waiting", False)
    world.control("terminate", cid="c2", x=STOPPED, cut=STOPPED)
    deliver(world)
    assert "a" not in has_slot(world) + waits(world)


def test_one_that_nobody_has_begun_has_nothing_to_undo_and_waits_for_no_slot(world: World) -> None:
    create(world, "b")
    deliver(world)
    take_a_under(world)
    assert waits(world) == ["a"]
    assert roll_back(world) == b"terminated"
    assert (world.header("st"), world.kinds(), waits(world)) == ("terminated", "0Z", [])
