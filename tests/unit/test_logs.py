"""What ``run`` logs appears once, however often it is replayed."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.replaying import CREATED_MS, workflow_of
from workflows import codec, get_logger
from workflows.env import LazyEnv
from workflows.event import WorkflowEvent, moment
from workflows.journal import Entry, Settled, Start
from workflows.logs import EventFormatter
from workflows.replay import Replay

logger = get_logger("run-test")


def replay_of_a_logging_run() -> Replay:
    async def run(self: Any, event: Any, step: Any) -> None:
        logger.warning("begun")
        await step.do("fetch", lambda: 1)
        logger.warning("fetched")

    event: WorkflowEvent[Any] = WorkflowEvent(
        {}, timestamp=moment(CREATED_MS), instance_id="i", workflow_name="logging"
    )
    return Replay(workflow_of(run), event, env=LazyEnv(), generation="g")


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


def test_outside_of_run_it_is_a_logger_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        logger.warning("from a callback")
    assert caplog.messages == ["from a callback"]


def test_a_log_line_carries_its_fields_with_control_characters_escaped() -> None:
    record = logging.makeLogRecord({"msg": "parked", "levelname": "ERROR", "reason": "a\x1b[2Jb", "shard": 3})
    assert EventFormatter("%(message)s").format(record) == r"parked reason='a\x1b[2Jb' shard=3"
