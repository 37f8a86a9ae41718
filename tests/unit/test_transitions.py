"""Who is told what becomes of instances and attempts, and what a listener that raises does to the others."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest

from worker.transitions import Committed, Listener, Transitions

TURN = cast(Committed, object())


class Heard(Listener):
    def __init__(self) -> None:
        self.turns: list[Any] = []

    def turn_committed(self, turn: Committed) -> None:
        self.turns.append(turn)


class Broken(Listener):
    def turn_committed(self, turn: Committed) -> None:
        raise RuntimeError("mine")


def test_a_listener_that_raises_is_named_in_the_log_and_keeps_nobody_from_hearing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before, behind = Heard(), Heard()
    with caplog.at_level(logging.ERROR, "workflows.worker"):
        Transitions([before, Broken(), behind]).turn_committed(TURN)
    assert before.turns == behind.turns == [TURN]
    (record,) = caplog.records
    assert (record.message, vars(record)["listener"]) == ("transition not told", "Broken")


def test_who_does_nothing_about_a_kind_of_transition_is_not_called() -> None:
    transitions = Transitions([Listener(), Heard(), Broken()])
    for kind, told in transitions._told.items():
        assert [type(one.__self__) for one in told] == ([Heard, Broken] if kind == "turn_committed" else [])
