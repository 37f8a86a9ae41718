"""When does an orchestrator have Redis write its append-only file anew? (F57)"""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest
import redis

from orchestrator import append_only_file
from orchestrator.append_only_file import AGAIN_SECONDS, AppendOnlyFile
from workflows.storage.store import Store

STARTED = {"aof_enabled": 1, "aof_last_rewrite_time_sec": -1, "aof_last_bgrewrite_status": "ok"}


class _Server:
    """Says of itself what it was given, and notes what it is asked for; refuses to write where there is a complaint."""

    def __init__(self, state: dict[str, Any], complaint: str = "") -> None:
        self.state = STARTED | state
        self.asked: list[str] = []
        self._complaint = complaint

    def command(self, *command: str) -> Any:
        self.asked.append(command[0])
        if command[0] == "INFO":
            return self.state
        if self._complaint:
            raise redis.ResponseError(self._complaint)
        return True

    @property
    def store(self) -> Store:
        return cast(Store, self)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    moment = [1_000.0]
    monkeypatch.setattr(append_only_file, "monotonic", lambda: moment[0])
    return moment


@pytest.mark.parametrize(
    ("state", "asked"),
    [
        ({}, True),
        ({"aof_last_rewrite_time_sec": 3, "aof_last_bgrewrite_status": "err"}, True),
        ({"aof_last_rewrite_time_sec": 3}, False),
        ({"aof_enabled": 0}, False),
        ({"aof_rewrite_in_progress": 1}, False),
        ({"aof_rewrite_scheduled": 1}, False),
    ],
)
def test_it_is_asked_for_where_that_was_not_done_since_redis_started(state: dict[str, Any], asked: bool) -> None:
    server = _Server(state)
    AppendOnlyFile().look(server.store)
    assert ("BGREWRITEAOF" in server.asked) == asked


def test_it_is_looked_after_until_it_was_done_and_again_after_a_reconnect(now: list[float]) -> None:
    server, file = _Server({}), AppendOnlyFile()
    for _ in range(3):
        file.look(server.store)
    now[0] += AGAIN_SECONDS
    file.look(server.store)
    assert server.asked == ["INFO", "BGREWRITEAOF"] * 2
    server.state["aof_last_rewrite_time_sec"] = 0
    for _ in range(3):
        now[0] += AGAIN_SECONDS
        file.look(server.store)
    assert server.asked[4:] == ["INFO"]
    file.forget()
    file.look(server.store)
    assert server.asked[5:] == ["INFO"]


@pytest.mark.parametrize(
    ("complaint", "told"),
    [
        ("NOPERM this user has no permissions to run the 'bgrewriteaof' command", 1),
        ("ERR Background append only file rewriting already in progress", 0),
    ],
)
def test_that_it_is_refused_is_said_once(
    complaint: str, told: int, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    server, file = _Server({}, complaint), AppendOnlyFile()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            file.look(server.store)
            now[0] += AGAIN_SECONDS
    assert server.asked.count("BGREWRITEAOF") == 3
    assert len(caplog.records) == told
