"""What handlers undo, in which order and how it ends, on a real engine: one test for each line of the contract."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis as redis_py
from click.testing import CliRunner

from tests.deployment import PATIENCE_SECONDS, Deployment
from workflows import App, InstanceTerminated, NonRetryableError, StepFailed, WorkflowEntrypoint
from workflows.cli.main import cli
from workflows.client import WorkflowInstance
from workflows.client.status import InstanceStatus
from workflows.clock import monotonic

Run = Callable[[Any, Any, Any], Any]
RETRY_AT_ONCE = {"retries": {"limit": 2, "delay": 0}}
NO_RETRY = {"retries": {"limit": 0}}


class Shop:
    """An app with one workflow, whose handlers note what they were told."""

    def __init__(self, url: str) -> None:
        self.app = App("saga")
        self.noted: list[Any] = []
        self._url = url
        self.deployment: Deployment | None = None

    def note(self, what: Any) -> Callable[..., None]:
        return lambda: self.noted.append(what)

    def start(self, run: Run, **settings: Any) -> WorkflowInstance:
        self.app.workflow(name="trip")(type("Trip", (WorkflowEntrypoint,), {"run": run}))
        self.deployment = Deployment(self.app, self._url)
        self.deployment.engine(**settings)
        return self.deployment.client.workflow("trip").create(id="t")

    def close(self) -> None:
        if self.deployment is not None:
            self.deployment.close()


@pytest.fixture
def shop(redis: redis_py.Redis, redis_url: str) -> Iterator[Shop]:
    made = Shop(redis_url)
    yield made
    made.close()


def ended(instance: WorkflowInstance) -> InstanceStatus[Any]:
    return until(instance, lambda status: status.ended_at is not None)


def until(instance: WorkflowInstance, holds: Callable[[InstanceStatus[Any]], bool]) -> InstanceStatus[Any]:
    deadline = monotonic() + PATIENCE_SECONDS
    while not holds(status := instance.status()):
        assert monotonic() < deadline, status.as_dict()
        threading.Event().wait(0.02)
    return status


def rollbacks(status: InstanceStatus[Any]) -> list[tuple[str, str]]:
    return [(step.name, step.status) for step in status.steps if step.kind == "rollback"]


def fail(message: str = "no room") -> Any:
    raise NonRetryableError(message)


def test_an_error_that_leaves_run_undoes_what_was_done_the_last_step_first(shop: Shop) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("flight", lambda: "F1", rollback=lambda output: shop.noted.append(output))
        await step.do("hotel", lambda: "H1", rollback=lambda output: shop.noted.append(output))
        await step.do("plain", lambda: 1)
        raise ValueError("no car")

    status = ended(shop.start(run))
    assert shop.noted == ["H1", "F1"]
    assert (status.status, status.error and status.error.message) == ("errored", "no car")
    assert status.rollback is not None and (status.rollback.outcome, status.rollback.error) == ("complete", None)
    assert rollbacks(status) == [("hotel", "complete"), ("flight", "complete")]


def test_a_step_that_is_decorated_takes_a_handler_too(shop: Shop) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        @step.do("flight", rollback=lambda output: shop.noted.append(output), rollback_config=NO_RETRY)
        def flight() -> str:
            return "F1"

        await flight()
        raise ValueError("no car")

    assert ended(shop.start(run)).rollback is not None
    assert shop.noted == ["F1"]


def test_what_succeeds_is_not_undone(shop: Shop) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        return await step.do("flight", lambda: "F1", rollback=shop.note("undone"))

    status = ended(shop.start(run))
    assert (status.status, status.rollback, shop.noted) == ("complete", None, [])


def test_an_end_without_handlers_knows_of_no_rollback(shop: Shop) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("flight", lambda: "F1")
        raise ValueError("no car")

    status = ended(shop.start(run))
    assert (status.status, status.rollback) == ("errored", None)


@pytest.mark.parametrize("verb", ["terminate", "delete", "restart"])
def test_no_other_end_undoes_anything(shop: Shop, verb: str) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("flight", lambda: "F1", rollback=shop.note("undone"))
        await step.sleep("long", "1 day")

    instance = shop.start(run)
    until(instance, lambda status: status.status == "waiting")
    getattr(instance, verb)()
    if verb == "terminate":
        status = instance.status()
        assert (status.status, status.rollback) == ("terminated", None)
    if verb == "restart":
        until(instance, lambda status: status.status == "waiting")
    assert shop.noted == []


def test_parallel_steps_are_undone_in_the_reverse_order_of_asking(shop: Shop) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        last_first = threading.Event()
        await asyncio.gather(
            step.do("a", lambda: last_first.wait(PATIENCE_SECONDS), rollback=shop.note("a")),
            step.do("b", last_first.set, rollback=shop.note("b")),
        )
        raise ValueError("no car")

    assert ended(shop.start(run)).rollback is not None
    assert shop.noted == ["b", "a"]


def test_handlers_run_one_at_a_time(shop: Shop) -> None:
    running: list[str] = []

    def undo(ctx: Any) -> None:
        running.append(ctx.step.name)
        shop.noted.append(list(running))
        running.remove(ctx.step.name)

    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.map("plain", range(3), lambda n: n)
        await asyncio.gather(*[step.do(f"s{n}", lambda: 1, rollback=undo) for n in range(5)])
        raise ValueError("no car")

    ended(shop.start(run))
    assert shop.noted == [[f"s{n}"] for n in reversed(range(5))]


def test_a_step_whose_failure_was_caught_is_undone_without_an_output(shop: Shop) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        try:
            await step.do("flight", fail, rollback=lambda output, error: shop.noted.append((output, str(error))))
        except NonRetryableError:
            pass
        raise ValueError("no car")

    assert ended(shop.start(run)).rollback is not None
    assert shop.noted == [(None, "no car")]


def test_the_step_that_failed_is_undone_first(shop: Shop) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("flight", lambda: "F1", rollback=lambda output: shop.noted.append(output))
        await step.do("hotel", fail, rollback=lambda output, error: shop.noted.append((output, str(error))))

    status = ended(shop.start(run))
    assert shop.noted == [(None, "no room"), "F1"]
    assert status.error is not None and status.error.message.startswith("no room")


def test_a_step_that_was_under_way_is_cancelled_and_undone(shop: Shop) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    def slow(ctx: Any) -> None:
        begun.set()
        if ctx.cancelled.wait(PATIENCE_SECONDS):
            cancelled.set()

    async def run(self: Any, event: Any, step: Any) -> Any:
        await asyncio.gather(
            step.do("slow", slow, rollback=lambda output: shop.noted.append(output)),
            step.do("fails", lambda: begun.wait(PATIENCE_SECONDS) and fail()),
        )

    status = ended(shop.start(run))
    assert shop.noted == [None]
    assert cancelled.wait(PATIENCE_SECONDS)
    assert next((step.name, step.status) for step in status.steps if step.kind == "do") == ("slow", "withdrawn")


def test_a_step_that_nobody_has_begun_is_not_undone(shop: Shop) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        queued = [step.do(f"s{n}", lambda: 1, rollback=shop.note(n)) for n in range(2)]
        raise ValueError(f"no car, {len(queued)} steps asked for")

    status = ended(shop.start(run))
    assert (status.status, status.rollback, shop.noted) == ("errored", None, [])


def test_a_handler_is_told_what_it_asks_for(shop: Shop) -> None:
    def undo(ctx: Any, *, error: BaseException, output: Any) -> None:
        own, forward = ctx.idempotency_key, ctx.forward.idempotency_key
        shop.noted.append((ctx.step.name, ctx.step.count, type(error), output, ctx.forward.attempt, own != forward))
        shop.noted.append(forward)

    async def run(self: Any, event: Any, step: Any) -> Any:
        key = await step.do("flight", lambda ctx: ctx.idempotency_key, rollback=undo)
        raise ValueError(key)

    ended(shop.start(run))
    told, forward = shop.noted
    assert told[:3] == ("flight", 1, ValueError) and told[4:] == (1, True)
    assert told[3] == forward


def test_a_handler_of_one_argument_is_told_everything_at_once(shop: Shop) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do(
            "flight", lambda: "F1", rollback=lambda told: shop.noted.append((told.output, str(told["error"])))
        )
        raise ValueError("no car")

    ended(shop.start(run))
    assert shop.noted == [("F1", "no car")]


def test_what_an_async_handler_returns_need_not_be_stored(shop: Shop) -> None:
    async def undo(output: Any) -> Any:
        shop.noted.append(output)
        return threading.Lock()

    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("flight", lambda: "F1", rollback=undo)
        raise ValueError("no car")

    status = ended(shop.start(run))
    assert status.rollback is not None and (status.rollback.outcome, shop.noted) == ("complete", ["F1"])


def test_a_handler_is_tried_again_as_its_config_says(shop: Shop) -> None:
    def undo(ctx: Any) -> None:
        shop.noted.append(ctx.attempt)
        if ctx.attempt < 3:
            raise ConnectionError("busy")

    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("flight", lambda: "F1", rollback=undo, rollback_config=RETRY_AT_ONCE)
        raise ValueError("no car")

    status = ended(shop.start(run))
    assert status.rollback is not None and (status.rollback.outcome, shop.noted) == ("complete", [1, 2, 3])
    (handler,) = [step for step in status.steps if step.kind == "rollback"]
    assert handler.attempts == 3


def test_a_handler_that_fails_for_good_stops_the_others_and_the_end_says_so(shop: Shop) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("flight", lambda: "F1", rollback=shop.note("flight"))
        await step.do("hotel", lambda: "H1", rollback=fail)
        await step.do("car", lambda: "C1", rollback=shop.note("car"))
        raise ValueError("no visa")

    status = ended(shop.start(run))
    assert shop.noted == ["car"]
    assert (status.status, status.error and status.error.message) == ("errored", "no visa")
    assert status.rollback is not None and status.rollback.error is not None
    assert (status.rollback.outcome, status.rollback.error.message) == ("failed", "no room")
    assert rollbacks(status) == [("car", "complete"), ("hotel", "failed")]


def test_a_handler_that_takes_too_long_has_failed(shop: Shop) -> None:
    release = threading.Event()

    async def run(self: Any, event: Any, step: Any) -> Any:
        config = {"timeout": 50, "retries": {"limit": 0}}
        await step.do("flight", lambda: "F1", rollback=lambda: release.wait(PATIENCE_SECONDS), rollback_config=config)
        raise ValueError("no visa")

    status = ended(shop.start(run))
    release.set()
    assert status.rollback is not None and status.rollback.error is not None
    assert status.rollback.error.name == "StepTimeout"


def test_handlers_are_found_by_any_worker_from_the_journal_alone(shop: Shop) -> None:
    """No replay is kept, so each of them is rebuilt from the first entry on."""

    async def run(self: Any, event: Any, step: Any) -> Any:
        for number in range(5):
            await step.do("s", lambda: number, rollback=lambda output: shop.noted.append(output))  # noqa: B023
        raise ValueError("no car")

    ended(shop.start(run, warm=0))
    assert shop.noted == [4, 3, 2, 1, 0]


def test_a_handler_that_the_code_has_no_more_has_failed(shop: Shop) -> None:
    code = {"has handlers": True}

    def undo() -> None:
        shop.noted.append("hotel")
        code["has handlers"] = False

    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("flight", lambda: "F1", rollback=shop.note("flight") if code["has handlers"] else None)
        await step.do("hotel", lambda: "H1", rollback=undo)
        raise ValueError("no car")

    status = ended(shop.start(run, warm=0))
    assert shop.noted == ["hotel"]
    assert status.rollback is not None and status.rollback.error is not None
    told = (status.rollback.error.name, status.rollback.error.message)
    assert told == ("RollbackMissing", "Rollback function not available in registry")


def test_a_step_in_a_handler_is_refused(shop: Shop) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("flight", lambda: "F1", rollback=lambda: step.do("more", lambda: 1))
        raise ValueError("no car")

    status = ended(shop.start(run))
    assert status.rollback is not None and status.rollback.error is not None
    assert status.rollback.error.message == "Cannot execute steps during rollback phase"


def test_what_run_catches_or_cleans_up_asks_for_nothing_any_more(shop: Shop) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("flight", lambda: "F1", rollback=shop.note("flight"))
        try:
            await step.sleep("long", "1 day")
        finally:
            await step.do("late", shop.note("late"))

    instance = shop.start(run)
    until(instance, lambda status: status.status == "waiting")
    instance.terminate(rollback=True)
    ended(instance)
    assert shop.noted == ["flight"]


def test_while_handlers_run_the_status_says_running_and_shows_rolling_back(shop: Shop) -> None:
    begun, release = threading.Event(), threading.Event()

    def undo() -> None:
        begun.set()
        release.wait(PATIENCE_SECONDS)

    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("flight", lambda: "F1", rollback=undo)
        raise ValueError("no car")

    instance = shop.start(run)
    assert begun.wait(PATIENCE_SECONDS)
    status = instance.status()
    assert (status.status, status.shown_status, status.rollback) == ("running", "rollingBack", None)
    assert status.error is not None and status.error.message == "no car"
    assert rollbacks(status) == [("flight", "running")]
    release.set()
    assert ended(instance).shown_status == "errored"


def test_terminating_with_rollback_undoes_what_was_done(shop: Shop) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("flight", lambda: "F1", rollback=lambda error: shop.noted.append(error))
        await step.wait_for_event("paid", type="paid")

    instance = shop.start(run)
    until(instance, lambda status: status.status == "waiting")
    instance.terminate(rollback=True)
    status = ended(instance)
    assert (status.status, status.error, status.rollback and status.rollback.outcome) == (
        "terminated",
        None,
        "complete",
    )
    (error,) = shop.noted
    assert isinstance(error, InstanceTerminated) and str(error) == "Instance terminated during rollback"
    with pytest.raises(InstanceTerminated):
        instance.result()


def test_terminating_with_rollback_needs_no_resume(shop: Shop) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("flight", lambda: "F1", rollback=shop.note("flight"))
        await step.sleep("long", "1 day")

    instance = shop.start(run)
    until(instance, lambda status: status.status == "waiting")
    instance.pause()
    instance.terminate(rollback=True)
    status = ended(instance)
    assert (status.status, shop.noted) == ("terminated", ["flight"])


def test_terminating_a_rollback_cuts_it_short_and_the_end_says_so(shop: Shop) -> None:
    begun, release = threading.Event(), threading.Event()

    def undo(ctx: Any) -> None:
        begun.set()
        ctx.cancelled.wait(PATIENCE_SECONDS)
        release.set()

    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("flight", lambda: "F1", rollback=shop.note("flight"))
        await step.do("hotel", lambda: "H1", rollback=undo)
        raise ValueError("no car")

    instance = shop.start(run)
    assert begun.wait(PATIENCE_SECONDS)
    instance.terminate(rollback=True)
    assert instance.status().shown_status == "rollingBack"
    instance.terminate()
    status = instance.status()
    assert release.wait(PATIENCE_SECONDS)
    assert (status.status, shop.noted) == ("terminated", [])
    assert status.rollback is not None and status.rollback.error is not None
    assert (status.rollback.outcome, status.rollback.error.message) == ("failed", "Instance terminated during rollback")


def test_a_restart_after_a_rollback_begins_anew(shop: Shop) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("flight", lambda: "F1", rollback=shop.note("flight"))
        raise ValueError("no car")

    instance = shop.start(run)
    ended(instance)
    instance.restart()
    until(instance, lambda status: len(shop.noted) == 2 and status.ended_at is not None)
    assert shop.noted == ["flight", "flight"]


def test_a_parent_hears_of_the_error_once_its_child_is_undone(shop: Shop) -> None:
    async def child(self: Any, event: Any, step: Any) -> Any:
        await step.do("flight", lambda: "F1", rollback=shop.note("flight"))
        raise ValueError("no car")

    async def run(self: Any, event: Any, step: Any) -> Any:
        try:
            await step.invoke("child")
        except (ValueError, StepFailed) as error:
            return [str(error), *shop.noted]

    shop.app.workflow(name="child")(type("Child", (WorkflowEntrypoint,), {"run": child}))
    assert shop.start(run).result(timeout=PATIENCE_SECONDS * 1000) == ["no car", "flight"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rollback": "refund"}, 'Rollback for "flight" must be a function'),
        ({"rollback": fail, "rollback_config": {"limit": 1}}, 'Rollback config for "flight" is in a invalid format. '),
        ({"rollback_config": NO_RETRY}, 'Step "flight" is given rollback_config= without rollback='),
        ({"rollback": lambda receipt, amount: 1}, 'Rollback for "flight" must be a function of any of ctx, error, '),
    ],
)
def test_a_handler_that_could_not_run_is_refused_at_the_call(shop: Shop, options: Any, message: str) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("flight", lambda: "F1", **options)

    status = ended(shop.start(run))
    assert status.error is not None and message in status.error.message


def test_a_subscriber_hears_of_handlers_once_and_in_order(shop: Shop) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("flight", lambda: "F1", rollback=shop.note("flight"))
        await step.do("hotel", lambda: "H1", rollback=fail)
        raise ValueError("no car")

    instance = shop.start(run)
    told = [event for event in instance.subscribe() if event.type.startswith("rollback")]
    shown = [(event.type, event.step_name) for event in told]
    assert shown == [
        ("rollback_started", None),
        ("rollback_step_started", "hotel"),
        ("rollback_attempt_started", "hotel"),
        ("rollback_attempt_errored", "hotel"),
        ("rollback_step_errored", "hotel"),
        ("rollback_errored", None),
    ]
    assert told[-1].error is not None and told[-1].error.message == "no room"
    rest = [event.type for event in instance.subscribe(cursor=told[-1].event_id)]
    assert rest == ["workflow_errored"]


def test_the_command_line_rolls_back_and_shows_it(shop: Shop, redis_url: str) -> None:
    release = threading.Event()

    async def run(self: Any, event: Any, step: Any) -> Any:
        await step.do("flight", lambda: "F1", rollback=lambda: release.wait(PATIENCE_SECONDS))
        await step.sleep("long", "1 day")

    def said(*words: str) -> str:
        where = ("--redis-url", redis_url, "--namespace", "saga")
        answer = CliRunner().invoke(cli, ["instances", *words, *where], catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        return answer.output

    instance = shop.start(run)
    until(instance, lambda status: status.status == "waiting")
    assert said("terminate", "trip", "t", "--rollback") == "trip/t: rollingBack\n"
    until(instance, lambda status: rollbacks(status) == [("flight", "running")])
    assert "rollback  flight" in said("describe", "trip", "t")
    release.set()
    ended(instance)
    shown = said("describe", "trip", "t")
    assert re.search(r"^Status +terminated$", shown, re.MULTILINE)
    assert re.search(r"^Rollback +complete$", shown, re.MULTILINE)
    assert json.loads(said("describe", "trip", "t", "--json"))["rollback"] == {"outcome": "complete", "error": None}
