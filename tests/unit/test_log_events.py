"""Log events are a closed list, and lines look the same for everybody who reads them."""

from __future__ import annotations

import ast
import contextvars
import json
import logging
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.paths import ROOT
from workflows import ContextFilter
from workflows.authoring.context import StepContext, StepName, running
from workflows.authoring.logger import this_process
from workflows.authoring.retries import StepConfig
from workflows.process import logs
from workflows.process.logs import EventFormatter, JsonFormatter, configure, configure_others, say
from workflows.telemetry.events import EVENTS
from workflows.values.failure import Failure, capture

SOURCES = sorted(path for room in ("workflows", "worker", "orchestrator") for path in (ROOT / room).rglob("*.py"))


def loggers(tree: ast.Module) -> set[str]:
    """Names of a module's own loggers."""
    found = set()
    for statement in tree.body:
        value = getattr(statement, "value", None)
        if isinstance(value, ast.Call) and ast.unparse(value.func) == "logging.getLogger":
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]  # type: ignore[attr-defined]
            found |= {ast.unparse(target) for target in targets}
    return found


def said() -> Iterator[tuple[str, str]]:
    """Where something is logged, and as which event."""
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        own = loggers(tree)
        called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or ast.unparse(node.value) not in own:
                continue
            where = f"{path.relative_to(ROOT)}:{node.lineno}"
            call = called.get(id(node))
            assert call is not None, f"{where}: whoever is given this may say anything"
            event = call.args[0]
            assert isinstance(event, ast.Constant), f"{where}: the name of an event is a constant; the rest are fields"
            assert len(call.args) == 1, f"{where}: what changes are fields"
            yield where, str(event.value)


def test_every_event_is_in_the_list_and_no_other() -> None:
    found = list(said())
    assert [f"{where} {event}" for where, event in found if event not in EVENTS] == []
    assert set(EVENTS) - {event for _, event in found} == set()


def test_each_event_is_told_in_one_line() -> None:
    assert all(text and "\n" not in text and "|" not in text for text in EVENTS.values())


def line(**fields: Any) -> dict[str, Any]:
    record = logging.makeLogRecord({"name": "workflows.x", "levelname": "INFO", "created": 1.5, **fields})
    text = JsonFormatter().format(record)
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return found


def test_a_line_is_an_object_that_begins_with_what_all_have() -> None:
    found = line(msg="worker lost", worker="w1", released=3)
    assert list(found) == ["ts", "level", "logger", "event", "worker", "released"]
    assert found["event"] == "worker lost"
    assert datetime.fromisoformat(found["ts"]).timestamp() == 1.5


def test_an_error_has_name_message_and_traceback_however_it_was_handed_over() -> None:
    try:
        raise ValueError("no\nway")
    except ValueError as error:
        mine = Failure.from_blob(capture(error))
        passed, exc_info = error, sys.exc_info()
    expected = {"name": "ValueError", "message": "no\nway"}
    assert line(msg="a", error=mine)["error"] == {**expected, "traceback": None}
    assert line(msg="a", error=mine, traceback=mine.traceback)["error"] == {**expected, "traceback": mine.traceback}
    assert line(msg="a", error=passed)["error"] == {**expected, "traceback": None}
    shown = line(msg="a", exc_info=exc_info)["error"]
    assert shown["name"] == "ValueError" and 'raise ValueError("no' in shown["traceback"]


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError


def test_what_json_does_not_know_is_there_as_text() -> None:
    found = line(msg="paid %s", args=("by card",), when=datetime(2026, 1, 1), share=float("nan"), bad=Hostile())
    assert found["event"] == "paid by card"
    assert (found["when"], found["share"], found["bad"]) == ("2026-01-01 00:00:00", "nan", "<Hostile>")


def test_what_somebody_gives_as_a_field_does_not_hide_what_all_have() -> None:
    found = line(msg="worker lost", event="mine", level="mine", ts="mine")
    assert (found["event"], found["level"]) == ("worker lost", "INFO")
    assert found["ts"] != "mine"


def test_text_shows_errors_as_it_always_has() -> None:
    failure = Failure.from_blob(capture(ValueError("no\x1b")))
    shown = [
        EventFormatter("%(message)s").format(logging.makeLogRecord({"msg": "e", "error": error, "generation": "g"}))
        for error in (failure, ValueError("no\x1b"))
    ]
    assert shown == [r"e error='ValueError: no\x1b'", r"e error='no\x1b'"]


@pytest.fixture
def of_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workflows.authoring.logger._of_process", {})
    this_process(namespace="shop", worker="w1")


@pytest.mark.usefixtures("of_process")
def test_a_line_of_a_callback_says_everything_that_is_known_of_it() -> None:
    context = StepContext(
        StepName("pay", 2), 3, StepConfig(), "key", workflow_name="orders", instance_id="o-1", generation="g7"
    )
    record = logging.makeLogRecord({"msg": "charged", "worker": "mine"})
    scope = contextvars.copy_context()
    scope.run(running.set, context)
    assert scope.run(ContextFilter().filter, record)
    said = {name: vars(record)[name] for name in ("namespace", "workflow", "instance", "generation", "step", "attempt")}
    assert said == {
        "namespace": "shop",
        "workflow": "orders",
        "instance": "o-1",
        "generation": "g7",
        "step": "pay-2",
        "attempt": 3,
    }
    assert vars(record)["worker"] == "mine"


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    root, own = logging.getLogger(), logging.getLogger("workflows")
    kept = list(root.handlers), root.level, list(own.handlers), own.level, own.propagate
    yield root
    root.handlers[:], root.level, own.handlers[:], own.level, own.propagate = kept
    logging.getLogger(logs.INSTANCES).setLevel(logging.NOTSET)


def test_an_app_that_has_set_up_logging_is_told_whose_line_it_is(root: logging.Logger) -> None:
    own = logging.NullHandler()
    root.handlers[:] = [own]
    configure_others("INFO", "json")
    assert root.handlers == [own]
    assert any(isinstance(one, ContextFilter) for one in own.filters)


def test_with_json_every_line_is_an_object(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    root.handlers[:] = []  # pytest's
    configure("INFO", "json")
    configure_others("INFO", "json")
    say("warning: this app has no workflows")
    logging.getLogger("workflows.worker").info("worker ready")
    logging.getLogger("shop").info("of my own")
    lines = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert [(one["event"], one["logger"]) for one in lines] == [
        ("notice", "workflows.process"),
        ("worker ready", "workflows.worker"),
        ("of my own", "shop"),
    ]
    assert lines[0]["text"] == "warning: this app has no workflows"
