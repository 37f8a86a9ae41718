"""What ``run`` logs appears once, however often it is replayed."""

from __future__ import annotations

import contextvars
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.replaying import CREATED_MS, workflow_of
from workflows import get_logger
from workflows.authoring.context import StepContext, StepName, running
from workflows.authoring.env import LazyEnv
from workflows.authoring.event import WorkflowEvent, moment
from workflows.authoring.retries import StepConfig
from workflows.process.logs import EventFormatter, JsonFormatter, configure_others
from workflows.replay.replay import Replay
from workflows.storage.journal import Cut, Entry, Settled, Start
from workflows.values import codec

logger = get_logger("run-test")


def replay_of_a_logging_run(*cuts: Cut) -> Replay:
    async def run(self: Any, event: Any, step: Any) -> None:
        logger.warning("begun")
        await step.do("fetch", lambda: 1)
        logger.warning("fetched")

    event: WorkflowEvent[Any] = WorkflowEvent(
        {}, timestamp=moment(CREATED_MS), instance_id="i", workflow_name="logging"
    )
    return Replay(workflow_of(run), event, env=LazyEnv(), generation="g", cuts=cuts)


JOURNAL: list[Entry] = [Start(CREATED_MS), Settled(1, "fetch", 1, CREATED_MS, value=codec.encode(1, what="a result"))]


def test_a_replayed_line_is_silent_and_a_new_one_is_not(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        replay = replay_of_a_logging_run()
        replay.feed(JOURNAL[:1])
        assert caplog.messages == []
        replay.feed(JOURNAL[1:], live=True)
    assert caplog.messages == ["fetched"]


def test_each_line_appears_once_over_a_life_of_turns_and_cold_replays(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        replay_of_a_logging_run().feed(JOURNAL[:1], live=True)
        again = replay_of_a_logging_run()
        again.feed(JOURNAL[:1])
        again.feed(JOURNAL[1:], live=True)
        replay_of_a_logging_run().feed(JOURNAL)
    assert caplog.messages == ["begun", "fetched"]


def test_what_a_former_life_has_logged_is_not_said_again_after_a_restart_from_a_step(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        replay = replay_of_a_logging_run(Cut(1, 1, "f"))
        replay.feed(JOURNAL[:1], live=True)
        replay.feed(JOURNAL[1:], live=True)
    assert caplog.messages == ["fetched"]


def test_outside_of_run_it_is_a_logger_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        logger.warning("from a callback")
    assert caplog.messages == ["from a callback"]


def test_a_traceback_follows_its_line_indented_and_escaped() -> None:
    record = logging.makeLogRecord(
        {"msg": "step failed", "step": "pay-1", "traceback": "Traceback:\n  a\x1b[2J\nE: no\n"}
    )
    assert EventFormatter("%(message)s").format(record).splitlines() == [
        "step failed step='pay-1'",
        "    Traceback:",
        r"      a\x1b[2J",
        "    E: no",
    ]


def test_a_line_of_run_says_whose_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        replay_of_a_logging_run().feed(JOURNAL[:1], live=True)
    (record,) = caplog.records
    assert (vars(record)["workflow"], vars(record)["instance"]) == ("logging", "i")


def test_a_line_of_a_callback_says_whose_it_is(caplog: pytest.LogCaptureFixture) -> None:
    context = StepContext(StepName("pay", 2), 3, StepConfig(), "key", workflow_name="orders", instance_id="o-1")
    scope = contextvars.copy_context()
    scope.run(running.set, context)
    with caplog.at_level(logging.WARNING):
        scope.run(logger.warning, "paid")
    (record,) = caplog.records
    said = vars(record)
    assert (said["workflow"], said["instance"], said["step"], said["attempt"]) == ("orders", "o-1", "pay-2", 3)


@contextmanager
def root_with(*own: logging.Handler) -> Iterator[logging.Logger]:
    """Without what pytest has put there."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers[:] = own
    try:
        yield root
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def test_the_apps_own_lines_appear_at_the_level_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with root_with():
        configure_others("INFO")
        logging.getLogger("shop.payments").info("charged", extra={"total": 3})
        logging.getLogger("shop.payments").debug("not asked for")
    shown = capsys.readouterr().err
    assert shown.endswith(" INFO    shop.payments charged total=3\n")
    assert shown.count("\n") == 1


def test_an_app_that_has_set_up_logging_keeps_it() -> None:
    own = logging.NullHandler()
    with root_with(own) as root:
        configure_others("DEBUG")
        assert root.handlers == [own]


def test_what_a_stranger_has_written_moves_no_cursor_and_passes_for_no_line_of_the_log() -> None:
    hostile = "a\x1b[2J\u202eb\r\n2026-11-27 12:00:00 ERROR workflows forged"
    try:
        raise ValueError(hostile)
    except ValueError:
        info = sys.exc_info()
    fields = {"msg": "from %s", "args": (hostile,), "traceback": hostile, "exc_info": info, "payload": [hostile]}
    fields |= {"error": ValueError(hostile), hostile: hostile}
    text = EventFormatter("%(message)s").format(logging.makeLogRecord(fields))
    first, *others = text.split("\n")
    assert first.startswith("from a")
    assert others
    assert all(line.startswith("    ") and line.isprintable() for line in others)
    as_json = JsonFormatter().format(logging.makeLogRecord(fields))
    assert as_json.isprintable() and as_json.isascii()
    assert json.loads(as_json)["error"]["message"] == hostile


def test_a_log_line_carries_its_fields_with_control_characters_escaped() -> None:
    record = logging.makeLogRecord({"msg": "parked", "levelname": "ERROR", "reason": "a\x1b[2Jb", "shard": 3})
    assert EventFormatter("%(message)s").format(record) == r"parked reason='a\x1b[2Jb' shard=3"
