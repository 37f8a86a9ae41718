"""Restarting from a step: what was asked for before it keeps its answers, all else is done again."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.driving import dump
from workflows import App, ConfigError, InstanceError, InstanceNotFound, NonRetryableError, WorkflowEntrypoint
from workflows.testing import WorkflowEngine, introspect_workflow_instance
from workflows.testing.env import TestInstance

app = App("restarted")
runs: Counter[str] = Counter()
keys: list[str] = []
broken: set[str] = set()


def work(ctx: Any) -> list[Any]:
    """What run it is, of which step; raises while that is broken."""
    name = ctx.step.name
    runs[name] += 1
    keys.append(ctx.idempotency_key)
    if name in broken:
        raise NonRetryableError(f"{name} is broken")
    return [name, runs[name]]


@app.workflow
class Order(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> Any:
        return [await step.do(name, work) for name in ("pick", "charge", "ship")]


@app.workflow
class Lots(WorkflowEntrypoint):
    """Draws lots before and between its steps, and asks for the time."""

    async def run(self, event: Any, step: Any) -> Any:
        drawn = [str(step.uuid4())]
        for name in ("one", "two", "three"):
            await step.do(name, work)
            drawn.append(f"{step.random()} {step.now()}")
        return drawn


@app.workflow
class Letters(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> Any:
        first = (await step.wait_for_event("letter", type="letter")).payload
        await step.sleep("rest", "1 hour")
        second = (await step.wait_for_event("letter", type="letter")).payload
        return [first, second]


@app.workflow
class Together(WorkflowEntrypoint):
    """Two branches, of which the first waits for an event while the other goes on."""

    async def run(self, event: Any, step: Any) -> Any:
        async def slow() -> Any:
            return (await step.wait_for_event("word", type="word")).payload

        async def quick() -> Any:
            return [await step.do("a", work), await step.do("b", work)]

        return await asyncio.gather(slow(), quick())


@app.workflow
class Small(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> Any:
        return await step.do("small", work)


@app.workflow
class Parent(WorkflowEntrypoint):
    async def run(self, event: Any, step: Any) -> Any:
        before = await step.do("before", work)
        return [before, await step.invoke(Small)]


@app.workflow
class Program(WorkflowEntrypoint):
    """Params: steps, each a name, or a list of programs to be run side by side."""

    async def run(self, event: Any, step: Any) -> Any:
        async def perform(program: list[Any]) -> None:
            for part in program:
                if isinstance(part, str):
                    await step.do(part, work)
                else:
                    await asyncio.gather(*map(perform, part))

        await perform(event.payload)


@pytest.fixture
def workflow_app() -> App:
    return app


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    for seen in (runs, keys, broken):
        seen.clear()
    yield


def steps_of(instance: TestInstance) -> list[tuple[str, str]]:
    return [(step.name, step.status) for step in instance.status().steps]


def test_steps_before_it_keep_their_results_and_the_others_run_again(env: Any) -> None:
    instance = env.ORDER.create("o")
    assert instance.result() == [["pick", 1], ["charge", 1], ["ship", 1]]
    before = list(keys)
    instance.restart(from_="charge")
    assert instance.result() == [["pick", 1], ["charge", 2], ["ship", 2]]
    assert len(keys) == 5
    assert not {*keys[3:]} & {*before}, "a restart is a wish to do it again"


def test_a_failed_instance_goes_on_from_the_step_that_failed(env: Any) -> None:
    broken.add("charge")
    instance = env.ORDER.create("o")
    with pytest.raises(NonRetryableError):
        instance.result()
    broken.clear()
    instance.restart(from_={"name": "charge"})
    assert instance.result() == [["pick", 1], ["charge", 2], ["ship", 1]]
    assert steps_of(instance) == [("pick", "complete"), ("charge", "complete"), ("ship", "complete")]


def test_one_restart_after_the_other(env: Any) -> None:
    """At a later step, at the same, and at an earlier one."""
    instance = env.ORDER.create("o")
    instance.result()
    for name, expected in (
        ("charge", [1, 2, 2]),
        ("ship", [1, 2, 3]),
        ("ship", [1, 2, 4]),
        ("charge", [1, 3, 5]),
        ("pick", [2, 4, 6]),
        ("ship", [2, 4, 7]),
    ):
        instance.restart(from_=name)
        assert [run for _, run in instance.result()] == expected
    instance.restart()
    assert [run for _, run in instance.result()] == [3, 5, 8]


def test_what_was_drawn_before_the_step_is_drawn_again_and_the_rest_anew(env: Any) -> None:
    instance = env.LOTS.create("l")
    first = instance.result()
    instance.restart(from_="two")
    second = instance.result()
    assert second[:2] == first[:2]
    assert not {*second[2:]} & {*first}
    instance.restart(from_="three")
    third = instance.result()
    assert third[:3] == second[:3]
    assert third[3] != second[3]


def test_it_is_chosen_by_count_and_type(env: Any) -> None:
    """An event received before it stays; one that nobody had taken is gone (as with any restart)."""
    introspector = introspect_workflow_instance(env.LETTERS, "l").modify(lambda m: m.disable_sleeps())
    instance = env.LETTERS.create("l")
    for payload in ("a", "b"):
        instance.send_event("letter", payload)
    assert instance.result() == ["a", "b"]
    instance.restart(from_={"name": "rest", "type": "sleep"})
    instance.send_event("letter", "c")
    assert instance.result() == ["a", "c"]
    instance.restart(from_={"name": "letter", "type": "waitForEvent", "count": 2})
    introspector.wait_for_status("waiting")
    instance.send_event("letter", "d")
    assert instance.result() == ["a", "d"]
    instance.restart(from_={"name": "letter", "type": "waitForEvent"})
    introspector.wait_for_status("waiting")
    assert [step.status for step in instance.status().steps] == ["waiting"]


def test_what_was_asked_for_before_it_and_is_not_answered_is_asked_for_again(env: Any) -> None:
    introspector = introspect_workflow_instance(env.TOGETHER, "t")
    instance = env.TOGETHER.create("t")
    introspector.wait_for_step_result("b")
    instance.restart(from_="b")
    introspector.wait_for_status("waiting")
    assert runs == {"a": 1, "b": 2}
    assert steps_of(instance) == [("word", "waiting"), ("a", "complete"), ("b", "complete")]
    instance.send_event("word", "now")
    assert instance.result() == ["now", [["a", 1], ["b", 2]]]


def test_what_was_asked_for_before_it_and_answered_after_it_is_kept(env: Any) -> None:
    introspector = introspect_workflow_instance(env.TOGETHER, "t")
    instance = env.TOGETHER.create("t")
    introspector.wait_for_step_result("b")
    instance.send_event("word", "early")
    instance.result()
    instance.restart(from_="b")
    assert instance.result() == ["early", [["a", 1], ["b", 2]]]


def test_a_child_is_another_one_after_a_restart_from_it(env: Any) -> None:
    instance = env.PARENT.create("p")
    assert instance.result() == [["before", 1], ["small", 1]]
    first = instance.status().steps[1].child
    instance.restart(from_={"name": "small", "type": "child"})
    assert instance.result() == [["before", 1], ["small", 2]]
    assert instance.status().steps[1].child != first


@pytest.mark.parametrize(
    "step",
    [
        "refund",
        {"name": "charge", "count": 2},
        {"name": "charge", "type": "sleep"},
    ],
)
def test_a_step_that_is_not_there_is_refused_and_nothing_changes(
    env: Any, workflow_engine: WorkflowEngine, step: Any
) -> None:
    instance = env.ORDER.create("o")
    instance.result()
    workflow_engine.settle()
    before = dump(workflow_engine.server.redis)
    name = step if isinstance(step, str) else step["name"]
    with pytest.raises(InstanceError) as refused:
        instance.restart(from_=step)
    assert str(refused.value).startswith(
        f'(instance.cannot_restart) Step "{name}" not found in execution history: instance "o" of workflow "order" '
    )
    after = dump(workflow_engine.server.redis)
    assert {key for key in before | after if before.get(key) != after.get(key) and b":i:" in key} == set()


def test_a_step_that_was_cut_out_is_not_in_the_history(env: Any) -> None:
    broken.add("charge")
    instance = env.ORDER.create("o")
    with pytest.raises(NonRetryableError):
        instance.result()
    broken.add("pick")
    instance.restart(from_="pick")
    with pytest.raises(NonRetryableError):
        instance.result()
    assert steps_of(instance) == [("pick", "failed")]
    with pytest.raises(InstanceError, match='do "charge"'):
        instance.restart(from_="charge")


@pytest.mark.parametrize(
    "step",
    [
        {},
        {"name": 7},
        {"count": 1},
        {"name": "a", "count": 0},
        {"name": "a", "count": True},
        {"name": "a", "type": "nap"},
        {"name": "a", "index": 1},
    ],
)
def test_what_names_no_step_is_refused_before_anything_is_sent(env: Any, step: Any) -> None:
    instance = env.ORDER.create("o")
    instance.delete()
    with pytest.raises(ConfigError):
        instance.restart(from_=step)
    with pytest.raises(InstanceNotFound):
        instance.restart(from_="charge")


def program(rng: random.Random, depth: int = 2) -> list[Any]:
    parts: list[Any] = [rng.choice("ab") for _ in range(rng.randint(1, 3))]
    if depth:
        parts.insert(rng.randrange(len(parts) + 1), [program(rng, depth - 1) for _ in range(rng.randint(2, 3))])
    return parts


@pytest.mark.parametrize("seed", range(4))
def test_from_each_step_of_a_run_those_before_keep_their_results_and_the_others_run_again(env: Any, seed: int) -> None:
    rng = random.Random(seed)
    instance = env.PROGRAM.create("p", program(rng))
    instance.result()
    former = instance.status().steps
    for place in rng.sample(range(len(former)), len(former)):
        target = former[place]
        begun = runs.total()
        instance.restart(from_={"name": target.name, "count": target.count})
        instance.result()
        steps = instance.status().steps
        assert [(step.seq, step.name, step.count, step.output) for step in steps[:place]] == [
            (step.seq, step.name, step.count, step.output) for step in former[:place]
        ]
        assert len(steps) == len(former)
        assert runs.total() - begun == len(steps) - place
        assert all(step.output not in [one.output for one in former] for step in steps[place:])
        former = steps
