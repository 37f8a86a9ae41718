"""What ``run`` has published stands and falls with the decision it goes with."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_py

from tests.scripts.test_continue_as import continued
from tests.scripts.world import World, do, wait
from workflows import limits
from workflows.storage.records import Decision, End, Value
from workflows.storage.store import unpackb

ASIDE = "aside"


@pytest.fixture
def world(redis: redis_py.Redis) -> World:
    return World(redis)


def publishing(n: int, *opened: Any, end: End | None = None, **values: bytes) -> Decision:
    return Decision(opened=list(opened), end=end, published={name: Value(n, 5, blob) for name, blob in values.items()})


def values(world: World) -> dict[str, tuple[int, bytes]]:
    stored = world.client.hget(world.keys.of_instance(world.a)[0], "vals")
    found = {} if stored is None else unpackb(stored)
    return {name.decode(): (Value.of(fields).n, Value.of(fields).blob) for name, fields in found.items()}


def test_a_turn_that_is_void_publishes_nothing(world: World) -> None:
    token = world.held()
    with world.unchanged():
        assert world.commit("another", d=publishing(1, a=b"x")) == 0
    assert world.commit(token, d=publishing(1, wait(1), a=b"1")) == 1
    with world.unchanged():
        assert world.commit(token, d=publishing(1, wait(1), a=b"1")) == 0
    assert values(world) == {"a": (1, b"1")}


def test_of_each_name_there_is_the_latest_value_alone(world: World) -> None:
    assert world.commit(world.held(), d=publishing(1, wait(1), a=b"1", b=b"2")) == 1
    world.send("e1")
    assert world.commit(world.held(), d=publishing(2, wait(2), a=b"3")) == 1
    assert values(world) == {"a": (2, b"3"), "b": (1, b"2")}


def test_a_fused_turn_publishes_if_it_counts(world: World) -> None:
    world.open(do(1), wait(2))
    token = world.held("a", 1)
    world.send("e1")
    assert world.settle(1, token, b=1, d=publishing(1, a=b"1")) == 1
    assert values(world) == {}


def test_the_values_stay_behind_the_end(world: World) -> None:
    assert world.commit(world.held(), d=publishing(1, wait(1), a=b"1")) == 1
    world.send("e1")
    assert world.commit(world.held(), d=publishing(2, end=End("complete", asked=[]), b=b"2")) == 2
    assert values(world) == {"a": (1, b"1"), "b": (2, b"2")}


@pytest.mark.parametrize("from_", [{}, {"seq": 1, "of": "g-a"}])
def test_a_restart_takes_them_away(world: World, from_: dict[str, Any]) -> None:
    """From a step too: what was published before it is published again, by the first turn."""
    assert world.commit(world.held(), d=publishing(1, wait(1), a=b"1")) == 1
    world.control("restart", cid="c1", gen="g2", **from_)
    assert values(world) == {}


def test_another_life_begins_with_them(world: World) -> None:
    decision = continued()
    decision.published = {"b": Value(2, 7, b"2")}
    assert world.commit(world.held(), d=publishing(1, wait(1), a=b"1", b=b"1")) == 1
    world.send("e1")
    assert world.commit(world.held(), d=decision) == 1
    assert values(world) == {"a": (0, b"1"), "b": (0, b"2")}


def test_lives_do_not_pile_up_names(world: World) -> None:
    """The oldest of former lives goes first; what the present one has published stays."""
    old = {f"old{n}": Value(n + 1, n, b"1") for n in range(limits.VALUES)}
    first = continued()
    first.published = old
    assert world.commit(world.held(), d=first) == 1
    new = {f"new{n}": Value(n + 1, 1, b"2") for n in range(3)}
    assert world.commit(world.held(), d=Decision(published=new)) == 1
    assert values(world).keys() == {*list(old)[3:], *new}


def test_values_that_cannot_be_read_are_noted_and_replaced(world: World) -> None:
    world.client.hset(world.keys.of_instance(world.a)[0], "vals", b"\x93garbage")
    assert world.commit(world.held(), d=publishing(1, wait(1), a=b"1")) == 1
    assert values(world) == {"a": (1, b"1")}
    assert "published" in str(world.client.zrange(world.key(ASIDE), 0, -1))
