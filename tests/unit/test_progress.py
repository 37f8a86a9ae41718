"""Does a cursor say what has been told, all of it and nothing else?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.client.progress import Progress, Told
from workflows.errors import ConfigError

MOVES = st.lists(st.tuples(st.integers(1, 30), st.integers(-1, 3)), max_size=60)


@given(MOVES)
def test_ranges_hold_what_a_dictionary_would(moves: list[tuple[int, int]]) -> None:
    told, model = Told(), dict.fromkeys(range(32), -1)
    for seq, number in moves:
        told.set(seq, number)
        model[seq] = number
        assert {seq: told.get(seq) for seq in model} == model
    again = Told.of(str(told))
    assert {seq: again.get(seq) for seq in model} == model


@given(MOVES)
def test_the_same_is_written_in_the_same_way(moves: list[tuple[int, int]]) -> None:
    """However one came to it: neighbours of one state are one range, so a cursor is no longer than it has to be."""
    told, plain = Told(), Told()
    for seq, number in moves:
        told.set(seq, number)
    for seq in range(1, 31):
        if told.get(seq) >= 0:
            plain.set(seq, told.get(seq))
    assert str(told) == str(plain)


def test_many_steps_side_by_side_take_the_room_of_one() -> None:
    told = Told()
    for seq in range(1, 10_001):
        told.set(seq, 1)
    assert str(told) == "1-10000-1"


def test_a_cursor_is_read_as_it_is_written() -> None:
    progress = Progress("a-b_c", 12, "0a_-9zZ8", "waitingForPause", True, 1_800_000_000_000)
    progress.steps.set(4, 0)
    progress.steps.set(7, 12)
    assert replace(Progress.of(str(progress)), steps=progress.steps) == progress
    assert str(Progress.of(str(progress))) == str(progress)
    assert str(Progress.of(str(Progress()))) == str(Progress())


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "7",
        "2.a.0.....",
        "1.a.x.....",
        "1.a.1.n.queued.s.5.9-3-0",
        "1.a.1.n.queued.s.5.1-2-0_2-3-0",
        5,
        "1.a.1.n.\n.s..",
    ],
)
def test_what_is_no_cursor_is_refused(cursor: object) -> None:
    with pytest.raises(ConfigError, match="is not a cursor"):
        Progress.of(cursor)  # type: ignore[arg-type]


@pytest.mark.timeout(5)
def test_a_forged_cursor_takes_no_time() -> None:
    with pytest.raises(ConfigError):
        Progress.of("1.a.1.n.queued.s.5." + "1-1-1" * 20_000 + "!")
