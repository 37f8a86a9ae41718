"""The replay: commands out of journal entries, in journal order, and nothing else."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import subprocess
import sys
import threading
import warnings
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from tests.replaying import CREATED_MS, Driver, workflow_of
from workflows.authoring.commands import Child, Do, Sleep, Wait
from workflows.errors import (
    CorruptPayload,
    EventError,
    EventTimeout,
    ForbiddenInRun,
    HeartbeatTimeout,
    NonDeterminismError,
    NonRetryableError,
    StepFailed,
    StepLimitReached,
    StepTimeout,
    WorkflowTimeoutError,
)
from workflows.replay.replay import Delta, Raised, Returned, RunStalled, Snapshot, delta
from workflows.storage.journal import ChildEnded, EventReceived, Settled, Slept, Start, TimedOut, Withdrawn
from workflows.values import codec, rejection


async def two_steps(self: Any, event: Any, step: Any) -> Any:
    first = await step.do("first", lambda: 1)
    return await step.do("second", lambda: first + 1)


def test_start_asks_for_the_first_step_only() -> None:
    assert Driver(two_steps).start().pending == ["do first"]


def test_answers_lead_to_the_next_step_and_the_end() -> None:
    driver = Driver(two_steps).start().perform("first")
    assert driver.pending == ["do second"]
    assert driver.perform("second").result == 2
    assert driver.replay.position == 3


def test_every_kind_of_command_carries_what_was_asked() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        step.do("a", lambda: 1, timeout="1m")
        step.sleep("b", "1h")
        step.sleep_until("c", CREATED_MS + 5)
        step.wait_for_event("d", type="go", timeout="2 minutes")
        step.invoke("other", {"x": 1}, id="child")
        await step.wait_for_child("f", {"workflow": "other", "id": "old"})

    replay = Driver(run).start().replay
    do, sleep, until, wait, child, join = [replay.command(seq) for seq in range(1, 7)]
    assert isinstance(do, Do) and do.config.timeout_ms == 60_000
    assert sleep == Sleep(2, "b", 1, duration_ms=3_600_000)
    assert until == Sleep(3, "c", 1, until_ms=CREATED_MS + 5)
    assert wait == Wait(4, "d", 1, ("go",), 120_000)
    assert child == Child(5, "other", 1, "other", "child", codec.encode({"x": 1}, what="x"), join=False)
    assert join == Child(6, "f", 1, "other", "old", None, join=True)


def test_counts_run_per_kind_and_name_and_seq_over_all() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        step.do("x", lambda: 1)
        step.sleep("x", 1)
        step.do("x", lambda: 1)
        await step.sleep("x", 2)

    replay = Driver(run).start().replay
    found = [(replay.command(seq).kind, replay.command(seq).count) for seq in replay.snapshot().pending]
    assert found == [("do", 1), ("sleep", 1), ("do", 2), ("sleep", 2)]


def test_delta_names_what_opened_and_what_was_withdrawn() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        await step.race(step.do("a", lambda: 1), step.sleep("b", "1h"))
        await step.do("c", lambda: 1)

    driver = Driver(run).start()
    assert driver.turn() == Delta((1, 2), ())
    driver.settle("a")
    assert driver.turn() == Delta((3,), (2,))


def test_what_is_asked_and_cancelled_between_two_turns_is_not_mentioned() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        await step.do("a", lambda: 1)
        step.sleep("b", "1h").cancel()
        await step.do("c", lambda: 1)

    driver = Driver(run).start()
    driver.turn()
    driver.settle("a")
    assert driver.turn() == Delta((3,), ())


def test_delta_without_a_before_opens_everything() -> None:
    assert delta(None, Snapshot((2, 5))) == Delta((2, 5), ())


def test_error_of_a_step_arrives_with_its_class() -> None:
    class PaymentError(Exception):
        pass

    globals()["PaymentError"] = PaymentError
    PaymentError.__qualname__ = "PaymentError"

    async def run(self: Any, event: Any, step: Any) -> str:
        try:
            await step.do("pay", lambda: None)
        except PaymentError as error:
            return f"caught {error}"
        return "paid"

    assert Driver(run).start().settle("pay", error=PaymentError("declined")).result == "caught declined"


def test_uncaught_error_ends_the_run() -> None:
    driver = Driver(two_steps).start().settle("first", error=NonRetryableError("no"))
    assert isinstance(driver.replay.end, Raised)
    assert isinstance(driver.replay.end.exception, NonRetryableError)


def test_stop_iteration_from_a_step_does_not_end_the_coroutine() -> None:
    driver = Driver(two_steps).start().settle("first", error=StopIteration("x"))
    assert isinstance(driver.replay.end, Raised)
    assert isinstance(driver.replay.end.exception, (RuntimeError, StepFailed))


def test_run_sees_the_journalled_value_and_a_new_one_each_time() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        value = await step.do("a", lambda: {"items": (1, 2)})
        value["seen"] = True
        return value

    driver = Driver(run).start().perform("a")
    assert driver.result == {"items": (1, 2), "seen": True}
    again = driver.new_replay()
    again.feed(driver.journal)
    assert isinstance(again.end, Returned) and again.end.value == {"items": (1, 2), "seen": True}


def test_corrupt_value_raises_out_of_feed() -> None:
    with pytest.raises(CorruptPayload):
        Driver(two_steps).start().feed(Settled(1, "first", 1, 0, value=b"\xff\xff"))


# Events, timeouts, children


async def approval(self: Any, event: Any, step: Any) -> str:
    try:
        reply = await step.wait_for_event("approval", type="approved", timeout="48h")
    except EventTimeout as error:
        return str(error)
    return f"{reply.payload['by']} {reply.by} {reply['type']} {reply.timestamp.tzinfo}"


def test_event_resolves_its_wait() -> None:
    assert Driver(approval).start().settle("approval", {"by": "Ann"}).result == "Ann Ann approved UTC"


def test_wait_that_timed_out_raises_the_models_text() -> None:
    driver = Driver(approval).start()
    assert driver.feed(driver.timeout("approval")).result == (
        'Execution timed out after 172800000ms (wait "approval", instance "one" of workflow "flow")'
    )


def test_wait_whose_answerer_was_silent_raises_an_error_of_its_own() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        try:
            await step.wait_for_event("answer", type="go", token=True, heartbeat_timeout="5 minutes")
        except HeartbeatTimeout as error:
            assert isinstance(error, WorkflowTimeoutError)
            return str(error)

    driver = Driver(run).start()
    driver.feed(dataclasses.replace(driver.timeout("answer"), timeout_ms=300_000, is_silent=True))
    assert driver.result == (
        'Neither a heartbeat nor an answer for 300000ms (wait "answer", instance "one" of workflow "flow")'
    )


def test_wait_by_token_is_not_given_up_while_nobody_listens_and_its_token_is_the_same_in_every_replay() -> None:
    """Else an answer that comes meanwhile would be refused."""
    tokens = []

    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("before", lambda: 1)
        answer = step.wait_for_event("answer", type="go", token=True)
        tokens.append(answer.token)
        await asyncio.wait([answer, step.do("a", lambda: 1)], return_when=asyncio.FIRST_COMPLETED)
        await step.do("b", lambda: 1)
        return (await answer).payload

    driver = Driver(run).start().settle("before")
    driver.turn()
    driver.settle("a")
    assert driver.turn() == Delta((4,), ())
    assert driver.pending == ["wait answer", "do b"]
    driver.settle("answer", 7).settle("b")
    assert driver.result == 7
    driver.new_replay().feed(driver.journal)
    assert tokens == ["flow.one.g1.2.go"] * 2


def test_event_that_is_an_error_raises_it_and_so_does_every_replay() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        try:
            await step.wait_for_event("approval", type="approved")
        except EventError as error:
            return [str(error), error.name, error.message, error.payload, error.type, error.step]

    driver = Driver(run).start()
    entry = driver.answer("approval", {"by": "Ann"})
    entry.error = rejection.encode({"message": "too dear", "name": "Rejected"})
    expected = [
        *('too dear (wait "approval", instance "one" of workflow "flow")', "Rejected", "too dear"),
        *({"by": "Ann"}, "approved", 'wait "approval"'),
    ]
    assert driver.feed(entry).result == expected
    cold = driver.new_replay()
    cold.feed(driver.journal)
    assert cold.end == Returned(expected)


def test_timeout_that_a_bare_number_has_caused_says_so() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        told = []
        try:
            await step.wait_for_event("approval", type="approved", timeout=2000)
        except WorkflowTimeoutError as error:
            told.append(str(error))
        try:
            await step.do("slow", lambda: 1, timeout=30)
        except WorkflowTimeoutError as error:
            told.append(str(error))
        return told

    driver = Driver(run).start()
    driver.feed(driver.timeout("approval")).settle("slow", error=StepTimeout("Execution timed out after 30ms"))
    waited, slow = driver.result
    assert waited == (
        "Execution timed out after 2000ms (a bare number is milliseconds) "
        '(wait "approval", instance "one" of workflow "flow")'
    )
    assert slow == (
        "Execution timed out after 30ms (a bare number is milliseconds) "
        '(step "slow", 1 attempt, instance "one" of workflow "flow")'
    )


def test_child_gives_its_output_or_raises_its_error() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        first = await step.invoke("other", name="first")
        try:
            await step.invoke("other", name="second")
        except ValueError as error:
            return first, str(error)

    driver = Driver(run).start().settle("first", [1]).settle("second", error=ValueError("child broke"))
    assert driver.result == ([1], "child broke")


# Order


def test_journal_order_decides_a_race() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        tasks = [asyncio.create_task(step.do(name, lambda: 1)) for name in "ab"]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return [task.result() for task in done]

    driver = Driver(run).start()
    late = driver.answer("a", "from a")
    early = driver.answer("b", "from b")
    assert driver.feed(early, late).result == ["from b"]


def test_gather_keeps_its_order_whatever_the_order_of_answers() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        return await asyncio.gather(*[step.do(name, lambda: 1) for name in "abc"])

    driver = Driver(run).start()
    assert driver.pending == ["do a", "do b", "do c"]
    for name in "cab":
        driver.settle(name, name)
    assert driver.result == ["a", "b", "c"]


def test_task_group_cancels_the_rest_when_one_fails() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        try:
            async with asyncio.TaskGroup() as group:
                for name in "abc":
                    group.create_task(step.do(name, lambda: 1))
        except* ValueError as errors:
            message = str(errors.exceptions[0])
        return message

    driver = Driver(run).start()
    driver.turn()
    assert driver.settle("b", error=ValueError("b failed")).result == "b failed"
    assert driver.turn().withdrawn == (1, 3)


def test_as_completed_gives_steps_in_journal_order() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        steps = [step.do(name, lambda: 1) for name in "abc"]
        return [await next_one for next_one in asyncio.as_completed(steps)]

    driver = Driver(run).start()
    for name in "cab":
        driver.settle(name, name)
    assert driver.result == ["c", "a", "b"]


def test_as_completed_over_coroutines_is_refused() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        async def one(name: str) -> None:
            await step.do(name, lambda: 1)

        coroutines = [one(name) for name in "ab"]
        try:
            list(asyncio.as_completed(coroutines))
        finally:
            for coroutine in coroutines:
                coroutine.close()

    with pytest.raises(ForbiddenInRun, match="asyncio.create_task"):
        _ = Driver(run).start().result


def test_primitives_of_asyncio_work() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        lock, gate, queue, limit = asyncio.Lock(), asyncio.Event(), asyncio.Queue(1), asyncio.Semaphore(1)  # type: ignore[var-annotated]

        async def producer() -> None:
            for name in "ab":
                async with lock, limit:
                    await queue.put(await step.do(name, lambda: 1))
            gate.set()

        task = asyncio.create_task(producer())
        found = [await asyncio.wait_for(queue.get(), None) for _ in range(2)]
        await gate.wait()
        await asyncio.shield(task)
        await asyncio.sleep(0)
        return found

    assert Driver(run).start().settle("a", "A").settle("b", "B").result == ["A", "B"]


def test_sets_of_futures_have_the_same_order_in_every_replay() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("go", lambda: 1)
        tasks = {asyncio.create_task(step.do(f"s{i}", lambda: 1), name=f"s{i}") for i in range(40)}
        _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return [task.get_name() for task in pending]

    driver = Driver(run).start().settle("go").settle("s7")
    ballast = [object() for _ in range(1000)]
    again = driver.new_replay()
    again.feed(driver.journal)
    assert ballast and isinstance(again.end, Returned)
    assert again.end.value == driver.result


def test_names_of_tasks_do_not_depend_on_other_instances() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        return asyncio.create_task(step.do("a", lambda: 1)).get_name()

    assert Driver(run).start().result == Driver(run).start().result


# Cancelled and detached


async def race_then_wait(self: Any, event: Any, step: Any) -> Any:
    """A race whose loser is a wait that nobody cancels, and a second wait of the same type."""
    wait = asyncio.create_task(step.wait_for_event("loser", type="go"))
    work = asyncio.create_task(step.do("winner", lambda: 1))
    await asyncio.wait({wait, work}, return_when=asyncio.FIRST_COMPLETED)
    await step.wait_for_event("next", type="go")
    await step.do("between", lambda: 1)
    return (await wait).payload


def test_answer_to_a_cancelled_step_is_void() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.race(step.do("a", lambda: 1), step.do("b", lambda: 1))
        return await step.do("c", lambda: 1)

    driver = Driver(run).start()
    late = driver.answer("b", "too late")
    assert driver.settle("a").feed(late).settle("c", "end").result == "end"


def test_wait_left_behind_is_detached_and_withdrawn() -> None:
    driver = Driver(race_then_wait).start()
    driver.turn()
    driver.settle("winner")
    assert driver.turn() == Delta((3,), (1,))
    assert driver.pending == ["wait next"]


def test_wait_just_started_is_attached() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        step.wait_for_event("bare", type="go")
        task = asyncio.create_task(step.wait_for_event("task", type="go"))
        await step.do("a", lambda: 1)
        task.cancel()

    assert Driver(run).start().pending == ["wait bare", "wait task", "do a"]


def test_wait_awaited_again_between_two_entries_was_never_gone() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        pending = {asyncio.create_task(step.wait_for_event("w", type="go"))}
        pending |= {asyncio.create_task(step.do(name, lambda: 1)) for name in "ab"}
        while pending:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)

    driver = Driver(run).start()
    driver.turn()
    driver.settle("a")
    assert driver.turn() == Delta((), ())
    driver.settle("w").settle("b")
    assert driver.replay.end == Returned(None)


def test_event_for_a_detached_wait_is_void_and_withdraws_it_for_put_back() -> None:
    driver = Driver(race_then_wait).start()
    driver.turn()
    driver.feed(driver.answer("winner"), driver.answer("loser", "lost"))
    assert driver.turn() == Delta((3,), (1,))


def test_event_that_arrives_after_the_turn_that_detached_is_given_back_by_the_next() -> None:
    driver = Driver(race_then_wait).start()
    driver.turn()
    driver.settle("winner")
    driver.turn()
    driver.settle("loser", "lost")
    assert driver.turn() == Delta((), (1,))


def test_detached_wait_opens_again_with_its_due_time_when_awaited_again() -> None:
    driver = Driver(race_then_wait).start()
    driver.turn()
    driver.settle("winner")
    driver.turn()
    driver.feed(driver.withdrawn("loser", due_ms=CREATED_MS + 99))
    driver.settle("next").settle("between")
    assert driver.turn().opened == (4, 1) or driver.replay.snapshot().pending == (1,)
    assert driver.replay.reopen_due(1) == CREATED_MS + 99
    assert driver.settle("loser", "second chance").result == "second chance"


def test_detached_wait_that_ran_out_is_overdue_when_awaited_again() -> None:
    driver = Driver(race_then_wait).start().settle("winner")
    driver.turn()
    driver.feed(driver.timeout("loser"))
    at_ms = driver.at_ms
    driver.settle("next").settle("between")
    change = driver.turn()
    assert 1 in change.opened and 1 in change.withdrawn
    assert driver.replay.reopen_due(1) == at_ms


def test_wait_inside_a_task_left_behind_is_detached() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        async def outer() -> None:
            async def inner() -> None:
                await step.wait_for_event("deep", type="go")

            await asyncio.create_task(inner())

        task = asyncio.create_task(outer())
        await asyncio.wait({task, asyncio.create_task(step.do("a", lambda: 1))}, return_when=asyncio.FIRST_COMPLETED)
        await step.do("b", lambda: 1)

    driver = Driver(run).start().settle("a")
    assert driver.pending == ["do b"]


def test_wait_inside_an_abandoned_asyncio_wait_is_detached() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        async def inner() -> None:
            await asyncio.wait({asyncio.create_task(step.wait_for_event(name, type="go")) for name in "xy"})

        await asyncio.wait(
            {asyncio.create_task(inner()), asyncio.create_task(step.do("a", lambda: 1))},
            return_when=asyncio.FIRST_COMPLETED,
        )
        await step.do("b", lambda: 1)

    assert Driver(run).start().settle("a").pending == ["do b"]


def test_step_left_behind_by_asyncio_wait_goes_on() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        tasks = {asyncio.create_task(step.do(name, lambda: 1)) for name in "ab"}
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await step.do("c", lambda: 1)

    assert Driver(run).start().settle("a").pending == ["do b", "do c"]


def test_task_cancelled_before_it_began_withdraws_its_step() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        asyncio.create_task(step.do("a", lambda: 1)).cancel()
        await step.do("b", lambda: 1)

    assert Driver(run).start().pending == ["do b"]


def test_withdrawn_entry_is_acknowledged() -> None:
    driver = Driver(race_then_wait).start()
    cancelled = Driver(two_steps_raced).start()
    cancelled.settle("a")
    assert cancelled.replay.snapshot().gone == {2}
    cancelled.feed(cancelled.withdrawn("b"))
    assert cancelled.replay.snapshot().gone == frozenset()
    assert driver.replay.position == 1


async def two_steps_raced(self: Any, event: Any, step: Any) -> Any:
    await step.race(step.do("a", lambda: 1), step.do("b", lambda: 1))
    await step.do("c", lambda: 1)


# Disagreement


def test_answer_to_a_step_never_asked_for_names_both_sides() -> None:
    with pytest.raises(NonDeterminismError, match=r'do "ghost" as step 2 .* only 1 steps by then.* do "first"'):
        Driver(two_steps).start().feed(Settled(2, "ghost", 1, 0))


@pytest.mark.parametrize(
    "entry", [Settled(1, "other", 1, 0), Settled(1, "first", 2, 0), Slept(1, "first", 1, 0)], ids=str
)
def test_answer_with_another_identity_names_both_sides(entry: Any) -> None:
    with pytest.raises(NonDeterminismError, match='journal holds .* but the code asked for do "first" there'):
        Driver(two_steps).start().feed(entry)


def test_second_answer_is_a_disagreement() -> None:
    driver = Driver(two_steps).start()
    answer = driver.answer("first", 1)
    with pytest.raises(NonDeterminismError, match="has its answer already"):
        driver.feed(answer, answer)


def test_withdrawal_of_a_step_still_wanted_is_a_disagreement() -> None:
    driver = Driver(two_steps).start()
    with pytest.raises(NonDeterminismError, match="still waits for it"):
        driver.feed(driver.withdrawn("first"))


def test_withdrawal_of_an_answered_step_is_a_disagreement() -> None:
    driver = Driver(two_steps).start()
    withdrawn = driver.withdrawn("first")
    with pytest.raises(NonDeterminismError, match="has its answer already"):
        driver.settle("first", 1).feed(withdrawn)


@pytest.mark.parametrize("entries", [[Slept(1, "x", 1, 0)], [Start(1), Start(2)]], ids=["before", "twice"])
def test_start_comes_first_and_once(entries: list[Any]) -> None:
    with pytest.raises(NonDeterminismError, match="start"):
        Driver(two_steps).feed(*entries)


# The end


def test_answers_to_what_was_asked_for_may_come_after_the_end() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        step.do("forgotten", lambda: 1)
        step.sleep("nap", 1000)
        loser = step.do("loser", lambda: 1)
        await step.race(step.do("winner", lambda: 1), loser)
        return "done"

    driver = Driver(run).start()
    answers = [driver.answer(name) for name in ("winner", "loser", "forgotten")]
    driver.feed(*answers, driver.withdrawn("nap"))
    assert driver.result == "done"
    assert driver.replay.position == 5


@pytest.mark.parametrize(
    "entry",
    [
        Settled(2, "charge card", 1, 0, value=b"\x01\x01"),
        Slept(2, "nap", 1, 0),
        TimedOut(2, "approval", 1, 0),
        EventReceived(2, "approval", 1, 0, type="a"),
        ChildEnded(2, "child", 1, 0),
        Withdrawn(2, "charge card", 1, 0, command="do"),
    ],
    ids=lambda entry: type(entry).__name__,
)
def test_answers_to_what_was_never_asked_for_are_a_disagreement_after_the_end_too(entry: Any) -> None:
    async def shortened(self: Any, event: Any, step: Any) -> Any:
        return await step.do("one", lambda: 1)

    driver = Driver(shortened).start().settle("one")
    with pytest.raises(
        NonDeterminismError, match=rf'"{entry.name}" as step 2 .entry 2., but the code has ended by then'
    ):
        driver.feed(entry)


def test_an_answer_to_another_step_is_a_disagreement_after_the_end_too() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        step.do("forgotten", lambda: 1)

    driver = Driver(run).start()
    with pytest.raises(
        NonDeterminismError, match='do "charge card" as step 1 .entry 1., but the code asked for do "forg'
    ):
        driver.feed(Settled(1, "charge card", 1, 0, value=b"\x01\x01"))


def test_steps_left_unanswered_are_named() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        step.do("forgotten", lambda: 1)
        await step.do("a", lambda: 1)

    driver = Driver(run).start()
    driver.turn()
    driver.settle("a")
    assert driver.replay.dangling() == ('do "forgotten"',)
    assert "without waiting for" in driver.replay.warnings[0]
    assert driver.turn() == Delta((), (1,))


def test_nothing_runs_on_after_the_end() -> None:
    seen = []

    async def run(self: Any, event: Any, step: Any) -> None:
        async def later() -> None:
            seen.append("later")
            await step.do("late", lambda: 1)

        self.task = asyncio.create_task(later())

    driver = Driver(run).start()
    assert driver.replay.end == Returned(None)
    assert seen == []


def test_system_exit_is_an_end_like_any_exception() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        sys.exit(3)

    end = Driver(run).start().replay.end
    assert isinstance(end, Raised) and isinstance(end.exception, SystemExit)


def test_cancelled_error_out_of_run_is_an_end() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        raise asyncio.CancelledError

    end = Driver(run).start().replay.end
    assert isinstance(end, Raised) and isinstance(end.exception, asyncio.CancelledError)


def test_stall_injected_by_the_watchdog_leaves_feed() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        async def child() -> None:
            raise RunStalled

        try:
            await asyncio.create_task(child())
        except Exception:
            return

    with pytest.raises(RunStalled):
        Driver(run).start()


def test_step_limit_ends_the_run_even_if_caught() -> None:
    async def run(self: Any, event: Any, step: Any) -> str:
        try:
            for _ in range(5):
                await step.do("s", lambda: 1)
                await step.sleep("free", 1)
        except StepLimitReached:
            await step.do("one more", lambda: 1)
        return "went on"

    driver = Driver(run, step_limit=2).start()
    with pytest.raises(
        StepLimitReached,
        match=r"The limit of 2 steps has been reached. This limit can be changed in your worker configuration.",
    ):
        driver.finish()


def test_constructor_gets_the_instance_and_the_bindings() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        return self.ctx.instance_id, self.ctx.workflow_name

    assert Driver(run).start().result == ("one", "flow")


# Closing


def test_close_is_quiet_and_asks_for_nothing(recwarn: pytest.WarningsRecorder) -> None:
    asked = []

    async def run(self: Any, event: Any, step: Any) -> None:
        async def worker(name: str) -> None:
            try:
                await step.do(name, lambda: 1)
            finally:
                asked.append(name)
                await step.do("cleanup", lambda: 1)

        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(worker(name))

    noise: list[Any] = []
    before, sys.unraisablehook = sys.unraisablehook, noise.append
    try:
        driver = Driver(run).start()
        driver.replay.close()
        driver.replay.close()
        assert driver.replay.snapshot().pending == ()
        del driver
        gc.collect()
    finally:
        sys.unraisablehook = before
    assert not noise
    assert sorted(asked) == ["a", "b", "c"]
    assert not recwarn.list


def test_dropping_a_replay_that_never_ended_is_quiet() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        async def numbers() -> Any:
            for number in range(3):
                await step.do("n", lambda: number)  # noqa: B023  # captured by value
                yield number

        async for _ in numbers():
            pass

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        driver = Driver(run).start().perform("n")
        driver.replay.close()
        del driver
        gc.collect()


def test_closed_replay_takes_no_more() -> None:
    driver = Driver(two_steps).start()
    driver.replay.close()
    with pytest.raises(RuntimeError, match="closed"):
        driver.start()


# Typed results


class Order(BaseModel):
    id: int


@dataclass
class Parcel:
    weight: float


def load_order() -> Order:
    return Order(id=7)


async def load_parcels() -> list[Parcel]:
    return [Parcel(1.5)]


def test_return_annotation_rebuilds_models_and_dataclasses() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        order = await step.do("order", load_order)
        parcels = await step.do("parcels", load_parcels)
        return order, parcels

    driver = Driver(run).start().perform("order").settle("parcels", [{"weight": 1.5}])
    assert driver.result == (Order(id=7), [Parcel(1.5)])


def test_stored_result_that_no_longer_fits_is_a_disagreement() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        return await step.do("order", load_order)

    with pytest.raises(NonDeterminismError, match=r"does not fit the return annotation"):
        Driver(run).start().settle("order", {"number": 7})


# What changes from replay to replay


def test_time_and_chance_repeat() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        first = (step.now(), step.random(), step.random(), step.uuid4())
        await step.sleep("s", 1)
        return (*first, step.now(), step.random())

    driver = Driver(run).start().settle("s")
    again = driver.new_replay()
    again.feed(driver.journal)
    assert isinstance(again.end, Returned) and again.end.value == driver.result
    now, one, two, unique, later, three = driver.result
    assert len({one, two, three}) == 3 and 0 <= one < 1 and unique.version == 4
    assert now.timestamp() * 1000 == CREATED_MS
    assert later - now == timedelta(seconds=1)
    other = Driver(run, generation="g2").start().settle("s")
    assert other.result[1] != one


# The loop


@pytest.mark.parametrize(
    ("use", "way_out"),
    [
        (lambda: asyncio.sleep(1), "step.sleep"),
        (lambda: asyncio.wait_for(asyncio.get_running_loop().create_future(), 1), "timeout="),
        (lambda: asyncio.to_thread(print), "step.do"),
        (lambda: asyncio.open_connection("localhost", 1), "step.do"),
        (lambda: asyncio.create_subprocess_exec("true"), "step.do"),
    ],
    ids=["sleep", "wait_for", "thread", "connection", "process"],
)
def test_what_needs_the_world_is_refused_with_the_way_out(use: Any, way_out: str) -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        await use()

    with pytest.raises(ForbiddenInRun, match=way_out):
        _ = Driver(run).start().result


def test_timeout_of_asyncio_is_refused() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        async with asyncio.timeout(1):
            await step.do("a", lambda: 1)

    with pytest.raises(ForbiddenInRun, match="timeout="):
        _ = Driver(run).start().result


def test_every_method_of_the_loop_is_either_ours_or_refused() -> None:
    from workflows.sandbox.loop import ReplayLoop

    inherited = [
        name for name in vars(asyncio.AbstractEventLoop) if not name.startswith("_") and name not in vars(ReplayLoop)
    ]
    assert inherited == []


def test_context_variables_of_whoever_replays_are_not_seen() -> None:
    from contextvars import ContextVar

    variable = ContextVar("variable", default="unset")
    variable.set("set by the worker")

    async def run(self: Any, event: Any, step: Any) -> str:
        return variable.get()

    assert Driver(run).start().result == "unset"


def test_error_of_a_forgotten_task_becomes_a_warning() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        async def broken() -> None:
            raise ValueError("nobody looks")

        self.task = asyncio.create_task(broken())
        await step.do("a", lambda: 1)

    driver = Driver(run).start().settle("a")
    assert any("nobody looks" in warning for warning in driver.replay.warnings)


def test_replays_on_several_threads_do_not_meet() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        return await asyncio.gather(*[step.do(f"s{i}", lambda: i) for i in range(20)])  # noqa: B023  # captured by value

    results: list[Any] = []

    def drive() -> None:
        results.append(Driver(run).start().finish())

    threads = [threading.Thread(target=drive) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [list(range(20))] * 4


def test_replay_is_the_same_under_any_hash_seed() -> None:
    """Names of steps in the order in which a set of tasks is walked, in two processes."""
    script = (
        "import asyncio\n"
        "from tests.replaying import Driver\n"
        "async def run(self, event, step):\n"
        "    tasks = {asyncio.create_task(step.do(f's{i}', lambda: 1), name=f's{i}') for i in range(30)}\n"
        "    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)\n"
        "    return ' '.join(task.get_name() for task in tasks)\n"
        "print(Driver(run).start().settle('s3').result)\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join([".", *sys.path])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1 and "s3" in outputs.pop()


def test_workflow_of_makes_a_class() -> None:
    assert workflow_of(two_steps).run is two_steps


def test_tasks_that_wait_for_each_other_in_a_circle_do_not_break_the_replay() -> None:
    """Whoever listens is looked up through tasks, and a user's deadlock must not make that endless."""

    async def run(self: Any, event: Any, step: Any) -> None:
        kept: list[asyncio.Future[None]] = []

        async def again() -> None:
            await kept[0]

        async def waits() -> None:
            await step.wait_for_event("x", type="x")

        async def group() -> None:
            await asyncio.wait([asyncio.ensure_future(again()), asyncio.ensure_future(waits())])

        kept.append(asyncio.ensure_future(group()))
        first, second = (asyncio.ensure_future(step.do(name, lambda: 1)) for name in "AB")
        await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
        await second

    driver = Driver(run).start()
    driver.turn()
    driver.feed(driver.answer("A", 1))
    assert driver.turn() is not None
