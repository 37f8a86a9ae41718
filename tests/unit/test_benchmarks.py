"""The benchmarks, which no test plays, are about the code that there is, and their page about what they have found."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.machine import Usage
from benchmarks.subjects import OURS, PEERS
from benchmarks.workloads import WORKLOADS, figures
from tests.paths import ROOT

HERE = ROOT / "benchmarks"
MODULES = sorted(path.stem for path in HERE.glob("*.py") if path.stem != "__init__")
DRIVERS = sorted({f"drivers.{subject.driver}" for subject in OURS.values()})


@pytest.mark.parametrize("name", [*MODULES, *DRIVERS])
def test_a_benchmark_finds_what_it_measures(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")


def test_each_peer_has_a_driver_and_each_driver_a_peer() -> None:
    assert {path.stem for path in (HERE / "drivers").glob("with_*.py")} == {f"with_{name}" for name in PEERS}


@pytest.mark.parametrize("path", report.made(), ids=lambda path: path.name)
def test_what_is_shown_is_what_was_measured(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == report.made()[path]


def test_each_row_and_aim_is_about_a_workload_that_is_played() -> None:
    assert {row.figure.partition(".")[0] for row in report.ROWS} <= set(WORKLOADS)


def test_a_rate_counts_every_step_of_every_instance() -> None:
    measured = figures("many", {"instances": 200, "steps": 10}, {"seconds": 0.5}, Usage(0.5, {}))
    assert measured == {"many.seconds": 0.5, "many.rate": 4_000}


def test_a_round_without_the_other_one_has_no_ratio_to_it() -> None:
    results = report.Results(titles={"ours": "ours", "rq": "plain RQ"}, absent={"ours": {}, "rq": {}})
    results.measured = {"ours": [{"many.rate": 300.0}, {"many.rate": 900.0}], "rq": [{"many.rate": 10.0}, {}]}
    aims = {row[0]: row[1:] for row in report.aims(results)[1:]}
    assert aims == {"200 × 10 steps against plain RQ": ["30.00 ×", "30.00 × – 30.00 ×", "≥ 30", "yes"]}
