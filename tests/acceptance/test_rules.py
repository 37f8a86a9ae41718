"""The rules of docs/rules.md on the whole engine: orchestrator and worker run in this process, on a private Redis."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import redis as redis_py
from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field, field_validator
from pydantic.alias_generators import to_camel

from orchestrator.loop import Orchestrator
from tests.driving import end_waits
from worker.engine import Engine
from worker.settings import Settings
from workflows import (
    App,
    NonRetryableError,
    PayloadNotSerializable,
    PayloadTooLarge,
    StepFailed,
    WorkflowEntrypoint,
    WorkflowEvent,
    WorkflowTimeoutError,
    limits,
)
from workflows.client import Client, WorkflowInstance
from workflows.client.binding import bindings_of
from workflows.storage.connection import connection
from workflows.storage.store import Store, open_keyspace

PATIENCE_SECONDS = 20.0


@contextmanager
def running(app: App, url: str, grace_seconds: float = 10.0) -> Iterator[Client]:
    """An orchestrator and a worker for an app."""
    with connection(url) as first:
        keys = open_keyspace(first, app.name, 2)

    def connect() -> Store:
        return Store(connection(url), keys)

    orchestrator = Orchestrator(connect(), bridge=False)
    loop = threading.Thread(target=orchestrator.run)
    settings = Settings(queues=app.queues, concurrency=4, grace_seconds=grace_seconds)
    engine = Engine(
        app, connect, settings, on_hopeless=pytest.fail, bindings=bindings_of(app, lambda: Client(app, url))
    )
    engine.start()
    loop.start()
    try:
        with Client(app, url) as client:
            yield client
    finally:
        orchestrator.stop()
        engine.draining.set()
        with connection(url) as asking:
            end_waits(asking)
        engine.stop()
        loop.join(PATIENCE_SECONDS)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.02)


def result_of(instance: WorkflowInstance) -> Any:
    return instance.result(PATIENCE_SECONDS * 1000)


def test_a_result_that_is_too_large_names_the_step_the_size_and_the_way_out(
    redis: redis_py.Redis, redis_url: str
) -> None:
    app = App("rules", defaults={"retries": {"limit": 0}})

    @app.workflow
    class LargeWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> Any:
            return await step.do("download", lambda: b"." * 2_000_000)

    with running(app, redis_url) as client:
        instance = client.workflow("large-workflow").create()
        with pytest.raises(PayloadTooLarge) as caught:
            result_of(instance)
        (step,) = instance.status().steps
    for words in ('step "download-1"', "1MiB", "2,000,006 bytes", "Store the data in your bucket and return its key"):
        assert words in str(caught.value)
    assert step.status == "failed"


def test_a_result_that_cannot_be_stored_names_the_step_and_the_way_out(redis: redis_py.Redis, redis_url: str) -> None:
    """And is not tried again: the next attempt would return the same."""
    app = App("rules", retry_delay=0)

    @app.workflow
    class OddWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> Any:
            return await step.do("connect", lambda: {"sockets": [object()]})

    with running(app, redis_url) as client:
        instance = client.workflow("odd-workflow").create()
        with pytest.raises(PayloadNotSerializable) as caught:
            result_of(instance)
        (step,) = instance.status().steps
    for words in ('step "connect-1"', '["sockets"][0]', "object", "Use plain data", "return its key"):
        assert words in str(caught.value)
    assert step.attempts == 1


class Sealed(BaseModel):
    text: str

    @field_validator("text")
    @classmethod
    def seal(cls, text: str) -> str:
        return f"<{text}>"


class Charge(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)
    net_cents: int
    note: str = Field("", exclude=True)

    @computed_field
    @property
    def gross(self) -> int:
        return self.net_cents * 2


def test_a_result_that_does_not_come_back_has_its_effect_once(redis: redis_py.Redis, redis_url: str) -> None:
    app = App("rules", retry_delay=0)
    effects: list[str] = []

    def seal() -> Sealed:
        effects.append("sealed")
        return Sealed(text="x")

    @app.workflow
    class SealWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> Any:
            return await step.do("seal", seal)

    with running(app, redis_url) as client, pytest.raises(PayloadNotSerializable) as caught:
        result_of(client.workflow("seal-workflow").create())
    assert effects == ["sealed"]
    for words in ('result of step "seal-1"', "at .text", "'<x>' would come back as '<<x>>'"):
        assert words in str(caught.value)


def test_models_with_aliases_travel_through_params_steps_children_and_batches(
    redis: redis_py.Redis, redis_url: str
) -> None:
    app = App("rules", retry_delay=0)

    async def charge(net: int) -> list[Charge] | None:
        return [Charge(netCents=net, note="from the step")]

    @app.workflow
    class ChildWorkflow(WorkflowEntrypoint):
        async def run(self, event: WorkflowEvent[Charge], step: Any) -> Any:
            return [event.payload.net_cents, event.payload.note]

    @app.workflow
    class ParentWorkflow(WorkflowEntrypoint):
        async def run(self, event: WorkflowEvent[Charge], step: Any) -> Any:
            (charged,) = await step.do("charge", charge, event.payload.net_cents)
            invoked = await step.invoke(ChildWorkflow, charged)
            created = await step.do("create", lambda: self.env.CHILD_WORKFLOW.create(params=charged))
            return [charged.gross, invoked, await step.wait_for_child("created", created)]

    with running(app, redis_url) as client:
        parents = client.workflow("parent-workflow")
        assert result_of(parents.create(params={"netCents": 2})) == [4, [2, "from the step"], [2, "from the step"]]
        (one,) = parents.create_batch([{"params": Charge(netCents=3)}])
        assert result_of(one)[0] == 6


class Response:
    def __init__(self, status_code: int) -> None:
        self.status_code = status_code
        self.connection = threading.Lock()


class HttpError(Exception):
    def __init__(self, response: Response) -> None:
        super().__init__("404 Not Found")
        self.response = response


class ExitingMapping(Mapping[str, Any]):
    def __getitem__(self, name: str) -> Any:
        raise KeyboardInterrupt

    __iter__ = __len__ = __getitem__  # type: ignore[assignment]


class ExitingError(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


def test_what_run_leaves_behind_cannot_end_the_worker(redis: redis_py.Redis, redis_url: str) -> None:
    app = App("rules", retry_delay=0)

    @app.workflow
    class HostileWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> Any:
            if event.payload == "raise":
                raise ExitingError
            return ExitingMapping() if event.payload == "return" else "well"

    with running(app, redis_url) as client:
        handle = client.workflow("hostile-workflow")
        for how in ("raise", "return"):
            ended = handle.create(params=how)
            with pytest.raises(Exception):  # noqa: B017
                result_of(ended)
            assert ended.status().status == "errored"
        assert result_of(handle.create(params="")) == "well"


def test_errors_of_steps_are_caught_as_what_they_were(redis: redis_py.Redis, redis_url: str) -> None:
    app = App("rules", defaults={"retries": {"limit": 0}})

    class Remote(Exception):
        """Not to be found by its name."""

    def get() -> None:
        raise HttpError(Response(404))

    def many() -> None:
        raise ExceptionGroup("many", [ValueError(1), KeyError("k")])

    def remote() -> None:
        raise Remote("why")

    @app.workflow
    class CatchingWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> Any:
            caught: list[Any] = []
            try:
                await step.do("check", lambda: Charge.model_validate({"netCents": "x"}))
            except ValidationError as error:
                caught.append(error.errors()[0]["loc"])
            try:
                await step.do("many", many)
            except* ValueError as group:
                caught.append(group.exceptions[0].args)
            except* KeyError:
                caught.append("key")
            try:
                await step.do("get", get)
            except HttpError as error:
                caught.append(error.response.status_code)
            try:
                await step.do("remote", remote)
            except StepFailed as error:
                caught.append([str(error), error.step, error.attempts, error.instance_id])
            try:
                await step.do("slow", lambda: threading.Event().wait(1), timeout="50 ms")
            except WorkflowTimeoutError as error:
                caught.append(str(error))
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(step.do("remote", remote))
            except* StepFailed as group:
                caught.append(len(group.exceptions))
            return caught

    with running(app, redis_url) as client:
        instance = client.workflow("catching-workflow").create(id="c1")
        assert result_of(instance) == [
            ("netCents",),
            (1,),
            "key",
            404,
            [
                'why (Remote: step "remote", 1 attempt, instance "c1" of workflow "catching-workflow")',
                'step "remote"',
                1,
                "c1",
            ],
            'Execution timed out after 50ms (step "slow", 1 attempt, instance "c1" of workflow "catching-workflow")',
            1,
        ]


def test_the_error_within_a_task_group_is_shown_as_the_instances(redis: redis_py.Redis, redis_url: str) -> None:
    app = App("rules", defaults={"retries": {"limit": 0}})

    class Declined(NonRetryableError):
        pass

    def charge() -> None:
        raise Declined("no money")

    @app.workflow
    class GroupedWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> Any:
            async with asyncio.TaskGroup() as group:
                group.create_task(step.do("charge", charge))
                group.create_task(step.sleep("nap", "1 hour"))

    with running(app, redis_url) as client:
        instance = client.workflow("grouped-workflow").create(id="g1")
        with pytest.raises(ExceptionGroup):
            result_of(instance)
        error = instance.status().error
        (charged, _) = instance.status().steps
    assert error is not None and error.name == "Declined"
    assert error.message.startswith('no money (Declined: step "charge", 1 attempt, instance "g1"')
    assert charged.error is not None and charged.error.name == "Declined"


def test_a_step_nobody_awaited_is_named_in_the_warnings(redis: redis_py.Redis, redis_url: str) -> None:
    app = App("rules")

    @app.workflow
    class ForgetfulWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> str:
            step.do("send mail", lambda: None)
            return "done"

    with running(app, redis_url) as client:
        instance = client.workflow("forgetful-workflow").create()
        assert result_of(instance) == "done"
        (warning,) = instance.status().warnings
    assert '"send mail"' in warning
    assert "Await every step" in warning


def test_the_idempotency_key_is_the_same_in_every_attempt(redis: redis_py.Redis, redis_url: str) -> None:
    app = App("rules", retry_delay=0)
    keys: list[str] = []

    def charge(ctx: Any) -> str:
        keys.append(ctx.idempotency_key)
        if ctx.attempt < 3:
            raise ConnectionError("try again")
        return str(ctx.idempotency_key)

    @app.workflow
    class PayWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> list[str]:
            return [await step.do("charge", charge), await step.do("charge", lambda ctx: ctx.idempotency_key)]

    with running(app, redis_url) as client:
        first, second = result_of(client.workflow("pay-workflow").create())
    assert keys == [first, first, first]
    assert second != first


def test_changed_code_parks_the_instance_and_resume_tries_again(redis: redis_py.Redis, redis_url: str) -> None:
    """A deploy that contradicts a journal stops the instance instead of guessing; a mended one lets it go on."""
    names = ["charge"]

    def app_of_today() -> App:
        app = App("rules")

        @app.workflow
        class OrderWorkflow(WorkflowEntrypoint):
            async def run(self, event: Any, step: Any) -> str:
                await step.do(names[0], lambda: None)
                await step.wait_for_event("wait", type="go")
                return names[0]

        return app

    with running(app_of_today(), redis_url) as client:
        instance = client.workflow("order-workflow").create(id="a")
        wait_for(lambda: instance.status().status == "waiting")
    names[0] = "invoice"
    with running(app_of_today(), redis_url) as client:
        instance = client.workflow("order-workflow").get("a")
        instance.send_event("go")
        wait_for(lambda: instance.status().status == "paused")
        reason = instance.status().reason or ""
        assert '"charge"' in reason
        assert '"invoice"' in reason
        names[0] = "charge"
        instance.resume()
        assert result_of(instance) == "charge"


@pytest.mark.parametrize("stands_behind", ["step", "sleep", "wait", "child"])
def test_code_that_was_cut_short_parks_the_instance_instead_of_ending_it(
    stands_behind: str, redis: redis_py.Redis, redis_url: str
) -> None:
    is_short = [False]
    gate = threading.Event()

    def app_of_today() -> App:
        app = App("rules", retry_delay=0)

        @app.workflow
        class ChildWorkflow(WorkflowEntrypoint):
            async def run(self, event: Any, step: Any) -> None:
                await step.wait_for_event("release", type="go")

        @app.workflow
        class OrderWorkflow(WorkflowEntrypoint):
            async def run(self, event: Any, step: Any) -> str:
                one = step.do("one", lambda: gate.wait(PATIENCE_SECONDS))
                if is_short[0]:
                    await one
                    return "short"
                charged: Any = {
                    "step": lambda: step.do("charge card", lambda: None),
                    "sleep": lambda: step.sleep("charge card", "50 ms"),
                    "wait": lambda: step.wait_for_event("charge card", type="go"),
                    "child": lambda: step.invoke(ChildWorkflow, id="c", name="charge card"),
                }[stands_behind]()
                await asyncio.gather(one, charged)
                return "whole"

        return app

    with running(app_of_today(), redis_url, grace_seconds=0) as client:
        instance = client.workflow("order-workflow").create(id="a")
        wait_for(lambda: len(instance.status().steps) == 2)
        is_short[0] = True  # at the next deploy; what is suspended here goes on as it began
    gate.set()
    with running(app_of_today(), redis_url) as client:
        instance = client.workflow("order-workflow").get("a")
        wait_for(lambda: instance.status().status == "paused")
        assert "charge card" in (instance.status().reason or "")
    is_short[0] = False
    with running(app_of_today(), redis_url) as client:
        instance = client.workflow("order-workflow").get("a")
        instance.resume()
        if stands_behind == "wait":
            instance.send_event("go")
        if stands_behind == "child":
            client.workflow("child-workflow").get("c").send_event("go")
        assert result_of(instance) == "whole"


def test_an_end_is_compared_with_more_than_one_script_may_look_at(redis: redis_py.Redis, redis_url: str) -> None:
    count = limits.SCRIPT_ELEMENTS + 50
    is_short = [False]
    gate = threading.Event()

    def app_of_today() -> App:
        app = App("rules")

        @app.workflow
        class ManyWorkflow(WorkflowEntrypoint):
            async def run(self, event: Any, step: Any) -> str:
                one = step.do("one", lambda: gate.wait(PATIENCE_SECONDS))
                for number in range(1 if is_short[0] else count):
                    step.sleep(f"nap {number}", "1 hour")
                await one
                return "done"

        return app

    with running(app_of_today(), redis_url, grace_seconds=0) as client:
        instance = client.workflow("many-workflow").create(id="a")
        wait_for(lambda: len(instance.status().steps) == count + 1)
    is_short[0] = True
    gate.set()
    with running(app_of_today(), redis_url) as client:
        instance = client.workflow("many-workflow").get("a")
        wait_for(lambda: instance.status().status == "paused")
        reason = instance.status().reason or ""
        assert "has never asked for sleep" in reason and f"and {count - 11} more" in reason
    is_short[0] = False
    with running(app_of_today(), redis_url) as client:
        instance = client.workflow("many-workflow").get("a")
        instance.resume()
        assert result_of(instance) == "done"
        assert "without waiting for" in instance.status().warnings[0]
