"""A thread that has run a callback goes on with the engine's work: with that and without it all is the same."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.deployment import PATIENCE_SECONDS, Deployment
from worker.settling import Settling
from workflows import App, WorkflowEntrypoint

STEPS = 20

either_way = pytest.mark.parametrize("shared_lead", [True, False], ids=["shared", "not shared"])


@either_way
def test_a_row_of_steps_is_settled_where_it_runs(
    deploy: Callable[[App], Deployment], monkeypatch: pytest.MonkeyPatch, shared_lead: bool
) -> None:
    app = App("row")
    settling: list[str] = []
    settle = Settling.settle

    def told(self: Settling, *arguments: Any, **options: Any) -> None:
        settling.append(threading.current_thread().name)
        settle(self, *arguments, **options)

    monkeypatch.setattr(Settling, "settle", told)

    @app.workflow
    class RowWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> Any:
            return [await step.do("one", lambda: threading.current_thread().name) for _ in range(STEPS)]

    deployment = deploy(app)
    deployment.engine(shared_lead=shared_lead)
    ran = deployment.client.workflow("row-workflow").create().result(timeout="10 seconds")
    at_once = [one for one, other in zip(ran, settling, strict=True) if one == other]
    assert bool(at_once) == shared_lead
    assert shared_lead or set(settling) == {"engine"}


@either_way
def test_a_callback_that_blocks_in_a_row_holds_up_nobody_else(
    deploy: Callable[[App], Deployment], shared_lead: bool
) -> None:
    app = App("row")
    began, release = threading.Event(), threading.Event()

    @app.workflow
    class BlocksWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> Any:
            await step.do("first", lambda: 1)
            return await step.do("blocks", lambda: began.set() or release.wait(PATIENCE_SECONDS))

    @app.workflow
    class RowWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> Any:
            return [await step.do("one", lambda: 1) for _ in range(STEPS)]

    deployment = deploy(app)
    deployment.engine(shared_lead=shared_lead)
    blocked = deployment.client.workflow("blocks-workflow").create()
    assert began.wait(PATIENCE_SECONDS)
    try:
        assert deployment.client.workflow("row-workflow").create().result(timeout="10 seconds") == [1] * STEPS
    finally:
        release.set()
    assert blocked.result(timeout="10 seconds") is True


@either_way
def test_a_run_that_blocks_behind_a_step_is_interrupted_where_it_is(
    deploy: Callable[[App], Deployment], shared_lead: bool
) -> None:
    """F10, on whatever thread; which serves others afterwards."""
    app = App("row")
    blocked: list[str] = []

    @app.workflow
    class StallsWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> Any:
            await step.do("first", lambda: 1)
            if not blocked:
                blocked.append(threading.current_thread().name)
                while True:
                    pass
            return [await step.do("one", lambda: 1) for _ in range(STEPS)]

    deployment = deploy(app)
    deployment.engine(shared_lead=shared_lead, stall_seconds=0.5)
    assert deployment.client.workflow("stalls-workflow").create().result(timeout="10 seconds") == [1] * STEPS
    assert (blocked == ["engine"]) == (not shared_lead)
