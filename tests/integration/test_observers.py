"""What observers are told, and that nothing they do is felt by the instances they hear of."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from tests.deployment import Deployment
from tests.paths import packages
from tests.processes import is_there
from workflows import App, ConfigError, Observer, Transition, WorkflowEntrypoint, limits
from workflows.authoring import observation
from workflows.client import Client, WorkflowInstance
from workflows.clock import monotonic

PATIENCE_SECONDS = 20.0

Deploy = Callable[..., Deployment]


class Heard(Observer):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.transitions: list[Transition] = []

    def on_instance(self, transition: Transition) -> None:
        self.transitions.append(transition)

    on_step = on_attempt = on_instance

    def of(self, instance: WorkflowInstance) -> list[Transition]:
        return [one for one in list(self.transitions) if one.instance_id == instance.id]

    def types(self, instance: WorkflowInstance) -> list[str]:
        return [f"{one.type} {one.step_name or ''}".rstrip() for one in self.of(instance)]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE_SECONDS
    while not holds():
        assert monotonic() < deadline
        threading.Event().wait(0.01)


@pytest.fixture
def deploy(deploy: Callable[[App], Deployment]) -> Deploy:
    """With an engine at work."""

    def started(app: App, **settings: Any) -> Deployment:
        deployment = deploy(app)
        deployment.engine(**settings)
        return deployment

    return started


def an_app(*observers: Observer) -> App:
    app = App("observed", observers=observers, retry_delay="10 ms")

    def charge(ctx: Any) -> str:
        if ctx.attempt == 1:
            raise ConnectionError("the bank is away")
        return "paid"

    @app.workflow
    class OrderWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> Any:
            await step.do("charge", charge)
            await step.sleep("cool down", "10 ms")
            packed = await step.wait_for_event("wait for packing", type="packed", timeout="1 hour")
            return packed.payload

    @app.workflow
    class FailingWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> None:
            await step.do("reserve", lambda: 1, rollback=lambda: None)
            await step.do("fail", {"retries": {"limit": 0}}, _fail)

    @app.workflow
    class RacingWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> str:
            await step.race(step.sleep("fast", "5 ms"), step.sleep("slow", "1 hour"))
            return "fast"

    return app


def _fail() -> None:
    raise ValueError("no stock")


ORDER = [
    "workflow_started",
    "step_started charge",
    "attempt_started charge",
    "attempt_errored charge",
    "attempt_started charge",
    "attempt_completed charge",
    "step_completed charge",
    "sleep_started cool down",
    "sleep_completed cool down",
    "wait_started wait for packing",
    "wait_completed wait for packing",
    "workflow_completed",
]


def pack(order: WorkflowInstance, at: str = "the door") -> None:
    order.send_event("packed", {"at": at})


def test_an_observer_is_told_each_transition_once_and_in_order(deploy: Deploy) -> None:
    heard = Heard()
    deployment = deploy(an_app(heard))
    order = deployment.client.workflow("order-workflow").create(id="o-1", params={"card": "4711"})
    pack(order)
    order.result(timeout="20 seconds")
    wait_until(lambda: "workflow_completed" in heard.types(order))
    assert heard.types(order) == ORDER
    told = {(one.type, one.attempt): one for one in heard.of(order)}
    first, second = told["attempt_errored", 1], told["attempt_completed", 2]
    assert (first.error_name, first.error_message, first.retry_delay_ms) == ("ConnectionError", "the bank is away", 10)
    assert first.started_at is not None and first.started_at <= first.timestamp <= second.timestamp
    assert (second.queue, second.step_count, second.error_name) == ("default", 1, None)
    end = told["workflow_completed", None]
    status = order.status()
    assert (end.namespace, end.workflow, end.generation) == ("observed", "order-workflow", status.generation)
    assert (end.created_at, end.timestamp) == (status.created_at, status.ended_at)
    subscribed = [f"{event.type} {event.step_name}" for event in order.subscribe() if event.step_name]
    assert [type for type in heard.types(order) if " " in type] == subscribed
    # Values belong to those who may see the instance.
    said = json.dumps([one.as_dict() for one in heard.of(order)])
    assert not [value for value in ("4711", "paid", "the door") if value in said]


def test_an_instance_that_is_undone_says_so_and_why_it_ended(deploy: Deploy) -> None:
    heard = Heard()
    failing = deploy(an_app(heard)).client.workflow("failing-workflow").create()
    wait_until(lambda: "workflow_errored" in heard.types(failing))
    told = heard.types(failing)
    assert told[told.index("attempt_errored fail") :] == [
        "attempt_errored fail",
        "step_errored fail",
        "rollback_started",
        "rollback_step_started reserve",
        "rollback_attempt_started reserve",
        "rollback_attempt_completed reserve",
        "rollback_step_completed reserve",
        "rollback_completed",
        "workflow_errored",
    ]
    assert heard.of(failing)[-1].error_name == "ValueError"


def test_what_run_gives_up_is_told_too(deploy: Deploy) -> None:
    heard = Heard()
    racing = deploy(an_app(heard)).client.workflow("racing-workflow").create()
    assert racing.result(timeout="20 seconds") == "fast"
    wait_until(lambda: "workflow_completed" in heard.types(racing))
    assert heard.types(racing)[-3:] == ["sleep_completed fast", "sleep_withdrawn slow", "workflow_completed"]


def test_an_event_that_is_an_error_is_told_with_what_it_says(deploy: Deploy) -> None:
    heard = Heard()
    order = deploy(an_app(heard)).client.workflow("order-workflow").create()
    order.send_event("packed", error="no box is large enough")
    wait_until(lambda: "workflow_errored" in heard.types(order))
    waited = next(one for one in heard.of(order) if one.type == "wait_errored")
    assert (waited.event_type, waited.error_message) == ("packed", "no box is large enough")


def test_a_replay_tells_nothing_again(deploy: Deploy) -> None:
    """Another worker takes over in the middle and begins run from the start."""
    heard = Heard()
    deployment = deploy(an_app(heard))
    order = deployment.client.workflow("order-workflow").create()
    wait_until(lambda: "wait_started wait for packing" in heard.types(order))
    deployment.stop_engines()
    deployment.engine(warm=0)
    pack(order)
    wait_until(lambda: "workflow_completed" in heard.types(order))
    assert heard.types(order) == ORDER


def test_what_a_restart_keeps_is_not_told_again(deploy: Deploy) -> None:
    heard = Heard()
    deployment = deploy(an_app(heard))
    order = deployment.client.workflow("order-workflow").create()
    pack(order)
    order.result(timeout="20 seconds")
    wait_until(lambda: "workflow_completed" in heard.types(order))
    before = len(heard.of(order))
    order.restart(from_={"name": "wait for packing", "type": "waitForEvent"})
    pack(order)
    wait_until(lambda: heard.types(order).count("workflow_completed") == 2)
    assert heard.types(order)[before:] == ["workflow_started", *ORDER[-3:]]
    assert len({one.generation for one in heard.of(order)[before:]}) == 1


def test_one_that_waits_for_its_next_attempt_and_is_terminated_leaves_no_attempt_open(
    deploy: Deploy,
) -> None:
    app = an_app(heard := Heard())
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        go_on.wait(PATIENCE_SECONDS)

    @app.workflow
    class SlowWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> None:
            await step.do("slow", slow)

    deployment = deploy(app, lease_ms=1_000)  # it hears of the end when it renews its lease
    instance = deployment.client.workflow("slow-workflow").create()
    try:
        assert begun.wait(PATIENCE_SECONDS)
        instance.terminate()
        wait_until(lambda: "attempt_void slow" in heard.types(instance))
    finally:
        go_on.set()
    assert heard.of(instance)[-1].reason == "withdrawn"


def test_code_that_contradicts_its_journal_is_told_as_parked(deploy: Deploy) -> None:
    app, calls = an_app(heard := Heard()), iter(range(9))

    @app.workflow
    class FickleWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> None:
            await step.sleep(f"nap {next(calls)}", "5 ms")
            await step.sleep("more", "5 ms")

    deployment = deploy(app, warm=0)
    fickle = deployment.client.workflow("fickle-workflow").create()
    wait_until(lambda: "workflow_parked" in heard.types(fickle))
    assert "nap" in str(heard.of(fickle)[-1].reason)


class Broken(Observer):
    """Fails in every way there is."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = [SystemExit(3), KeyboardInterrupt(), MemoryError(), ValueError("mine")]

    def on_instance(self, transition: Transition) -> None:
        raise self.errors[0]

    def on_step(self, transition: Transition) -> None:
        raise self.errors[1]

    def on_attempt(self, transition: Transition) -> None:
        raise self.errors[2 + (transition.type == "attempt_started")]


