"""The matrix: does each program belong to its column, does a failure stay in its cell, and does the table tell?"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.matrix.__main__ import (
    CELL,
    ONCE,
    Cell,
    Outcome,
    exit_code,
    first_of_each,
    kind_of_server,
    outcome_of,
    play,
    play_cell,
    pythons,
    table,
)
from tests.paths import ROOT


@pytest.mark.parametrize(
    "said, kind",
    [
        ("Redis server v=6.2.14 sha=0:0 malloc=libc", "Redis 6.2"),
        ("Redis server v=7.0.15 sha=0:0", "Redis 7"),
        ("Redis server v=8.10.1 sha=0:0", "Redis 8"),
        ("Valkey server v=8.1.0 sha=0:0", "Valkey"),
        ("Redis server v=6.0.16 sha=0:0", None),
        ("", None),
    ],
)
def test_a_server_is_known_by_what_it_says_of_itself(said: str, kind: str | None) -> None:
    assert kind_of_server(said) == kind


def test_what_is_named_first_is_taken() -> None:
    found = [("Redis 7", Path("given")), (None, Path("old")), ("Redis 7", Path("on PATH"))]
    assert first_of_each(found) == {"Redis 7": Path("given")}


def test_this_python_is_among_those_found_when_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATRIX_PYTHONS", f"/does/not/exist:{sys.executable}")
    assert pythons()[f"{sys.version_info.major}.{sys.version_info.minor}"] == Path(sys.executable)


@pytest.mark.parametrize(
    "code, said, outcome",
    [
        (0, "....\n12 passed, 1 skipped in 3.21s\n", "passed 12 in 7 s"),
        (1, "FAILED a - 3 passed\n1 failed, 11 passed, 2 errors in 3.21s\n", "failed 3 of 14"),
        (0, "2 skipped in 0.1s\n", "failed pytest ended with 0"),
        (4, "ERROR: file or directory not found\n", "failed pytest ended with 4"),
        (3, "12 passed in 1s\nINTERNALERROR\n", "failed pytest ended with 3"),
    ],
)
def test_a_cell_has_passed_only_if_something_was_played_and_all_of_it_passed(
    code: int, said: str, outcome: str
) -> None:
    assert str(outcome_of(code, said, 7)) == outcome


def test_a_failure_stays_in_its_cell(tmp_path: Path) -> None:
    """One fails, one cannot even be begun, and the last is played all the same."""
    (tmp_path / "test_bad.py").write_text("def test_no(): assert False\n", encoding="utf-8")
    (tmp_path / "test_good.py").write_text("def test_yes(): pass\n", encoding="utf-8")

    def one(cell: Cell) -> Outcome:
        if cell[1] == "absent":
            raise FileNotFoundError("no python")
        test = str(tmp_path / f"test_{cell[1]}.py")
        return play_cell(Path(sys.executable), None, ["-c", "/dev/null", test], log=tmp_path / "log")

    outcomes = play([("3.11", "bad"), ("3.11", "absent"), ("3.11", "good")], one)
    assert [outcome.kind for outcome in outcomes.values()] == ["failed", "failed", "passed"]
    assert exit_code(outcomes) == 1


def test_a_cell_finds_its_own_server_first(tmp_path: Path) -> None:
    server = tmp_path / "some-server"
    server.write_text("#!/bin/sh\n", encoding="utf-8")
    server.chmod(0o700)
    (tmp_path / "test_path.py").write_text(
        "import shutil\nfrom pathlib import Path\n"
        f"def test_path(): assert Path(shutil.which('redis-server')).resolve() == Path({str(server)!r})\n",
        encoding="utf-8",
    )
    tests = ["-c", "/dev/null", str(tmp_path / "test_path.py")]
    assert play_cell(Path(sys.executable), server, tests, log=tmp_path / "log").kind == "passed"


def test_the_exit_code_tells_of_failures_and_of_nothing_played() -> None:
    passed, failed = Outcome("passed", "1"), Outcome("failed", "1")
    assert exit_code({("3.11", "Valkey"): passed}) == 0
    assert exit_code({("3.11", "Valkey"): passed, ("3.12", "Valkey"): failed}) == 1
    assert exit_code({}) == 1


def test_the_table_has_a_cell_for_what_was_not_found() -> None:
    shown = table(["3.11", "3.14"], ["Redis 7", "Valkey"], {("3.11", "Redis 7"): Outcome("passed", "3 in 1 s")})
    assert shown.splitlines() == [
        "              Redis 7          Valkey",
        "CPython 3.11  passed 3 in 1 s  not found",
        "CPython 3.14  not found        not found",
    ]


def test_what_a_cell_plays_is_there() -> None:
    for name in (*ONCE, *CELL):
        assert (ROOT / name.removeprefix("--ignore=")).exists(), name
