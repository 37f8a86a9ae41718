"""``step.continue_as``: what it refuses, and what is decided."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from tests.replaying import Driver
from workflows import App, WorkflowEntrypoint, WorkflowEvent, limits
from workflows.errors import BadParams, InvalidTransition
from workflows.replay.decision import decide
from workflows.replay.replay import Continued
from workflows.storage.keys import Instance
from workflows.values import codec


class Numbers(BaseModel):
    n: int


HERE = Instance(0, "flow", "one")


def decided(driver: Driver, generation: str = "g1") -> Any:
    return decide(driver.replay, driver.decided, App("x"), HERE, generation)


def test_it_ends_this_life_with_the_params_of_the_next() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("a", lambda: 1)
        step.continue_as({"n": event.payload["n"] + 1})

    driver = Driver(run, {"n": 1}).start().settle("a")
    assert isinstance(driver.replay.end, Continued)
    end = decided(driver).end
    assert (end.status, codec.decode(end.value)) == ("continued", {"n": 2})


def test_two_workers_that_decide_begin_the_same_life_and_each_life_has_another_name() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        step.continue_as()

    names = [decided(Driver(run).start(), generation).end.generation for generation in ("g1", "g1", "g2")]
    assert names[0] == names[1] != names[2]


def test_nothing_behind_it_is_executed() -> None:
    said = []

    async def run(self: Any, event: Any, step: Any) -> Any:
        try:
            step.continue_as()
        except Exception:
            said.append("caught")
        finally:
            said.append("left")
            step.do("never", lambda: 1)
        said.append("went on")

    driver = Driver(run).start()
    assert (isinstance(driver.replay.end, Continued), said) == (True, ["left"])
    assert driver.replay.unanswered() == []


def test_open_steps_are_refused_by_name() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        step.do("a", lambda: 1)
        step.wait_for_event("b", type="b")
        step.continue_as()

    with pytest.raises(InvalidTransition, match='it has asked for do "a", wait "b". Await every step, or cancel it'):
        _ = Driver(run).start().result


def test_what_has_lost_a_race_is_given_up() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.race(step.wait_for_event("event", type="e"), step.sleep("late", "1 h"))
        step.continue_as()

    driver = Driver(run).start()
    driver.turn()
    driver.settle("late")
    decision = decided(driver)
    assert ([one.seq for one in decision.withdrawn], decision.opened) == ([1], [])
    assert decision.end.asked == ["1|wait|1|event"]


@pytest.mark.parametrize("is_answered", [False, True])
def test_waits_that_may_have_an_answer_in_vain_are_named_and_no_others(is_answered: bool) -> None:
    """However many a life has given up: of one that was withdrawn without an answer, any that comes is refused."""
    asked = limits.SCRIPT_ELEMENTS + 2

    async def run(self: Any, event: Any, step: Any) -> Any:
        for n in range(asked):
            await step.race(step.do(f"step {n}", lambda: 1), step.wait_for_event(f"w{n}", type="e", token=True))
        step.continue_as()

    driver = Driver(run).start()
    for n in range(asked):
        driver.turn()
        driver.settle(f"step {n}")
        if n < asked - 1:
            driver.feed(driver.answer(f"w{n}") if is_answered and n == 0 else driver.withdrawn(f"w{n}"))
    assert decided(driver).end.vain == [*(["e~2"] if is_answered else []), f"e~{2 * asked}"]


def test_params_are_checked_as_those_of_create() -> None:
    app = App("x")

    @app.workflow
    class Flow(WorkflowEntrypoint[Numbers]):
        async def run(self, event: WorkflowEvent[Numbers], step: Any) -> Any:
            step.continue_as({"n": "many"})

    with pytest.raises(BadParams, match="n"):
        _ = Driver(Flow, app=app).start().result