def test_an_observer_that_fails_is_named_once_for_each_method_and_disturbs_nobody(
    deploy: Deploy, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Heard()
    orders = deploy(an_app(Broken(), heard)).client.workflow("order-workflow")
    made = [orders.create() for _ in range(3)]
    for order in made:
        pack(order)
        order.result(timeout="20 seconds")
    wait_until(lambda: all("workflow_completed" in heard.types(order) for order in made))
    assert [heard.types(order) for order in made] == [ORDER] * 3
    named = [vars(record)["method"] for record in caplog.records if record.name == "workflows.observers"]
    assert sorted(named) == ["on_attempt", "on_instance", "on_step"]


class Hanging(Observer):
    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.told = 0

    def on_attempt(self, transition: Transition) -> None:
        self.go_on.wait(PATIENCE_SECONDS)
        self.told += 1


def test_an_observer_that_hangs_holds_up_neither_steps_nor_others_nor_the_end(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "OBSERVER_TRANSITIONS", 3)
    monkeypatch.setattr(limits, "OBSERVER_SECONDS", 0.1)
    hanging = Hanging()
    deployment = deploy(an_app(hanging))
    orders = deployment.client.workflow("order-workflow")
    try:
        for _ in range(3):
            order = orders.create()
            pack(order)
            order.result(timeout="20 seconds")
        began = monotonic()
        deployment.stop_engines()
        assert monotonic() - began < 10
    finally:
        hanging.go_on.set()
    lost = [vars(record)["not_told"] for record in caplog.records if record.message == "observer falls behind"]
    # Twelve in all, of which one is being told. Said at the first, and then not before a minute is over, or at the end.
    assert lost[0] == 1 and sum(lost) == 11 and len(lost) == 2


def test_what_is_too_much_is_counted_and_said_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "OBSERVER_TRANSITIONS", 2)
    now = [100.0]
    monkeypatch.setattr(observation, "monotonic", lambda: now[0])
    told = observation.Observation([Heard()])  # not started: nobody takes anything out
    for second in range(130):
        now[0] += 1
        told.tell("instance", a_transition(second))
    lost = [vars(record)["not_told"] for record in caplog.records]
    assert lost == [1, 60, 60]


