"""``step.map`` of which some items may fail."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.replaying import Driver
from workflows import MapResult
from workflows.errors import BadStepConfig, StepLimitReached
from workflows.replay.replay import Delta

LOST = ValueError("lost")


def mapped(count: int, **options: Any) -> Driver:
    async def run(self: Any, event: Any, step: Any) -> Any:
        result = await step.map("d", range(count), lambda item: item * 2, **options)
        await step.do("after", lambda: None)
        return result

    return Driver(run).start()


def told(driver: Driver) -> tuple[str, str]:
    """What became of each item by its first letter, and why it was over."""
    result: MapResult[Any] = driver.settle("after").result
    return "".join(outcome.status[0] for outcome in result.outcomes), result.reason


def test_all_have_an_outcome_where_no_more_fail_than_may() -> None:
    driver = mapped(4, max_failures=2)
    for name in ("d 3", "d 1"):
        driver.settle(name, error=LOST)
    driver.settle("d 0", 0).settle("d 2", 4)
    assert told(driver) == ("sfsf", "all_completed")
    assert driver.result.results == [0, 4]
    assert [(one.index, one.name, str(one.error)) for one in driver.result.failed] == [
        (1, "d 1", "lost"),
        (3, "d 3", "lost"),
    ]
    assert driver.result.raise_if_too_many_failed() is None


def test_one_failure_too_many_cancels_the_rest() -> None:
    driver = mapped(4, max_failures=1)
    driver.turn()
    driver.settle("d 2", error=LOST).settle("d 0", error=LOST)
    assert driver.turn() == Delta((5,), (2, 4))
    assert told(driver) == ("fcfc", "too_many_failures")
    with pytest.raises(ValueError, match="lost"):
        driver.result.raise_if_too_many_failed()


def test_enough_successes_cancel_the_rest() -> None:
    driver = mapped(4, min_successful=2).settle("d 3", 6).settle("d 0", error=LOST).settle("d 1", 2)
    assert told(driver) == ("fscs", "min_successful_reached")
    assert driver.result.results == [2, 6]


def test_what_was_never_started_is_cancelled_as_well() -> None:
    driver = mapped(5, min_successful=1, concurrency=2)
    assert driver.pending == ["do d 0", "do d 1"]
    driver.settle("d 0", error=LOST)
    assert driver.pending == ["do d 1", "do d 2"]
    assert told(driver.settle("d 1", 2)) == ("fsccc", "min_successful_reached")


@pytest.mark.parametrize(("share", "bearable"), [(0.0, 0), (0.3, 3), (0.29, 2), (0.25, 2), (1.0, 10)])
def test_a_share_is_one_of_the_items(share: float, bearable: int) -> None:
    driver = mapped(10, max_failures=share)
    for index in range(bearable):
        driver.settle(f"d {index}", error=LOST)
    assert len(driver.pending) == 10 - bearable or driver.pending == ["do after"]
    if bearable < 10:
        assert told(driver.settle("d 9", error=LOST))[1] == "too_many_failures"


def test_no_items_are_all_items() -> None:
    assert told(mapped(0, min_successful=3)) == ("", "all_completed")


@pytest.mark.parametrize(
    "options",
    [
        *({"min_successful": wrong} for wrong in (0, -1, True, 1.0, "2")),
        *({"max_failures": wrong} for wrong in (-1, True, 1.5, -0.1, float("nan"), "1%")),
    ],
)
def test_what_is_no_policy_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(BadStepConfig, match='step.map "d" has'):
        _ = mapped(2, **options).result


def test_who_cancels_it_cancels_what_is_open_and_starts_nothing_more() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        some = step.map("d", range(5), str, max_failures=1, concurrency=2)
        await step.do("meanwhile", str)
        some.cancel()
        await step.do("after", str)

    assert Driver(run).start().settle("meanwhile").pending == ["do after"]


def test_the_limit_of_steps_is_no_outcome_of_an_item() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        return await step.map("d", range(4), str, max_failures=4, concurrency=1)

    driver = Driver(run, step_limit=2).start().settle("d 0", error=LOST)
    with pytest.raises(StepLimitReached):
        _ = driver.settle("d 1", error=LOST).result


@given(
    fails=st.lists(st.booleans(), min_size=1, max_size=12),
    order=st.randoms(use_true_random=False),
    enough=st.none() | st.integers(1, 12),
    bearable=st.none() | st.integers(0, 12),
    concurrency=st.none() | st.integers(1, 4),
)
def test_outcomes_follow_from_the_order_of_the_journal(
    fails: list[bool], order: Any, enough: int | None, bearable: int | None, concurrency: int | None
) -> None:
    if enough is None and bearable is None:
        bearable = 0
    driver = mapped(len(fails), min_successful=enough, max_failures=bearable, concurrency=concurrency)
    expected = ["c"] * len(fails)
    while driver.pending != ["do after"]:
        assert len(driver.pending) <= (concurrency or len(fails))
        name = order.choice(driver.pending).removeprefix("do ")
        index = int(name.split()[1])
        expected[index] = "f" if fails[index] else "s"
        driver.settle(name, error=LOST) if fails[index] else driver.settle(name, index * 2)
    statuses, reason = told(driver)
    assert statuses == "".join(expected)
    ended = expected.count("s") + expected.count("f")
    if reason == "too_many_failures":
        assert bearable is not None and expected.count("f") == bearable + 1
    elif reason == "min_successful_reached":
        assert enough is not None and expected.count("s") == enough
    else:
        assert ended == len(fails)
    again = driver.new_replay()
    again.feed(driver.journal)
    assert again.end is not None and again.end.value.reason == reason  # type: ignore[union-attr]
