"""The rules of docs/rules.md that need no Redis: what is refused in ``run``, and what lint reports."""

from __future__ import annotations

import datetime
import random
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.replaying import Driver
from worker.__main__ import _loaded, _warn
from workflows import App, ConfigError, ForbiddenInRun, NonRetryableError, WorkflowEntrypoint
from workflows.authoring.env import LazyEnv


class Bucket:
    """A binding."""

    def put(self, key: str) -> str:
        return f"put {key}"


class ClockWorkflow(WorkflowEntrypoint):
    """Does everything with clocks and chance that a replay cannot repeat."""

    async def run(self, event: Any, step: Any) -> Any:
        moments = [time.time(), datetime.datetime.now(), datetime.date.today()]
        time.sleep(0)
        return moments, random.random(), uuid.uuid4()


class NameWorkflow(WorkflowEntrypoint):
    """Names its step after the moment."""

    async def run(self, event: Any, step: Any) -> Any:
        return await step.do(f"at {time.time()}", lambda: 1)


class ForgetfulWorkflow(WorkflowEntrypoint):
    """Does not wait for its step."""

    async def run(self, event: Any, step: Any) -> Any:
        step.do("forgotten", lambda: 1)


class SetWorkflow(WorkflowEntrypoint):
    """Asks for steps in the order of a set."""

    async def run(self, event: Any, step: Any) -> Any:
        for name in {"a", "b"}:
            await step.do(name, lambda: 1)


class TidyWorkflow(WorkflowEntrypoint):
    """Keeps to the rules."""

    async def run(self, event: Any, step: Any) -> Any:
        started = step.now()
        await step.do("look", lambda: time.time())
        return started, step.random(), step.uuid4()


def rules_of(workflow_class: type[WorkflowEntrypoint[Any]]) -> list[str]:
    app = App("rules")
    app.workflow(workflow_class)
    return [finding.rule for finding in app.findings]


def test_clocks_and_chance_in_run_are_reported() -> None:
    assert sorted(rules_of(ClockWorkflow)) == ["clock", "clock", "clock", "random", "random", "sleep"]


def test_a_finding_names_file_line_and_way_out() -> None:
    app = App("rules")
    app.workflow(NameWorkflow)
    (finding,) = app.findings
    assert Path(finding.file).name == "test_rules.py"
    assert "await step.do(f" in Path(finding.file).read_text(encoding="utf-8").splitlines()[finding.line - 1]
    assert "Use a fixed name" in finding.message


def test_a_workflow_that_keeps_to_the_rules_has_no_findings() -> None:
    assert rules_of(TidyWorkflow) == []


def test_a_step_name_that_changes_is_reported() -> None:
    assert rules_of(NameWorkflow) == ["step-name"]


def test_a_step_that_is_not_awaited_is_reported() -> None:
    assert rules_of(ForgetfulWorkflow) == ["dangling"]


def test_steps_asked_in_the_order_of_a_set_are_reported() -> None:
    assert rules_of(SetWorkflow) == ["order"]


def test_a_worker_shows_the_findings_when_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hasty_app.py").write_text(
        "import time\nfrom workflows import App, WorkflowEntrypoint\napp = App('hasty')\n\n"
        "@app.workflow\nclass HastyWorkflow(WorkflowEntrypoint):\n"
        "    async def run(self, event, step):\n        return time.time()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    _warn(_loaded("hasty_app:app", ()))
    shown = capsys.readouterr().err
    assert "hasty_app.py:8: clock: time.time()" in shown


async def _mutate(self: Any, event: Any, step: Any) -> None:
    how = event.payload["how"]
    if how == "item":
        event.payload["total"] = 0
    elif how == "inside":
        event.payload["lines"].append(1)
    elif how == "attribute":
        event.payload = {}
    else:
        event.payload.lines.clear()


@pytest.mark.parametrize("how", ["item", "inside", "attribute", "method"])
def test_changing_the_event_raises(how: str) -> None:
    driver = Driver(_mutate, {"how": how, "lines": [1]}).start()
    with pytest.raises(TypeError, match=r"cannot be changed.*Make a copy"):
        _ = driver.result


def test_a_callback_cannot_assign_a_variable_of_run() -> None:
    async def run(self: Any, event: Any, step: Any) -> int:
        total = 0

        def add() -> None:
            nonlocal total
            total += 1

        await step.do("add", add)
        return total

    driver = Driver(run).start()
    with pytest.raises(ConfigError, match=r'step "add" assigns the outer variable total.*Return the value'):
        _ = driver.result


def test_a_binding_can_be_named_but_not_called_in_run() -> None:
    async def run(self: Any, event: Any, step: Any) -> str:
        stored: str = await step.do("store", self.env.BUCKET.put, "a")
        self.env.BUCKET.put("b")
        return stored

    driver = Driver(run, env={"BUCKET": Bucket()}).start().perform("store")
    assert isinstance(driver.env, LazyEnv)
    with pytest.raises(ForbiddenInRun, match=r"self\.env\.BUCKET\.put cannot be called in run\(\).*step\.do"):
        _ = driver.result


def test_a_step_inside_a_step_is_refused() -> None:
    async def run(self: Any, event: Any, step: Any) -> None:
        await step.do("outer", lambda: step.do("inner", lambda: 1))

    driver = Driver(run).start()
    with pytest.raises(NonRetryableError, match="Steps cannot be nested"):
        driver.perform("outer")


def test_clean_up_code_of_a_suspended_run_executes_whenever_it_is_dropped() -> None:
    """And once more when it gets there; what it asks for or awaits while it is dropped never happens."""
    said: list[str] = []

    class Lock:
        async def __aenter__(self) -> None:
            said.append("enter")

        async def __aexit__(self, *_: object) -> None:
            said.append("exit")

    async def run(self: Any, event: Any, step: Any) -> str:
        async with Lock():
            try:
                await step.sleep("a while", "7 days")
                said.append("slept")
            except Exception:
                said.append("except")
            finally:
                said.append("finally")
                await step.do("clean up", lambda: None)
                said.append("cleaned up")
        return "done"

    driver = Driver(run).start()
    assert said == ["enter"]
    driver.replay.close()
    assert said == ["enter", "finally", "exit"], "dropped: suspended for good, as when memory runs short"
    assert driver.replay.snapshot().pending == ()
    said.clear()
    driver = Driver(run).start().settle("a while").perform("clean up")
    assert driver.result == "done"
    assert said == ["enter", "slept", "finally", "cleaned up", "exit"]
