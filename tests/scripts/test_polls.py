"""What becomes of a look of a poll that has found nothing."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_py

from tests.scripts.world import World, do
from workflows.authoring import retries
from workflows.authoring.retries import StepConfig
from workflows.storage import journal
from workflows.values import failure

EVERY_MS, PATIENCE_MS = 400, 1_000
IN_VAIN = failure.make("PollTimeout", "in vain")
CONFIG = retries.to_wire(StepConfig(every_ms=EVERY_MS, patience_ms=PATIENCE_MS))


@pytest.fixture
def world(redis: redis_py.Redis) -> World:
    world = World(redis)
    world.open(do(1, config=CONFIG))
    return world


def look(world: World) -> tuple[str, list[Any]]:
    """Look in vain; the token, and the answer."""
    token = world.held("a", 1)
    return token, told(world, token)


def told(world: World, token: str) -> list[Any]:
    item = {"i": 1, "g": world.header("gen"), "s": 1, "t": token, "p": (EVERY_MS, PATIENCE_MS, IN_VAIN)}
    answer: list[Any] = world.call("settle", [world.a], w="w1", items=[item])[0]
    return answer


def test_a_look_in_vain_is_no_failure_and_the_next_one_comes_in_time(world: World) -> None:
    token, answer = look(world)
    record = world.record(1)
    assert answer[0] == 1
    assert (record.state, record.due, record.attempts, record.failed) == ("back", world.clock.ms + EVERY_MS, 1, 0)
    assert (world.kinds(), world.header("act"), len(world.timers())) == ("0", "0", 1)
    with world.unchanged():
        assert told(world, token)[0] == 0  # stale
    world.clock.ms += EVERY_MS
    assert world.fire(*world.timers()) == 1
    assert world.record(1).state == "ready"


def test_the_last_look_is_at_the_end_of_its_time_and_then_it_has_failed(world: World) -> None:
    asked = world.record(1).asked
    for due in (EVERY_MS, 2 * EVERY_MS, PATIENCE_MS):
        look(world)
        assert world.record(1).due == asked + due
        world.clock.ms = asked + due
        world.fire(*world.timers())
    look(world)
    assert (world.kinds(), world.record(1), world.header("act"), world.timers()) == ("0S", None, "0", [])
    assert world.header("turn").startswith("r|")
    entry = journal.decode(world.journal()[-1])
    assert isinstance(entry, journal.Settled)
    assert (entry.error, entry.attempts, entry.failures, entry.config) == (IN_VAIN, 4, (), CONFIG)


def test_a_look_that_came_to_its_end_clears_its_step_of_what_killed_workers(world: World) -> None:
    """Else ten lost machines in a year would end a poll that takes so long."""
    world.held("a", 1)
    world.expire("w1")
    world.reap("w1")
    assert world.record(1).losses == 1
    world.renew("w1", born=True)
    look(world)
    assert (world.record(1).losses, world.record(1).deaths) == (0, 0)


def test_no_timer_is_armed_while_time_stands_still(world: World) -> None:
    token = world.held("a", 1)
    world.control("pause")
    told(world, token)
    assert (world.record(1).state, world.timers(), world.header("st")) == ("back", [], "paused")
    world.control("resume")
    assert len(world.timers()) == 1
