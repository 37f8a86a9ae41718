"""What ``run`` finds when its instance is asked to end: an exception at whatever it waits for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.replaying import Driver
from workflows.errors import DeadlineExceeded, WorkflowCancelled
from workflows.replay.replay import Raised, Returned
from workflows.storage.journal import CancelRequested, EventReceived


def asked(driver: Driver, reason: str = "", *, is_late: bool = False) -> CancelRequested:
    return CancelRequested(driver.at_ms + 1000, reason, is_late)


async def one_step(self: Any, event: Any, step: Any) -> Any:
    return await step.do("work", int)


async def cleans_up(self: Any, event: Any, step: Any) -> Any:
    try:
        await step.do("work", int)
    except WorkflowCancelled as cancelled:
        return [cancelled.reason, await step.do("clean", int)]


def test_a_step_that_run_waits_for_is_given_up_and_run_ends() -> None:
    driver = Driver(one_step).start()
    driver.turn()
    driver.feed(asked(driver, "no stock"))
    assert driver.turn().withdrawn == (1,)
    assert isinstance(driver.replay.end, Raised)
    error = driver.replay.cancelled_by
    assert type(error) is WorkflowCancelled
    assert error.reason == str(error) == "no stock"


def test_run_may_catch_it_and_ask_for_further_steps() -> None:
    driver = Driver(cleans_up).start()
    driver.turn()
    driver.feed(asked(driver, "no stock"))
    assert driver.turn() == ((2,), (1,))
    driver.settle("clean", 3)
    assert driver.replay.end == Returned(["no stock", 3])
    assert driver.replay.cancelled_by is None


def test_it_is_no_exception_so_who_catches_failures_does_not_catch_it() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        try:
            await step.do("work", int)
        except Exception:
            return "failed"

    driver = Driver(run).start()
    driver.feed(asked(driver))
    assert driver.replay.cancelled_by is not None


def test_a_deadline_raises_a_kind_of_it() -> None:
    driver = Driver(cleans_up).start()
    driver.feed(asked(driver, "Execution timed out after 5ms", is_late=True))
    driver.settle("clean", 3)
    assert driver.replay.end == Returned(["Execution timed out after 5ms", 3])

    driver = Driver(one_step).start()
    driver.feed(asked(driver, "late", is_late=True))
    assert isinstance(driver.replay.cancelled_by, DeadlineExceeded)


async def gathers(step: Any) -> None:
    await asyncio.gather(step.do("a", int), step.sleep("b", "1 hour"))


async def groups(step: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(step.do("a", int))
        group.create_task(step.wait_for_event("b", type="b"))


async def races(step: Any) -> None:
    await step.race(step.do("a", int), step.sleep("b", "1 hour"))


async def maps(step: Any) -> None:
    await step.map("a", [1, 2], int)


async def tasks(step: Any) -> None:
    async def part() -> None:
        await step.do("a", int)

    await asyncio.create_task(part())


async def waits(step: Any) -> None:
    await asyncio.wait([step.wait_for_event("a", type="a"), step.wait_for_event("b", type="b")])


@pytest.mark.parametrize("wait", [gathers, groups, races, maps, tasks, waits])
def test_whatever_run_waits_with_raises_it_and_gives_up_what_is_in_it(wait: Any) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        try:
            await wait(step)
        except WorkflowCancelled as cancelled:
            await step.do("clean", int)
            return cancelled.reason

    driver = Driver(run).start()
    driver.turn()
    driver.feed(asked(driver, "enough"))
    driver.turn()
    assert driver.pending == ["do clean"]
    driver.settle("clean")
    assert driver.replay.end == Returned("enough")


def test_what_is_shielded_goes_on() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        payment = step.do("pay", int)
        try:
            await asyncio.shield(payment)
        except WorkflowCancelled:
            return await payment

    driver = Driver(run).start()
    driver.turn()
    driver.feed(asked(driver))
    assert driver.turn() == ((), ())
    driver.settle("pay", 7)
    assert driver.replay.end == Returned(7)


def test_a_task_group_that_cleans_up_fails_like_any_other() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        try:
            await step.do("work", int)
        except WorkflowCancelled:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(step.do("clean", int))
            except ExceptionGroup:
                return "not clean"

    driver = Driver(run).start()
    driver.feed(asked(driver))
    driver.settle("clean", error=ValueError())
    assert driver.replay.end == Returned("not clean")


def test_an_answer_that_comes_behind_the_request_is_void_and_its_event_goes_back() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        try:
            await step.wait_for_event("w", type="w")
        except WorkflowCancelled:
            return (await step.wait_for_event("w", type="w")).payload

    driver = Driver(run).start()
    driver.turn()
    event = driver.answer("w", 5)
    driver.feed(asked(driver), event)
    assert driver.turn() == ((2,), (1,))
    assert isinstance(event, EventReceived)


def test_an_answer_that_comes_before_it_counts_and_the_next_wait_raises() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        first = await step.do("a", int)
        try:
            await step.do("b", int)
        except WorkflowCancelled:
            return first

    driver = Driver(run).start()
    driver.feed(driver.answer("a", 1), asked(driver))
    assert driver.replay.end == Returned(1)


def test_a_request_behind_the_end_of_run_changes_nothing() -> None:
    driver = Driver(one_step).start()
    driver.feed(driver.answer("work", 1), asked(driver))
    assert driver.replay.end == Returned(1)


def test_every_replay_raises_it_at_the_same_place() -> None:
    driver = Driver(cleans_up).start()
    driver.feed(asked(driver, "x"))
    driver.settle("clean", 3)
    again = driver.new_replay()
    again.feed(driver.journal)
    assert again.end == driver.replay.end
