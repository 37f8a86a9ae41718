"""Callbacks keep the values their variables had when the step was asked for."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

from tests.replaying import Driver
from workflows.authoring.callback import rebound_names
from workflows.errors import ConfigError


def called(run: Any) -> list[Any]:
    """What the callbacks return when called after run() has moved on."""
    replay = Driver(run).start().replay
    if replay.end is not None and hasattr(replay.end, "exception"):
        raise replay.end.exception
    callbacks = [replay.callback(seq) for seq in replay.snapshot().pending]
    return [callback.call(None) for callback in callbacks if callback is not None]


def test_lambdas_in_a_loop_keep_their_own_variable() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        await asyncio.gather(*[step.do(f"s{i}", lambda: i * 10) for i in range(3)])  # noqa: B023

    assert called(run) == [0, 10, 20]


def test_variables_assigned_after_the_call_are_not_seen() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        value = "before"
        pending = step.do("s", lambda: value)
        value = "after"
        await pending

    assert called(run) == ["before"]


def test_capture_reaches_through_helpers_partials_and_arguments() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        steps = []
        for i in range(2):

            def helper(extra: int = 0) -> int:
                return i * 10 + extra  # noqa: B023

            steps.append(step.do("nested", lambda: helper()))
            steps.append(step.do("partial", functools.partial(helper, 1)))
            steps.append(step.do("argument", lambda function: function(2), helper))
            steps.append(step.do("keyword", lambda function: function(3), function=helper))
        await asyncio.gather(*steps)

    assert called(run) == [0, 1, 2, 3, 10, 11, 12, 13]


def test_recursive_helpers_still_find_themselves() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        def factorial(n: int) -> int:
            return n * factorial(n - 1) if n else 1

        await step.do("s", factorial, 5)

    assert called(run) == [120]


def test_helpers_that_use_each_other_share_what_they_close_over() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        found: list[int] = []

        def even(n: int) -> bool:
            found.append(n)
            return n == 0 or odd(n - 1)

        def odd(n: int) -> bool:
            return n != 0 and even(n - 1)

        await step.do("s", lambda: (even(4), found))

    assert called(run) == [(True, [4, 2, 0])]


def test_function_defined_after_the_call_is_found() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        pending = step.do("s", lambda: later())

        def later() -> str:
            return "later"

        await pending

    assert called(run) == ["later"]


def test_objects_are_shared_not_copied() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        items = [1]
        pending = step.do("s", lambda: items)
        items.append(2)
        await pending

    assert called(run) == [[1, 2]]


def test_what_belongs_to_a_function_is_kept() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        base = 1

        async def work(a: int, b: int = 2, *, c: int = 3) -> int:
            """Works."""
            return base + a + b + c

        work.mark = "m"  # type: ignore[attr-defined]
        step.do("s", work, 1)
        self.original = work
        await step.do("t", lambda: 1)

    driver = Driver(run).start()
    callback = driver.replay.callback(1)
    assert callback is not None
    copy: Any = callback.function
    assert asyncio.iscoroutinefunction(copy)
    assert (copy.__name__, copy.__doc__, copy.__defaults__, copy.__kwdefaults__) == ("work", "Works.", (2,), {"c": 3})
    assert copy.mark == "m" and copy.__annotations__["c"] == "int"
    assert "<locals>.work" in copy.__qualname__ and copy.__module__ == __name__


def test_self_is_captured_and_methods_stay_bound() -> None:
    class Helper:
        name = "helper"

        def method(self) -> str:
            return self.name

    async def run(self: Any, event: Any, step: Any) -> None:
        helper = Helper()
        await asyncio.gather(step.do("method", helper.method), step.do("lambda", lambda: helper.name))

    assert called(run) == ["helper", "helper"]


def test_a_helper_from_outside_run_may_rebind_what_is_its_own() -> None:
    """Also where whoever drives the replay defined it: what stands below the loop is not run's."""
    calls = 0

    def counted() -> int:
        nonlocal calls
        calls += 1
        return calls

    async def run(self: Any, event: Any, step: Any) -> None:
        await step.do("s", counted)

    assert called(run) == [1]
    assert calls == 1


def test_rebinding_a_variable_of_run_is_an_error() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        total = 0

        def add() -> None:
            nonlocal total
            total += 1

        await step.do("count", add)

    with pytest.raises(ConfigError, match=r'step "count" assigns the outer variable total'):
        called(run)


def test_rebinding_in_a_helper_of_run_is_an_error() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        total = 0

        def add() -> None:
            nonlocal total
            total += 1

        await step.do("count", lambda: add())

    with pytest.raises(ConfigError, match="total"):
        called(run)


def test_rebinding_in_a_function_nested_in_the_callback_is_an_error() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        total = 0

        def callback() -> None:
            def inner() -> None:
                nonlocal total
                total = 1

            inner()

        await step.do("count", callback)

    with pytest.raises(ConfigError, match="total"):
        called(run)


def test_callbacks_may_rebind_their_own_variables() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        start = 1

        def callback() -> int:
            total = start

            def inner() -> None:
                nonlocal total
                total += 1

            inner()
            return total

        await step.do("count", callback)

    assert called(run) == [2]


def counting(function: Callable[[], str]) -> Callable[[], str]:
    calls = 0

    def wrapper() -> str:
        nonlocal calls
        calls += 1
        return f"{function()} {calls}"

    return wrapper


@counting
def decorated() -> str:
    return "call"


def test_decorators_keep_their_private_state() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        await asyncio.gather(step.do("direct", decorated), step.do("inside", lambda: decorated()))

    first = called(run)
    assert first == ["call 1", "call 2"]


def test_decorator_in_a_method_of_the_workflow_is_an_error_too() -> None:
    from workflows import WorkflowEntrypoint

    class Flow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> None:
            total = 0

            def add() -> None:
                nonlocal total
                total += 1

            await self.perform(step, add)

        async def perform(self, step: Any, callback: Any) -> None:
            await step.do("count", callback)

    with pytest.raises(ConfigError, match="total"):
        called(Flow)


def test_capture_costs_nothing_extra_on_replay() -> None:
    """A step whose answer is at hand is asked for with the same result and without a copy."""

    async def run(self: Any, event: Any, step: Any) -> list[Any]:
        return [await step.do("s", lambda: i) for i in range(3)]  # noqa: B023

    driver = Driver(run).start()
    assert driver.finish() == [0, 1, 2]
    again = driver.new_replay()
    again.feed(driver.journal)
    assert again.end == driver.replay.end


def test_rebound_names_of_code() -> None:
    a = b = c = 0

    def reads() -> int:
        return a

    def writes() -> None:
        nonlocal b
        b = 1

    def deletes() -> None:
        nonlocal c
        del c

    assert rebound_names(reads.__code__) == frozenset()
    assert rebound_names(writes.__code__) == {"b"}
    assert rebound_names(deletes.__code__) == {"c"}
    assert b == 0
