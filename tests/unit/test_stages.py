"""Where the time of a worker goes: what it adds up, what it says of that, and what is made of it."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

import worker.stages
from worker.arrivals import Finished
from worker.attempt import Attempt, Outcome
from worker.stages import LATELY_SECONDS, Stages
from workflows.cli.stages import show_stages
from workflows.health.stages import profile_of, span_of
from workflows.storage import stages
from workflows.storage.stages import (
    CALLBACK,
    CLAIM,
    ENGINE,
    OUTCOME,
    QUEUE,
    REDIS,
    RUN,
    STAGES,
    THREAD,
    Spent,
    StagesTold,
    Totals,
)
from workflows.telemetry import metrics
from workflows.telemetry.figures import Figures

SECONDS = st.integers(0, 10**9).map(lambda us: us / 1e6)
SPENT = st.builds(Spent, st.integers(1, 10**9), SECONDS)
TOTALS = st.builds(
    Totals, st.integers(0, 10**6).map(float), st.dictionaries(st.sampled_from([s.name for s in STAGES]), SPENT)
)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(worker.stages, "monotonic", clock)
    return clock


def finished(queued: float, begun: float, ended: float) -> Finished:
    class Timed:
        pass

    attempt: Any = Timed()
    attempt.queued, attempt.begun = queued, begun
    return Finished(cast(Attempt, attempt), Outcome(), 0, ended)


def test_a_step_is_split_where_one_stage_ends_and_the_next_begins(clock: Clock) -> None:
    mine = Stages(Figures())
    mine.finished(finished(queued=1_000, begun=1_001, ended=1_003), 1_007)
    mine.ran(0.5)
    clock.now = 1_010
    mine.led(1_007, in_redis=2)
    found = mine.totals()
    assert found.seconds == 10
    assert {stage.name: found.of(stage) for stage in STAGES} == {
        QUEUE.name: (0, 0),
        CLAIM.name: (0, 0),
        THREAD.name: (1, 1),
        CALLBACK.name: (1, 2),
        OUTCOME.name: (1, 4),
        RUN.name: (1, 0.5),
        ENGINE.name: (1, 0.5),
        REDIS.name: (1, 2),
    }


def test_an_outcome_that_is_brought_again_counts_once_and_one_without_a_callback_not_at_all(clock: Clock) -> None:
    mine = Stages(Figures())
    again = finished(1_000, 1_001, 1_002)
    for item in (again, again, finished(0.0, 0.0, 1_002)):
        mine.finished(item, 1_003)
    assert mine.totals().steps == 1


def test_a_round_that_calls_nobody_is_no_pass_through_redis(clock: Clock) -> None:
    mine = Stages(Figures())
    mine.led(1_000, in_redis=0)
    assert mine.totals().of(REDIS) == (0, 0)


def test_how_long_doorbells_rang_is_what_the_process_has_counted_of_all_queues() -> None:
    figures = Figures()
    for queue, seconds in (("default", 0.25), ("default", 0.5), ("gpu", 4.0)):
        figures.observe(metrics.QUEUE_SECONDS, (queue,), seconds)
    figures.observe(metrics.REPLAY_SECONDS, ("order",), 9.0)
    assert Stages(figures).totals().of(QUEUE) == (3, 4.75)


def test_how_long_claiming_took_is_what_fetchers_have_counted() -> None:
    figures = Figures()
    for seconds in (0.25, 0.5):
        figures.count(metrics.STAGE_SECONDS, ("claim",), seconds)
        figures.count(metrics.STAGE_PASSES, ("claim",))
    assert Stages(figures).totals().of(CLAIM) == (2, 0.75)


def test_lately_is_the_last_minute_and_until_then_all_there_was(clock: Clock) -> None:
    mine = Stages(Figures())
    lately = []
    for _ in range(30):
        clock.now += 3
        mine.ran(1)
        lately.append(mine.told().lately)
    minute = int(LATELY_SECONDS / 3)
    assert [one.of(RUN).passes for one in lately] == [*range(1, minute + 1), *[minute] * (30 - minute)]
    assert [one.seconds for one in lately] == [3.0 * one.of(RUN).passes for one in lately]


@given(TOTALS, TOTALS)
def test_what_a_process_says_is_read_as_it_was_written(since_start: Totals, lately: Totals) -> None:
    told = StagesTold(since_start, lately)
    assert stages.read(stages.written(told)) == told


@given(TOTALS, TOTALS)
def test_what_is_added_up_can_be_taken_apart(one: Totals, other: Totals) -> None:
    both = stages.total([one, other])
    for stage in STAGES:
        assert both.since(one).of(stage).passes == other.of(stage).passes
        assert both.since(one).of(stage).seconds == pytest.approx(other.of(stage).seconds, abs=1e-6)


NONSENSE = [
    "",
    "{}",
    "[]",
    "[1,2]",
    "[[1,{}]]",
    '[[1,{"run":1}],[1,{}]]',
    '[["x",{}],[1,{}]]',
    "[[-1,{}],[1,{}]]",
    "[" * 9_000,
]


@pytest.mark.parametrize("text", [None, b"\xff", "[[NaN,{}],[1,{}]]", *NONSENSE], ids=repr)
def test_what_somebody_else_has_written_there_says_nothing(text: Any) -> None:
    assert stages.read(text) is None


def test_a_stage_of_another_version_is_passed_over() -> None:
    text = json.dumps([[1, {"run": [1, 2], "dream": [3, 4]}], [1, {}]])
    told = stages.read(text)
    assert told is not None and told.since_start == Totals(1, {"run": Spent(1, 2)})


@given(TOTALS)
def test_shares_are_of_what_is_no_waiting_and_make_up_a_whole(totals: Totals) -> None:
    span = span_of(totals)
    shares = [one.share for one in span.stages if one.stage.kind != "wait"]
    assert all(one.share is None for one in span.stages if one.stage.kind == "wait")
    assert shares == [None] * len(shares) or sum(filter(None, shares)) == pytest.approx(1)
    assert 0 <= span.busy <= 1


def test_times_are_told_for_each_step_that_has_ended() -> None:
    span = span_of(Totals(100, {"callback": Spent(50, 0.01), "redis": Spent(5, 0.03), "thread": Spent(50, 1.0)}))
    found = {one.stage.name: one for one in span.stages}
    assert span.steps == 50
    assert found["redis"].us_per_step == pytest.approx(600) and found["redis"].share == pytest.approx(0.75)
    assert found["thread"].us_per_step == pytest.approx(20_000)
    assert span.busy == pytest.approx(0.0003)


def test_without_a_step_nothing_is_told_for_each() -> None:
    assert {one.us_per_step for one in span_of(Totals(100, {"run": Spent(1, 0.1)})).stages} == {None}


def test_processes_that_say_nothing_are_counted_and_the_others_added_up() -> None:
    some = StagesTold(Totals(10, {"callback": Spent(2, 1.0)}), Totals())
    profile = profile_of([some, None, some])
    assert (profile.processes, profile.silent, profile.since_start.steps, profile.since_start.seconds) == (2, 1, 4, 20)


def test_who_asks_where_nobody_works_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    show_stages(profile_of([]), as_json=False)
    assert capsys.readouterr().out == "No worker process is running that says where its time goes.\n"


def test_where_nothing_has_run_there_is_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    show_stages(profile_of([StagesTold(Totals(10), Totals(10)), None]), as_json=False)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "1 of 2 worker processes do not say."
    assert said[1].startswith("In the last minute: 0 steps;") and len(said) == 3
