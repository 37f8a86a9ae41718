"""What a worker in a drain gives back: what others may begin, and nothing that has come to its end (I9)."""

from __future__ import annotations

import threading

import pytest

from worker.arrivals import Arrivals
from worker.attempt import Attempt
from worker.in_flight import InFlight
from worker.rounds import Round
from worker.settings import Settings
from worker.slots import Slots
from workflows.authoring.callback import Callback
from workflows.authoring.context import StepContext, StepName
from workflows.authoring.retries import StepConfig
from workflows.storage.keys import Instance


def _unheard(attempt: Attempt, why: str) -> None: ...


@pytest.fixture
def attempt() -> Attempt:
    config = StepConfig()
    return Attempt(
        instance=Instance(0, "orders", "o-1"),
        generation="g",
        seq=1,
        token="t",
        worker="w",
        name="pay",
        count=1,
        config=config,
        config_blob=None,
        callback=Callback(lambda: None),
        context=StepContext(StepName("pay", 1), 1, config, "key", workflow_name="orders", instance_id="o-1"),
        started_ms=0,
    )


@pytest.fixture
def in_flight(attempt: Attempt) -> InFlight:
    draining = threading.Event()
    made = InFlight(Slots(Settings(), draining, lambda: False), Arrivals(), lambda attempt: True, _unheard, draining)
    made.add(attempt)
    return made


def given_back(in_flight: InFlight, *, late: bool = False) -> int:
    """How many a round gives back."""
    round = Round()
    in_flight.give_back_all(round, late=late)
    return sum(map(len, round._items.values()))


def test_what_runs_is_given_back_and_once_more_if_the_round_has_failed(in_flight: InFlight) -> None:
    assert [given_back(in_flight), given_back(in_flight)] == [1, 1]


def test_what_has_come_to_its_end_is_given_back_only_when_its_outcome_does_not_arrive(
    in_flight: InFlight, attempt: Attempt
) -> None:
    attempt.take_outcome()
    assert given_back(in_flight) == 0
    assert given_back(in_flight, late=True) == 1


def test_what_redis_has_taken_away_is_not_given_back(in_flight: InFlight, attempt: Attempt) -> None:
    attempt.take_outcome()
    in_flight.lose(frozenset({attempt.held.member}))
    assert given_back(in_flight, late=True) == 0
