"""The engine of a worker with its own threads, and a hand on its round trips."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.deployment import PATIENCE_SECONDS, Deployment
from workflows import App, Retry, WorkflowEntrypoint, WorkflowTimeoutError
from workflows.clock import monotonic


def test_a_step_born_from_a_turn_that_was_under_way_at_a_stop_ends_and_its_result_is_kept(
    deploy: Callable[[App], Deployment],
) -> None:
    """Nothing was in flight when the drain began, so nobody waited for it, and it ran again elsewhere."""
    app = App("draining")
    ran: list[int] = []

    @app.workflow
    class OneWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> Any:
            return await step.do("one", lambda ctx: ran.append(ctx.attempt) or ctx.attempt)

    deployment = deploy(app)
    engine = deployment.engine(grace_seconds=PATIENCE_SECONDS)
    deployment.gate.script = "commit"
    instance = deployment.client.workflow("one-workflow").create()
    assert deployment.gate.reached.wait(PATIENCE_SECONDS)
    stopping = threading.Thread(target=engine.stop)
    stopping.start()
    deadline = monotonic() + PATIENCE_SECONDS
    while not len(engine.arrivals):  # the stop has arrived
        assert monotonic() < deadline
        threading.Event().wait(0.01)
    deployment.gate.open.set()
    stopping.join(PATIENCE_SECONDS)
    assert not stopping.is_alive()
    deployment.engines.clear()
    assert ran == [1]
    (step,) = instance.status().steps
    assert step.status == "complete"
    deployment.engine()
    assert instance.result(timeout="10 seconds") == 1
    assert ran == [1]


def test_a_process_gives_itself_up_when_half_of_its_threads_ignore_their_timeouts(
    deploy: Callable[[App], Deployment],
) -> None:
    """F21: a thread cannot be ended. The instance has its timeout and goes on meanwhile."""
    app = App("stuck")
    release, reasons = threading.Event(), []
    given_up = threading.Event()

    @app.workflow
    class StuckWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> str:
            try:
                await step.do("never", release.wait, timeout="100ms", retries=Retry(limit=0))
            except WorkflowTimeoutError:
                return "timed out"
            return "came back"

    def hopeless(reason: str) -> None:
        reasons.append(reason)
        given_up.set()

    deployment = deploy(app)
    deployment.engine(hopeless, concurrency=4)
    workflow = deployment.client.workflow("stuck-workflow")
    try:
        assert workflow.create().result(timeout="10 seconds") == "timed out"
        assert reasons == []
        assert workflow.create().result(timeout="10 seconds") == "timed out"
        assert given_up.wait(PATIENCE_SECONDS)
        assert reasons == ["half of the threads are taken by steps that ignore their timeout"]
    finally:
        release.set()


def test_a_drain_does_not_wait_longer_than_what_runs(deploy: Callable[[App], Deployment]) -> None:
    app = App("draining")
    began, release = threading.Event(), threading.Event()

    @app.workflow
    class OneWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> Any:
            return await step.do("one", lambda: began.set() or release.wait(PATIENCE_SECONDS))

    deployment = deploy(app)
    engine = deployment.engine(grace_seconds=60.0)
    instance = deployment.client.workflow("one-workflow").create()
    assert began.wait(PATIENCE_SECONDS)
    stopping = threading.Thread(target=engine.stop)
    stopping.start()
    release.set()
    stopping.join(PATIENCE_SECONDS)
    assert not stopping.is_alive()
    deployment.engines.clear()
    (step,) = instance.status().steps
    assert step.status == "complete"


class Declined(Exception):
    """What a payment provider says."""


def _said(caplog: pytest.LogCaptureFixture) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (vars(one)["instance"], one.getMessage()): vars(one)
        for one in list(caplog.records)
        if one.name in ("workflows.failures", "workflows.instances")
    }


def _frames(traceback: str) -> list[str]:
    """The functions that a traceback shows, outermost first."""
    return re.findall(r"^  File .*, in (\w+)$", traceback, re.MULTILINE)


def test_failures_are_logged_with_whose_they_are_and_each_traceback_once(
    deploy: Callable[[App], Deployment], caplog: pytest.LogCaptureFixture
) -> None:
    app = App("failing")

    def charge() -> None:
        raise Declined("no funds")

    @app.workflow
    class PayWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> Any:
            await step.do("charge", charge, retries=Retry(limit=1, delay=10, backoff="constant"))

    @app.workflow
    class BrokenWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> Any:
            raise ValueError("a bug")

    deployment = deploy(app)
    deployment.engine()
    with caplog.at_level(logging.INFO, "workflows"):
        with pytest.raises(Declined):
            deployment.client.workflow("pay-workflow").create("p-1").result(timeout="10 seconds")
        with pytest.raises(ValueError):
            deployment.client.workflow("broken-workflow").create("b-1").result(timeout="10 seconds")
        # The end is known as soon as Redis has it, and reported when the worker has the answer.
        deadline = monotonic() + PATIENCE_SECONDS
        while ("b-1", "instance errored") not in (said := _said(caplog)) and monotonic() < deadline:
            threading.Event().wait(0.01)
    assert list(said) == [
        ("p-1", "instance begun"),
        ("p-1", "attempt failed"),
        ("p-1", "step failed"),
        ("p-1", "instance errored"),
        ("b-1", "instance begun"),
        ("b-1", "instance errored"),
    ]
    attempt, step, errored = said["p-1", "attempt failed"], said["p-1", "step failed"], said["p-1", "instance errored"]
    assert (attempt["levelname"], step["levelname"], errored["levelname"]) == ("WARNING", "ERROR", "ERROR")
    assert [str(one["error"]) for one in (attempt, step, errored)] == ["Declined: no funds"] * 3
    assert [(one["workflow"], one["step"], one["attempt"]) for one in (attempt, step)] == [
        ("pay-workflow", "charge-1", 1),
        ("pay-workflow", "charge-1", 2),
    ]
    assert attempt["next_try_in"] == "10ms"
    assert _frames(step["traceback"]) == ["charge"]
    assert "traceback" not in attempt and "traceback" not in errored
    assert _frames(said["b-1", "instance errored"]["traceback"]) == ["run"]


def test_what_is_not_accepted_any_more_is_not_reported(
    deploy: Callable[[App], Deployment], caplog: pytest.LogCaptureFixture
) -> None:
    app = App("late")
    began, release, ended = threading.Event(), threading.Event(), threading.Event()

    def fails() -> None:
        began.set()
        try:
            assert release.wait(PATIENCE_SECONDS)
            raise Declined
        finally:
            ended.set()

    @app.workflow
    class LateWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> Any:
            await step.do("late", fails)

    deployment = deploy(app)
    engine = deployment.engine()
    instance = deployment.client.workflow("late-workflow").create()
    assert began.wait(PATIENCE_SECONDS)
    instance.terminate()
    release.set()
    assert ended.wait(PATIENCE_SECONDS)
    deployment.engines.remove(engine)
    engine.stop()
    assert [one for one in caplog.records if one.name == "workflows.failures"] == []
