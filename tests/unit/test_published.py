"""``step.publish``: what a decision says of it, wherever the replay that takes it began."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.replaying import Driver
from workflows import App
from workflows.errors import BadName, ConfigError, NonRetryableError, PayloadTooLarge
from workflows.replay.decision import decide
from workflows.replay.replay import Replay, Snapshot
from workflows.storage.keys import Instance
from workflows.values import codec

HERE = Instance(0, "flow", "one")


async def shows(self: Any, event: Any, step: Any) -> Any:
    """Params: for each of its steps the names that are published behind it."""
    for number, names in enumerate(event.payload):
        for name in names:
            step.publish(name, [number, name])
        await step.do("work", lambda: 1)


def decided(replay: Replay, before: Snapshot | None) -> dict[str, tuple[int, Any]]:
    published = decide(replay, before, App("x"), HERE, "g1").published or {}
    return {name: (value.n, codec.decode(value.blob)) for name, value in published.items()}


@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=3), min_size=1, max_size=6),
    st.data(),
)
def test_a_value_belongs_to_the_decision_over_the_entry_behind_which_it_was_published(
    program: list[list[str]], data: st.DataObject
) -> None:
    """Whether the replay is warm or begins at the start: what was decided on before is never published again."""
    driver = Driver(shows, program).start()
    for _ in program:
        driver.settle("work")
    upto = data.draw(st.integers(0, len(driver.journal)))
    cold = driver.new_replay()
    cold.feed(driver.journal[:upto])
    before = cold.snapshot() if upto else None
    cold.feed(driver.journal[upto:])
    whole = [(name, [number, name]) for number, names in enumerate(program) for name in names]
    known = sum(len(names) for names in program[:upto])
    expected = {name: (n, value) for n, (name, value) in enumerate(whole, 1) if n > known}
    assert decided(cold, before) == expected


def test_the_moment_is_that_of_the_last_entry_seen() -> None:
    driver = Driver(shows, [[], ["a"]]).start()
    driver.settle("work")
    assert driver.replay.published is not None
    assert driver.replay.published.since(0)["a"].at_ms == driver.at_ms


def test_it_is_captured_by_value() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        done: list[int] = []
        step.publish("done", done)
        done.append(1)
        await step.sleep("s", 1)

    assert decided(Driver(run).start().replay, None) == {"done": (1, [])}


def test_an_end_and_another_life_publish_as_well() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        step.publish("last", event.payload)
        if event.payload == "on":
            step.continue_as("off")

    for params in ("on", "off"):
        assert decided(Driver(run, params).start().replay, None) == {"last": (1, params)}


def test_one_that_publishes_nothing_says_nothing() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.sleep("s", 1)

    driver = Driver(run).start()
    assert decide(driver.replay, None, App("x"), HERE, "g1").wire().keys() == {"w", "o"}


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [("with space", 1, BadName), ("", 1, BadName), ("x" * 65, 1, BadName), ("big", "x" * 4096, PayloadTooLarge)],
)
def test_a_bad_name_or_a_large_value_is_refused(name: str, value: Any, error: type[Exception]) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        step.publish(name, value)

    with pytest.raises(error):
        _ = Driver(run).start().result


def test_twenty_names_may_be_used_and_each_as_often_as_one_likes() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        for n in range(100):
            step.publish(f"v{n % 20}", n)
        step.publish("one more", 1) if event.payload else None
        step.publish("another", 1)

    with pytest.raises(ConfigError, match='20 different values, the most there may be, and cannot publish "another"'):
        _ = Driver(run).start().result


def test_a_callback_cannot_publish() -> None:
    kept: list[Any] = []

    async def run(self: Any, event: Any, step: Any) -> Any:
        kept.append(step)
        await step.sleep("s", 1)

    Driver(run).start()
    with pytest.raises(NonRetryableError, match='"publish" was asked for inside the callback'):
        kept[0].publish("a", 1)
