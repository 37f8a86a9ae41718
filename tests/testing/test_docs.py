"""The guide's examples, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.testing.conftest import LOADED, Run
from workflows.testing import InstanceIntrospector, InstanceModifier, WorkflowIntrospector

pytest_plugins = ("pytester",)

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "testing.md"


def blocks(language: str, page: Path = GUIDE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def test_every_example_of_the_guide_runs(pytester: pytest.Pytester) -> None:
    app, *tests = blocks("python")
    pytester.makepyfile(app=app)
    # The override of workflow_bindings is for its own example only.
    split = next(place for place, block in enumerate(tests) if "def workflow_bindings" in block)
    imports = tests[0].split("\n\n\n")[0]
    pytester.makepyfile(
        test_guide="\n\n".join(tests[:split] + tests[split + 1 :]), test_bindings=f"{imports}\n\n\n{tests[split]}"
    )
    pytester.makepyprojecttoml(blocks("toml")[0] + '\n[tool.pytest.ini_options]\nfilterwarnings = ["error"]\n')
    ran = pytester.runpytest_inprocess("-q", *LOADED)
    ran.assert_outcomes(passed=sum(len(re.findall(r"^(?:async )?def test_", block, re.M)) for block in tests))


@pytest.mark.parametrize("kind", [InstanceModifier, InstanceIntrospector, WorkflowIntrospector])
def test_the_guide_shows_every_call(kind: type) -> None:
    calls = {
        name for name, member in vars(kind).items() if callable(member) and re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
    }
    missing = sorted(name for name in calls if name not in GUIDE.read_text())
    assert not missing


def test_the_schedules_of_the_readme_fire_and_can_be_triggered_by_hand(run_inner: Run) -> None:
    app = next(block for block in blocks("python", ROOT / "README.md") if "schedules=" in block)
    tests = """
def test_by_hand(env):
    assert env.REPORT_WORKFLOW.create().result().startswith("report of ")

@pytest.mark.workflows(schedules=True)
def test_a_week(env, clock):
    clock.advance("7 days")
    reports = [env.REPORT_WORKFLOW.get(key[1]) for key in env._engine.created("report-workflow")]
    nightly = [report for report in reports if report.id.startswith("nightly-")]
    assert len(nightly) == 7
    days = {report.result() for report in reports if report not in nightly}
    assert days == {f"report of {day}day" for day in ("Mon", "Tues", "Wednes", "Thurs", "Fri")}
"""
    run_inner(tests, app=app.replace("reports = App", "app = reports = App")).assert_outcomes(passed=2)
