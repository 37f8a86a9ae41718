"""Do the books of the storm notice what must never happen?"""

from __future__ import annotations

import pytest
import redis as redis_py

from orchestrator.dispatch import ring
from tests.driving import store_of
from tests.invariants.simulation.violation import Violation
from tests.torture import checks
from tests.torture.faults import Faults, Rewind, repeats
from tests.torture.ledger import Line
from tests.torture.situation import situation
from workflows import App, Client, WorkflowEntrypoint, WorkflowEvent, WorkflowStep


def _line(at: float, *, what: str = "start", count: int = 1, pid: int = 1, attempt: int = 1, work: str = "") -> Line:
    step = ("order", "o-1", "pay", count)
    return Line(what, f"order/o-1/g/do/pay/{count}", work or f"pay {count}", step, attempt, pid, at)


def test_a_key_that_stands_for_two_pieces_of_work_is_noticed() -> None:
    assert checks.keys_stand_for_one_step([_line(1), _line(2), _line(3, count=2)]) == 2
    with pytest.raises(Violation, match="stood for"):
        checks.keys_stand_for_one_step([_line(1), _line(2, work="refund")])


def test_a_step_that_begins_after_what_needed_its_result_is_noticed_unless_redis_has_forgotten() -> None:
    lines = [_line(1), _line(2, count=2), _line(5, attempt=2)]
    with pytest.raises(Violation, match="needed its result"):
        checks.settled_is_settled(lines, Faults(), hurt=())
    checks.settled_is_settled(lines, Faults(rewinds=[Rewind(to=1.5, at=4)]), hurt=())
    with pytest.raises(Violation):
        checks.settled_is_settled(lines, Faults(rewinds=[Rewind(to=2.5, at=4)]), hurt=())
    with pytest.raises(Violation):
        checks.settled_is_settled(lines, Faults(rewinds=[Rewind(to=1.5, at=6)]), hurt=())


def test_a_repeat_has_its_reason_in_what_was_done_to_the_process_between_both_attempts() -> None:
    lines = [_line(1), _line(5, pid=2, attempt=2)]
    reasons = {
        "": [
            Faults(),
            Faults(asked={1: 2}),
            Faults(killed={1: 6}),
            Faults(killed={2: 2}),
            Faults(garbage=[6]),
            Faults(rewinds=[Rewind(-1, 0)]),
        ],
        "kills": [Faults(killed={1: 2})],
        "freezes": [Faults(frozen={1: [(2, 4)]}), Faults(frozen={2: [(0, 4)]})],
        "Redis": [Faults(rewinds=[Rewind(to=2, at=3)]), Faults(rewinds=[Rewind(to=-9, at=0)])],
        "garbage": [Faults(garbage=[2])],
    }
    for reason, possible in reasons.items():
        for faults in possible:
            assert [one.cause for one in repeats(lines, faults)] == [reason]


def test_a_process_that_ended_itself_is_a_reason_too() -> None:
    lines = [_line(1), _line(2, what="die", count=9), _line(5, pid=2, attempt=2)]
    assert [one.cause for one in repeats(lines, Faults())] == ["kills"]


def test_of_an_instance_that_does_not_move_everything_is_told_that_may_say_why(redis: redis_py.Redis) -> None:
    app = App("shop")

    @app.workflow(name="order")
    class Order(WorkflowEntrypoint):
        async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None: ...

    store = store_of(redis)
    Client(app, connection=redis).workflow("order").create("o-1")
    instance = store.keys.instance("order", "o-1")
    intents = store.keys.shard_key(instance.shard, "intents")
    ring(store, instance.shard, redis.zrange(intents, 0, -1))
    told = situation(store, instance, [])
    for part in ("header: {'st': 'queued'", "journal: 1,", "intents: 1 ['t|order|o-1|", "'origin': 'shop.default'"):
        assert part in told
    # A key of another type hides no other.
    redis.set(store.keys.header(instance), "garbage")
    told = situation(store, instance, [])
    assert "_of_instance: " in told
    assert "intents: 1 ['t|order|o-1|" in told
    store.release()
