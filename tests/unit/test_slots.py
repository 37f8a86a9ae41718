"""How long a row of steps goes on in one worker before the next step goes through the queue."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from worker import slots as slots_module
from worker.settings import Settings
from worker.slots import EAGER_SECONDS, EAGER_STEPS, ROOMY_STEPS, Slots
from worker.warm import WarmReplay
from workflows.storage.records import Asked, Decision


class Row:
    """One instance whose steps are asked for one after the other, in a worker with two slots."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slots = Slots(Settings(concurrency=2), threading.Event(), lambda: False)
        self.now = 100.0
        monkeypatch.setattr(slots_module, "monotonic", lambda: self.now)
        self._attempt: Any = type("Ended", (), {"ended": True, "token": "first"})
        self._warm = WarmReplay(cast(Any, None), "g", 0)
        self.slots.take(["first"])

    def length(self, seconds_each: float = 0.0) -> int:
        """How many steps are born before one is not."""
        decision = Decision(opened=[Asked(["do", 1, "step", 1, False, False, "default"])])
        born = 0
        while self.slots.eager_token(self._warm, decision, self._attempt):
            born += 1
            self.now += seconds_each
        return born


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> Row:
    return Row(monkeypatch)


def test_a_row_ends_after_a_few_steps_while_somebody_waits_for_its_slot(row: Row) -> None:
    row.slots.take(["another"])
    assert [row.length(), row.length()] == [EAGER_STEPS, EAGER_STEPS]


def test_a_row_of_long_steps_ends_by_time_while_somebody_waits_for_its_slot(row: Row) -> None:
    row.slots.take(["another"])
    assert row.length(seconds_each=EAGER_SECONDS * 0.4) == 3


def test_a_row_goes_on_while_there_is_a_free_slot_but_not_for_ever(row: Row) -> None:
    assert row.length(seconds_each=EAGER_SECONDS) == ROOMY_STEPS
