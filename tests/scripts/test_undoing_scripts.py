"""Taking back what is open before handlers run, where that is more than one call may take back (I12)."""

from __future__ import annotations

import pytest
import redis as redis_py

from orchestrator import sweep
from tests.scripts.world import STOPPED, World, do, wait
from workflows import limits


@pytest.fixture
def world(redis: redis_py.Redis) -> World:
    """Half of what ``a`` has open is taken back."""
    world = World(redis)
    steps = [do(seq) for seq in range(1, limits.SCRIPT_ELEMENTS + 1)]
    world.open(*steps, *[wait(len(steps) + seq) for seq in range(1, limits.SCRIPT_ELEMENTS + 1)])
    assert world.control("terminate", cid="c", x=STOPPED, cut=STOPPED, rb=1) == b"terminated"
    assert "R" not in world.kinds()
    return world


def clear(world: World) -> None:
    (member,) = [one.decode() for one in world.client.zrange(world.key("unfinished"), 0, -1)]
    while world.control("continue", m=member, g="g-a", stopped=STOPPED, unreadable=STOPPED):
        pass


def test_what_is_going_to_be_taken_back_needs_no_repair(world: World) -> None:
    assert sum(sweep.pages(world.store, 0, {})) == 0
    assert world.queues() == []
    clear(world)
    assert world.kinds() == "0" + 2 * limits.SCRIPT_ELEMENTS * "W" + "R"
    assert (world.queues(), [member[0] for member in world.intents()]) == ([], ["t"])


def test_no_event_reaches_a_wait_that_is_going_to_be_taken_back(world: World) -> None:
    assert world.send("e1") == "buffered"
    clear(world)
    assert "E" not in world.kinds()