def a_transition(number: int) -> Transition:
    from workflows.authoring.event import moment

    return Transition(
        type="workflow_started",
        timestamp=moment(number),
        namespace="observed",
        workflow="order-workflow",
        instance_id=f"o-{number}",
        generation="g",
    )


def test_a_drain_waits_until_all_is_told_that_came_before_it() -> None:
    heard = Heard()
    told = observation.Observation([heard])
    told.start()
    for number in range(500):
        told.tell("instance", a_transition(number))
    told.drain(PATIENCE_SECONDS)
    assert [one.instance_id for one in heard.transitions] == [f"o-{number}" for number in range(500)]


def test_nothing_is_made_for_methods_that_nobody_has() -> None:
    told = observation.Observation([Hanging()])
    assert [told.wants("instance"), told.wants("step"), told.wants("attempt")] == [False, False, True]


# Processes ------------------------------------------------------------------------------------------------------------

APP = """
import json, os
from pathlib import Path

from workflows import App, ConfigError, Observer, WorkflowEntrypoint

HERE = Path(__file__).parent


class Audit(Observer):
    def on_instance(self, transition):
        with open(HERE / "audit.jsonl", "a") as file:
            file.write(json.dumps({**transition.as_dict(), "pid": os.getpid()}) + "\\n")

    on_step = on_attempt = on_instance


app = App("audited", observers=[Audit()])


def work():
    return os.getpid()


@app.workflow
class OrderWorkflow(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.do("work", work)
        await step.wait_for_event("wait", type="go", timeout="1 hour")
        return await step.do("work", work)
"""


def test_worker_processes_tell_what_they_did_and_one_that_is_killed_tells_nothing_twice(
    redis: redis_py.Redis, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(APP)
    environment = {**os.environ, "PYTHONPATH": packages(), "WORKFLOWS_REDIS_URL": redis_url}
    commands = [["orchestrator", "--namespace", "audited"], ["worker", "app:app", "--grace", "1"]]
    processes = [
        subprocess.Popen([sys.executable, "-m", *command], cwd=tmp_path, env=environment) for command in commands
    ]

    def told(id: str) -> list[dict[str, Any]]:
        try:
            lines = (tmp_path / "audit.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [found for line in lines if (found := json.loads(line))["instance_id"] == id]

    try:
        with Client("audited", redis_url) as client:
            wait_until(lambda: "order-workflow" in client.workflows())
            order = client.workflow("order-workflow").create(id="o-1")
            wait_until(lambda: any(one["type"] == "wait_started" for one in told("o-1")))
            first = told("o-1")[-1]["pid"]
            os.kill(first, signal.SIGKILL)
            # Until its connections are closed it may be given the turn, which then goes on in a process of its own.
            wait_until(lambda: not is_there(first))
            order.send_event("go", None)
            second = order.result(timeout="20 seconds")
            wait_until(lambda: told("o-1")[-1]["type"] == "workflow_completed")
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            assert process.wait(30) == 0
    types = ["step_started", "attempt_started", "attempt_completed", "step_completed"]
    assert [(one["type"], one["pid"]) for one in told("o-1")] == [
        *[(type, first) for type in ["workflow_started", *types, "wait_started"]],
        *[(type, second) for type in ["wait_completed", *types, "workflow_completed"]],
    ]


def test_an_app_takes_observers_that_can_be_called_and_nothing_else() -> None:
    class Awaited(Observer):
        async def on_step(self, transition: Transition) -> None: ...  # type: ignore[override]

    assert App("observed").observation is None
    with pytest.raises(ConfigError, match="takes instances of subclasses of workflows.Observer"):
        App("observed", observers=[Heard])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="Awaited.on_step is async"):
        App("observed", observers=[Awaited()])
