"""What an attempt has said with its heartbeat is there for the next one, however it ends."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_py

from tests.scripts.world import BROKEN, World, do
from workflows.storage.records import OpenStep, open_record
from workflows.storage.store import unpackb


@pytest.fixture
def world(redis: redis_py.Redis) -> World:
    world = World(redis)
    world.open(do(1))
    return world


def beat(world: World, token: str, details: str, name: str = "w1", **item: Any) -> int:
    item = {"i": 1, "g": world.header("gen"), "s": 1, "t": token, "d": details, **item}
    answer: list[int] = world.call("beat", [world.a], w=name, items=[item])
    return answer[0]


def record(world: World) -> OpenStep:
    found = open_record(unpackb(world.client.hget(world.keys.of_instance(world.a)[2], "1")))
    assert isinstance(found, OpenStep)
    return found


def test_it_is_written_with_the_moment_and_nothing_else_changes(world: World) -> None:
    token = world.held("a", 1)
    before = record(world)
    world.clock.ms += 5
    assert beat(world, token, "row 5") == 1
    before.details, before.heard = b"row 5", world.clock.ms
    assert record(world) == before


@pytest.mark.parametrize("item", [{"t": "another"}, {"g": "g-other"}, {"s": 2}])
def test_who_does_not_hold_the_step_says_nothing(world: World, item: dict[str, Any]) -> None:
    token = world.held("a", 1)
    with world.unchanged():
        assert beat(world, token, "row 5", **item) == 0
        assert beat(world, token, "row 5", "w2") == 0


def test_it_outlives_the_worker(world: World) -> None:
    token = world.held("a", 1)
    beat(world, token, "row 5")
    world.lose("w1")
    again = world.held("a", 1, "w2")
    assert (record(world).details, record(world).attempts) == (b"row 5", 2)
    with world.unchanged():
        assert beat(world, token, "row 6") == 0
    assert beat(world, again, "row 7", "w2") == 1


def test_a_failure_brings_the_last_with_it(world: World) -> None:
    """It may have been said less than a second before."""
    token = world.held("a", 1)
    beat(world, token, "row 5")
    item = {"i": 1, "g": world.header("gen"), "s": 1, "t": token, "r": (0, [1, 0, 0, BROKEN]), "h": "row 6"}
    assert world.call("settle", [world.a], w="w1", items=[item])[0][0] == 1
    world.held("a", 1)
    assert record(world).details == b"row 6"


def test_one_that_says_nothing_more_leaves_what_was_said(world: World) -> None:
    token = world.held("a", 1)
    beat(world, token, "row 5")
    item = {"i": 1, "g": world.header("gen"), "s": 1, "t": token, "r": (0, [1, 0, 0, BROKEN])}
    world.call("settle", [world.a], w="w1", items=[item])
    assert record(world).details == b"row 5"


def test_a_step_without_heartbeats_is_stored_as_before(world: World) -> None:
    world.held("a", 1)
    assert len(unpackb(world.client.hget(world.keys.of_instance(world.a)[2], "1"))) == 19
