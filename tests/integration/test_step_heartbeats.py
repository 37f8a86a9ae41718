"""Heartbeats of callbacks on a real engine: seen while they run, handed on to the next attempt, and cheap."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deployment import PATIENCE_SECONDS, Deployment, warm_and_cold
from worker.engine import Engine
from workflows import App, Client, WorkflowEntrypoint
from workflows.client.history import StepStatus
from workflows.dev.embedded import EmbeddedRedis

app = App("copies", queues=("warm", "cold"))
_RESULT_MS = PATIENCE_SECONDS * 1000
ROWS = 20_000
going_on = threading.Event()


def copy(ctx: Any) -> Any:
    """Fails half way, and goes on from there."""
    begin = ctx.heartbeat_details or 0
    for row in range(begin, ROWS):
        ctx.heartbeat(row + 1)
        if ctx.attempt == 1 and row == ROWS // 2:
            raise OSError("cut off")
    return [begin, ctx.attempt]


async def linger(ctx: Any) -> str:
    ctx.heartbeat({"said": "at work"})
    while not going_on.is_set():
        await asyncio.sleep(0.01)
    return "done"


@app.workflow(queue="warm")
class Copy(WorkflowEntrypoint[Any]):
    async def run(self, event: Any, step: Any) -> Any:
        return await step.do("copy", copy, retries={"limit": 1, "delay": 0})


@app.workflow(queue="cold")
class Linger(WorkflowEntrypoint[Any]):
    async def run(self, event: Any, step: Any) -> Any:
        return await step.do("linger", linger, sensitive=event.payload or None)


@pytest.fixture(scope="module")
def deployment(redis_server: EmbeddedRedis) -> Iterator[Deployment]:
    with warm_and_cold(app, redis_server.url) as made:
        yield made


@pytest.fixture
def client(deployment: Deployment) -> Client:
    return deployment.client


def test_the_next_attempt_goes_on_where_the_last_one_was(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    beat = Engine.beat
    monkeypatch.setattr(Engine, "beat", lambda engine, attempt: (written.append(1), beat(engine, attempt)))
    assert client.workflow("copy").create().result(timeout=_RESULT_MS) == [ROWS // 2 + 1, 2]
    assert len(written) < ROWS // 100  # about one a second


@pytest.mark.parametrize("sensitive, shown", [(None, {"said": "at work"}), ("output", "[REDACTED]")])
def test_it_is_seen_while_the_callback_runs(client: Client, sensitive: str | None, shown: Any) -> None:
    going_on.clear()
    instance = client.workflow("linger").create(params=sensitive)

    def step() -> StepStatus | None:
        return next(iter(instance.status().steps), None)

    while (found := step()) is None or found.heard_at is None:
        assert instance.status().ended_at is None
    assert (found.status, found.heartbeat_details, found.as_dict()["heartbeat_details"]) == ("running", shown, shown)
    going_on.set()
    assert instance.result(timeout=_RESULT_MS) == "done"
    ended = step()
    assert ended is not None
    assert (ended.heard_at, ended.heartbeat_details) == (None, None)
