"""The picture of an instance: bars stand where time says, and stay few and small however much there is to draw."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.client.history import AttemptFailure, ErrorInfo, StepStatus
from workflows.ui.timeline import BARS, ROWS, Scale, span_text, spans_of, timeline

START = datetime(2026, 11, 27, 9, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def do(seq: int, began: float, ended: float | None, name: str = "step", **more: object) -> StepStatus:
    status = "running" if ended is None else "complete"
    moments = {"started_at": at(began), "begun_at": at(began), "ended_at": None if ended is None else at(ended)}
    return StepStatus(seq, "do", name, 1, **{"status": status, "attempts": 1, **moments, **more})  # type: ignore[arg-type]


def failure(attempt: int, began: float, ended: float) -> AttemptFailure:
    return AttemptFailure(attempt, at(began), at(ended), ErrorInfo("ValueError", "no"))


def kinds(step: StepStatus, now: float) -> list[tuple[str, float, float]]:
    spans = spans_of(step, at(now).timestamp() * 1000)
    return [(one.kind, one.start / 1000 - START.timestamp(), one.stop / 1000 - START.timestamp()) for one in spans]


def test_a_step_that_succeeded_at_its_third_attempt_shows_all_three_and_what_lay_between() -> None:
    step = do(1, 7, 9, attempts=3, failures=(failure(1, 0, 1), failure(2, 3, 4)), started_at=at(0))
    assert kinds(step, 10) == [
        ("failed", 0, 1),
        ("backoff", 1, 3),
        ("failed", 3, 4),
        ("backoff", 4, 7),
        ("run", 7, 9),
    ]


def test_a_step_that_failed_for_good_shows_its_last_attempt_once() -> None:
    failures = (failure(1, 0, 1), failure(2, 3, 4))
    step = do(1, 3, 4, attempts=2, failures=failures, status="failed", started_at=at(0))
    assert [kind for kind, _, _ in kinds(step, 10)] == ["failed", "backoff", "failed"]


def test_a_step_that_nobody_has_taken_waits_until_now() -> None:
    step = StepStatus(1, "do", "step", 1, "pending", asked_at=at(2))
    assert kinds(step, 10) == [("queue", 2, 10)]
    assert spans_of(step, 0) == []


def test_a_step_that_was_taken_late_shows_how_long_it_waited_for_a_worker() -> None:
    assert kinds(do(1, 5, None, asked_at=at(1)), 8) == [("queue", 1, 5), ("run", 5, 8)]


def test_a_step_between_two_attempts_is_open_until_now() -> None:
    step = StepStatus(
        1, "do", "step", 1, "retrying", attempts=1, failures=(failure(1, 0, 1),), due_at=at(60), asked_at=at(0)
    )
    assert kinds(step, 10) == [("failed", 0, 1), ("backoff", 1, 10)]


def test_attempts_that_are_not_kept_are_no_wait_for_a_worker() -> None:
    step = do(1, 50, None, attempts=7, failures=(failure(6, 40, 41),), asked_at=at(0))
    assert kinds(step, 60) == [("backoff", 0, 40), ("failed", 40, 41), ("backoff", 41, 50), ("run", 50, 60)]


def test_waits_and_sleeps_are_open_until_now_or_end_where_they_ended() -> None:
    assert kinds(StepStatus(1, "sleep", "s", 1, "sleeping", started_at=at(1)), 5) == [("sleep", 1, 5)]
    assert kinds(StepStatus(1, "wait", "w", 1, "complete", started_at=at(1), ended_at=at(2)), 5) == [("wait", 1, 2)]


def test_bars_stand_where_time_says() -> None:
    picture = timeline([do(1, 0, 5), do(2, 5, 10)], at(0), at(10), at(100))
    first, second = (row.bars[0] for row in picture.rows)
    assert (first.start, first.width, second.start, second.width) == (0, 50, 50, 50)
    assert picture.now is None
    assert [tick.label for tick in picture.ticks] == ["+0 ms", "+2 s", "+4 s", "+6 s", "+8 s", "+10 s"]


def test_what_is_open_has_room_behind_now() -> None:
    picture = timeline([do(1, 0, None)], at(0), None, at(10))
    (bar,) = picture.rows[0].bars
    assert bar.is_open
    assert picture.now == bar.start + bar.width < 100


def test_days_of_sleep_leave_room_for_the_steps_around_them() -> None:
    sleep = StepStatus(2, "sleep", "s", 1, "complete", started_at=at(1), ended_at=at(200_000))
    picture = timeline([do(1, 0, 1), sleep, do(3, 200_000, 200_001)], at(0), at(200_001), at(200_001))
    assert picture.is_shortened
    assert [row.bars[0].width for row in picture.rows] == [25, 50, 25]


def test_beyond_some_number_steps_of_one_name_share_a_row() -> None:
    steps = [do(n, n, n + 1, "process", status="complete" if n % 100 else "failed") for n in range(1, 1481)]
    picture = timeline([*steps, do(1481, 1481, None, "last")], at(0), None, at(1490))
    assert [(row.name, row.steps) for row in picture.rows] == [("process", 1480), ("last", 1)]
    assert picture.rows[0].note == "14 failed · slowest 1 s"
    assert picture.is_grouped


def test_a_time_is_told_in_two_units() -> None:
    told = [span_text(ms) for ms in (-1, 0, 999, 1000, 1500, 59_949, 59_999, 61_000, 3_600_000, 90_061_000)]
    assert told == ["0 ms", "0 ms", "999 ms", "1 s", "1.5 s", "59.9 s", "1 min", "1 min 1 s", "1 h", "1 d 1 h"]


MOMENTS = st.floats(-1000, 10_000_000, allow_nan=False)
STEPS = st.builds(
    lambda seq, kind, name, status, began, took, failed, due: StepStatus(
        seq,
        kind,
        name,
        seq,
        status,
        attempts=failed + 1,
        started_at=None if began is None else at(began),
        begun_at=None if began is None else at(began),
        asked_at=None if began is None else at(began - 1),
        ended_at=None if took is None or began is None else at(began + took),
        due_at=None if due is None else at(due),
        failures=tuple(failure(n + 1, (began or 0) + n, (began or 0) + n + 0.5) for n in range(failed)),
    ),
    st.integers(1, 99_999),
    st.sampled_from(["do", "rollback", "sleep", "wait", "child"]),
    st.text(max_size=5),
    st.sampled_from(["running", "pending", "retrying", "complete", "failed", "withdrawn", "sleeping", "timed out"]),
    st.none() | MOMENTS,
    st.none() | st.floats(-10, 100_000),
    st.integers(0, 10),
    st.none() | MOMENTS,
)


@given(st.lists(STEPS, max_size=30, unique_by=lambda step: step.seq), st.none() | MOMENTS, MOMENTS)
def test_whatever_the_steps_every_bar_stands_inside_and_every_step_has_its_row(
    steps: list[StepStatus], end: float | None, now: float
) -> None:
    picture = timeline(steps, at(0), None if end is None else at(end), at(now))
    assert sum(row.steps for row in picture.rows) == len(steps)
    for row in picture.rows:
        for bar in row.bars:
            assert bar.start >= 0
            assert bar.width >= 0
            assert bar.start + bar.width <= 100.01
    places = [tick.at for tick in picture.ticks]
    assert places == sorted(places)
    assert len(places) <= 8


@settings(max_examples=8)
@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(0, 10))
def test_rows_and_bars_are_bounded(number: int, names: int, failed: int) -> None:
    steps = [
        do(n, n, n + 1, f"step {n % names}", failures=tuple(failure(k, n - 1 + k / 20, n) for k in range(failed)))
        for n in range(1, number + 1)
    ]
    picture = timeline(steps, at(0), None, at(number))
    assert len(picture.rows) <= ROWS
    assert sum(len(row.bars) for row in picture.rows) <= max(BARS, 3 * ROWS)


@given(
    st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)).map(sorted), max_size=20),
    st.lists(st.floats(-1e9, 2e9), min_size=2, max_size=20),
)
def test_what_comes_later_never_stands_further_left(busy: list[list[float]], moments: list[float]) -> None:
    scale = Scale(0, 1e9, [(a, b) for a, b in busy])
    places = [scale.place(moment) for moment in sorted(moments)]
    assert places == sorted(places)
    assert all(0 <= place <= 1 for place in places)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)).map(sorted), max_size=8), st.floats(0, 1))
def test_a_place_leads_back_to_its_moment(busy: list[list[int]], place: float) -> None:
    scale = Scale(0, 1000, [(a, b) for a, b in busy])
    assert abs(scale.place(scale.moment(place)) - place) < 1e-6
