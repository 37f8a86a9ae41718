"""How the figures of a process reach its parent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workflows.telemetry import metrics
from workflows.telemetry.figures import Figures
from workflows.telemetry.telling import Gathered, Telling

ONCE = ("order", "default", "ok")


def counted(figures: Figures, times: int = 1) -> None:
    for _ in range(times):
        figures.count(metrics.ATTEMPTS, ONCE)
        figures.observe(metrics.QUEUE_SECONDS, ("default",), 0.25)


def heard(telling: Telling) -> list[bytes]:
    lines: list[bytes] = []
    telling.tell(lambda line: not lines.append(line))  # type: ignore[func-returns-value]
    return lines


def test_only_what_is_new_is_told() -> None:
    figures = Figures()
    counted(figures, 3)
    telling = Telling(figures.read)
    assert heard(telling) == []
    counted(figures)
    assert heard(telling) == [
        b'+["workflows_attempts_total",["order","default","ok"],1]',
        b'+["workflows_queue_seconds",["default"],[0,0,0,0,0,1,0,0,0,0,0,0,0,0,0,0.25]]',
    ]
    assert heard(telling) == []


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=12))
def test_what_does_not_go_through_is_told_later_and_nothing_twice(steps: list[tuple[bool, int]]) -> None:
    figures, told = Figures(), Gathered(Figures())
    telling = Telling(figures.read)
    for counts, room in [*((counts, room) for counts, room in steps), (True, 1_000)]:
        if counts:
            counted(figures)
        left = [room]

        def write(line: bytes, left: list[int] = left) -> bool:
            if not left[0]:
                return False
            left[0] -= 1
            told.hear(1, [line])
            return True

        telling.tell(write)
    assert told.values() == figures.read()


def test_what_a_process_was_like_goes_with_it_and_what_it_counted_stays() -> None:
    told = Gathered(Figures())
    figures = Figures()
    for child in (1, 2):
        telling = Telling(figures.read, lambda: {metrics.SLOTS: 10})
        counted(figures)
        told.hear(child, heard(telling))
    assert told.values()["workflows_slots", ()] == 20
    told.forget(1)
    assert told.values()["workflows_slots", ()] == 10
    assert told.values()["workflows_attempts_total", ONCE] == 2


def test_lines_that_mean_nothing_here_are_passed_over() -> None:
    told = Gathered(Figures())
    told.hear(
        1,
        [
            b"+",
            b"+{}",
            b"+[1,2,3]",
            b'+["workflows_of_tomorrow_total",[],1]',
            b'+["workflows_attempts_total",["order"],1]',
            b'+["workflows_stalls_total",[],"1"]',
            b'+["workflows_queue_seconds",["default"],[1,2]]',
            b'=["workflows_slots",[],null]',
            b"+\xff",
        ],
    )
    assert told.values() == {}
