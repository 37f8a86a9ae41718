"""A life that ends for the next one of the same instance: what is kept of it, and that it happens once."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_py

from tests.scripts.world import World, do, wait
from workflows.storage import journal
from workflows.storage.records import Decision, End, GivenUp
from workflows.values import codec

PARAMS = codec.encode({"n": 2}, what="params")


@pytest.fixture
def world(redis: redis_py.Redis) -> World:
    return World(redis)


def continued(withdrawn: Any = (), asked: Any = ()) -> Decision:
    return Decision(list(withdrawn), [], end=End("continued", PARAMS, asked=list(asked), generation="g-next"))


def test_the_next_life_has_other_params_and_the_mail_and_nothing_else(world: World) -> None:
    world.open(wait(1))
    world.send("for the wait")
    token = world.held()
    world.send("kept")
    assert world.commit(token, d=continued([GivenUp(1, "wait", False)], ["1|wait|1|wait 1"])) == 1
    start = journal.decode_start(world.journal()[0])
    assert (world.kinds(), start.params, start.at_ms) == ("0", PARAMS, world.clock.ms)
    assert (world.header("gen"), world.header("st"), world.header("pos")) == ("g-next", "queued", "0")
    assert [member for member in world.queues() if member[:2] != "c|"] == ["m|e|A1", "m|e|A2"]
    assert not world.all_held()
    assert [member.split("|")[:4] for member in world.intents()] == [["t", "job", "a", "g-next"]]


def test_it_happens_once(world: World) -> None:
    token = world.held()
    assert world.commit(token, d=continued()) == 1
    with world.unchanged():
        assert world.commit(token, d=continued()) == 0


def test_code_that_goes_on_without_what_is_open_is_refused(world: World) -> None:
    world.open(do(1), wait(2))
    world.send("for the wait")
    token = world.held()
    with world.unchanged():
        assert world.commit(token, d=continued()) == 4
