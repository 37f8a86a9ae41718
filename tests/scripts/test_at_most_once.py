"""What becomes of an attempt that is cut off, of a step that runs at most once."""

from __future__ import annotations

import pytest
import redis as redis_py

from tests.scripts.world import World, do
from workflows.authoring import retries
from workflows.authoring.retries import Retry, StepConfig
from workflows.errors import StepInterrupted
from workflows.storage import journal
from workflows.values import failure
from workflows.values.failure import Failure


@pytest.fixture
def world(redis: redis_py.Redis) -> World:
    return World(redis)


def _cut_off(world: World, how: str) -> None:
    """The attempt that w1 has begun comes to nothing."""
    match how:
        case "seen" | "gone":
            world.bury("w1", how)
            world.reap("w1")
        case "left":
            world.renew("w1", leave=True)
            world.bury("w1", "seen")
            world.reap("w1")
        case "drain":
            (member,) = world.all_held()
            token = member.split("|")[-1]
            item = {"i": 1, "k": "a", "g": world.header("gen"), "s": 1, "t": token, "how": "drain"}
            assert world.call("release", [world.a], w="w1", x=b"", items=[item]) == [1]
        case "sweep":
            world.client.delete(world.key("held"))
            assert world.call("sweep", [world.a], items=[{"i": 1, "c": "0"}])[0][0] == 1


CUTS = ["seen", "gone", "left", "drain", "sweep"]


@pytest.mark.parametrize("how", CUTS)
def test_what_runs_at_most_once_has_failed_when_it_is_cut_off(world: World, how: str) -> None:
    world.open(do(1, config=retries.to_wire(retries.resolve(StepConfig(), None, step="A", semantics="at_most_once"))))
    world.held("a", 1)
    _cut_off(world, how)
    assert (world.kinds(), world.record(1), world.header("act")) == ("0S", None, "0")
    assert world.header("turn").startswith("r|")
    entry = journal.decode(world.journal()[-1])
    assert isinstance(entry, journal.Settled) and entry.error is not None
    assert entry.failures == ((1, entry.started_at_ms, entry.at_ms, entry.error),)
    failed = Failure.from_blob(entry.error)
    assert type(failed.to_exception()) is StepInterrupted and failed.retryable
    assert failed == Failure.from_blob(failure.make("StepInterrupted", failed.message))


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize(
    "retry",
    [
        Retry(2, 700, "constant"),
        Retry(2, 700, "linear"),
        Retry(2, 700, max_delay=900),
        Retry(2, 700, backoff_rate=1.5),
        Retry(2, 0),
    ],
    ids=str,
)
def test_it_is_tried_again_when_and_as_often_as_its_retries_say(world: World, how: str, retry: Retry) -> None:
    world.open(do(1, config=retries.to_wire(StepConfig(retry, at_most_once=True))))
    for failed in (1, 2):
        world.renew("w1", born=True)
        world.held("a", 1)
        _cut_off(world, how)
        record, wait = world.record(1), retries.delay_ms(retry, failed)
        assert (record.failed, record.attempts, len(record.failures)) == (failed, failed, failed)
        if wait:
            assert (record.state, record.due) == ("back", world.clock.ms + wait)
            world.clock.ms += wait
            world.fire(*world.timers())
        assert world.record(1).state == "ready"
    world.renew("w1", born=True)
    world.held("a", 1)
    _cut_off(world, how)
    assert (world.kinds(), world.header("act")) == ("0S", "0")


def test_a_failure_that_is_none_of_its_retries_classes_is_the_last(world: World) -> None:
    world.open(do(1, config=retries.to_wire(StepConfig(Retry(2, on=OSError), at_most_once=True))))
    world.held("a", 1)
    _cut_off(world, "seen")
    assert world.kinds() == "0S"
