"""``step``: what each method accepts, refuses and asks for."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest

from tests.replaying import CREATED_MS, Driver
from workflows import App, Retry, WorkflowEntrypoint
from workflows.authoring.env import LazyEnv
from workflows.authoring.retries import StepConfig
from workflows.errors import (
    BadDuration,
    BadName,
    BadParams,
    BadStepConfig,
    ConfigError,
    NonRetryableError,
    UnknownQueue,
    UnknownWorkflow,
)
from workflows.replay.replay import Delta
from workflows.values.codec import InstanceRef


def only(ask: Any, **options: Any) -> Driver:
    """A workflow that does one thing."""

    async def run(self: Any, event: Any, step: Any) -> Any:
        return await ask(step)

    return Driver(run, **options).start()


def command_of(ask: Any, **options: Any) -> Any:
    driver = only(ask, **options)
    if driver.replay.end is not None:
        _ = driver.result
    return driver.replay.command(1)


# do


def test_do_uses_the_defaults_of_the_app() -> None:
    defaults = StepConfig(Retry(limit=1), timeout_ms=5)
    assert command_of(lambda step: step.do("a", lambda: 1), defaults=defaults).config is defaults


@pytest.mark.parametrize(
    "ask",
    [
        lambda step: step.do("a", {"retries": {"limit": 9}, "timeout": "3s"}, lambda: 1),
        lambda step: step.do("a", lambda: 1, config={"retries": {"limit": 9}, "timeout": "3s"}),
        lambda step: step.do("a", lambda: 1, retries=Retry(limit=9), timeout=3000),
        lambda step: step.do("a", {"retries": {"limit": 9}}, lambda: 1, timeout=timedelta(seconds=3)),
        lambda step: step.do("a", config={"retries": {"limit": 9}, "timeout": "3s"})(lambda: 1)(),
        lambda step: step.do("a", retries={"limit": 9}, timeout="3s")(lambda: 1)(),
    ],
)
def test_do_takes_its_config_in_every_form(ask: Any) -> None:
    config = command_of(ask).config
    assert (config.retries.limit, config.timeout_ms) == (9, 3000)


@pytest.mark.parametrize(
    "ask",
    [
        lambda step: step.do("a", {"sensitive": "output"}, lambda: 1),
        lambda step: step.do("a", lambda: 1, sensitive="output"),
        lambda step: step.do("a", sensitive="output")(lambda: 1)(),
        lambda step: step.map("a", [1], lambda item: item, sensitive="output"),
    ],
)
def test_a_result_is_made_sensitive_in_every_form(ask: Any) -> None:
    config = command_of(ask).config
    assert config.as_dict()["sensitive"] == "output"
    assert config == StepConfig(sensitive=True)


def test_a_poll_is_a_step_that_looks_again() -> None:
    command = command_of(lambda step: step.poll("a", lambda: 1, every="30 s", timeout="1h", retries={"limit": 2}))
    assert (command.kind, command.config.every_ms, command.config.patience_ms) == ("do", 30_000, 3_600_000)
    assert command.config.retries.limit == 2
    assert command.config.as_dict()["poll"] == {"every": 30_000, "timeout": 3_600_000}


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda step: step.poll("a", None, every=1), BadStepConfig),
        (lambda step: step.poll("a", lambda: 1, every=0), BadDuration),
        (lambda step: step.poll("a", lambda: 1, every="often"), BadDuration),
        (lambda step: step.poll("a", lambda: 1, every=1, timeout=0), BadDuration),
        (lambda step: step.poll("a", lambda: 1, 2, every=1), BadStepConfig),
        (lambda step: step.poll("a", lambda: 1, every=1, queue="none"), UnknownQueue),
    ],
)
def test_a_poll_refuses_what_it_cannot_use(ask: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        command_of(ask, app=App("a"))


def test_do_takes_an_absent_config() -> None:
    assert command_of(lambda step: step.do("a", None, lambda: 1)).name == "a"


def test_do_passes_arguments_on() -> None:
    def add(a: int, b: int, *, c: int) -> int:
        return a + b + c

    assert only(lambda step: step.do("a", add, 1, 2, c=3)).perform("a").result == 6


@pytest.mark.parametrize(
    "ask",
    [
        lambda step: step.do("a"),
        lambda step: step.do("a", None),
        lambda step: step.do("a", 42),
        lambda step: step.do("a", {"timeout": 1}),
        lambda step: step.do("a", {"timeout": 1}, "text"),
    ],
)
def test_do_without_a_callback_has_the_models_text(ask: Any) -> None:
    with pytest.raises(BadStepConfig, match=r'^Step "a" requires a callback function$'):
        command_of(ask)


class Mailer:
    def send(self, to: str, *, copy: bool = False) -> str:
        return to

    def __call__(self, to: str) -> str:
        return to

    @classmethod
    def of_class(cls, to: str) -> str:
        return to


def mail(to: str) -> str:
    return to


def mail_with_ctx(ctx: Any, to: str, *, copy: bool = False) -> str:
    return to


async def in_async(to: str) -> str:
    return to


def traced(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def with_session(function: Any) -> Any:
    """Supplies an argument that the function's own signature asks for."""

    @functools.wraps(function)
    def wrapper(to: str) -> Any:
        return function("a session", to)

    return wrapper


@with_session
def injected(session: str, to: str) -> str:
    return f"{session} for {to}"


def collecting(**given: Any) -> Any:
    return sorted(given)


@pytest.mark.parametrize(
    "callback",
    [
        mail,
        in_async,
        mail_with_ctx,
        lambda to: to,
        Mailer().send,
        Mailer(),
        Mailer.of_class,
        functools.partial(mail),
        functools.partial(mail_with_ctx, copy=True),
        functools.partial(functools.partial(Mailer().send), copy=True),
        traced(mail),
        injected,
    ],
)
def test_a_misspelt_option_is_found_at_the_call(callback: Any) -> None:
    with pytest.raises(BadStepConfig, match=r'^Step "a" cannot call .*timout.*Did you mean timeout=\?'):
        command_of(lambda step: step.do("a", callback, "x", timout="5 s"))


@pytest.mark.parametrize(
    ("callback", "args", "kwargs"),
    [
        (mail, (), {}),
        (mail, ("x", "y"), {}),
        (mail, ("x",), {"to": "x"}),
        (mail_with_ctx, (), {}),
        (mail_with_ctx, ("x", "y", "z"), {}),
        (Mailer().send, ("x", True), {}),
        (functools.partial(mail, "x"), ("y",), {}),
        (lambda: 1, (1,), {}),
        (dict.fromkeys, (), {}),
        (str.upper, (), {"retry": 1}),
    ],
)
def test_arguments_that_the_callback_does_not_take_are_found_at_the_call(callback: Any, args: Any, kwargs: Any) -> None:
    with pytest.raises(BadStepConfig, match=r'^Step "a" cannot call '):
        command_of(lambda step: step.do("a", callback, *args, **kwargs))


@pytest.mark.parametrize(
    ("callback", "args", "kwargs"),
    [
        (mail, ("x",), {}),
        (mail, (), {"to": "x"}),
        (mail_with_ctx, ("x",), {"copy": True}),
        (mail_with_ctx, (), {"to": "x"}),
        (mail_with_ctx, ("a ctx of ours", "x"), {}),
        (lambda to, ctx: to, ("x",), {}),
        (lambda *args, ctx=None, **kwargs: args, (1, 2, 3), {"timout": 1}),
        (lambda to, /, **more: to, ("x",), {"to": 1}),
        (collecting, (), {"timout": 1}),
        (functools.partial(mail, to="y"), (), {"to": "x"}),
        (functools.partial(mail, to="y"), (), {}),
        (injected, ("x",), {}),
        (traced(mail_with_ctx), ("x",), {}),
        (traced(collecting), (), {"timout": 1}),
        (Mailer, (), {}),
        (print, ("x",), {"sep": ""}),
        (max, (1, 2), {}),
        (dict, (), {"timout": 1}),
        (int, ("5",), {}),
        ({"a": 1}.get, ("a", 2), {}),
        (Mock(), (1,), {"timout": 1}),
    ],
)
def test_arguments_that_fit_are_left_alone(callback: Any, args: Any, kwargs: Any) -> None:
    assert command_of(lambda step: step.do("a", callback, *args, **kwargs)).name == "a"


@pytest.mark.parametrize(
    "decorate",
    [
        lambda step: step.do("a", timout="5 s"),
        lambda step: step.do("a", {"timeout": 1}, timout="5 s"),
        lambda step: step.do(timout="5 s"),
        lambda step: step.do(mail, timout="5 s"),
    ],
)
def test_a_misspelt_option_of_a_decorated_step_is_found_at_the_call(decorate: Any) -> None:
    with pytest.raises(BadStepConfig, match=r"the unknown option timout=\. Did you mean timeout=\?"):
        command_of(decorate)


def test_a_result_that_could_not_come_back_is_refused_at_the_call() -> None:
    @dataclasses.dataclass
    class Seeded:
        x: int
        seed: dataclasses.InitVar[int]

    def make() -> Seeded:
        return Seeded(1, 2)

    with pytest.raises(ConfigError, match=r'Step "a" returns .*Seeded, which cannot be made again .*"seed"'):
        command_of(lambda step: step.do("a", make))


def test_do_refuses_a_config_given_twice() -> None:
    with pytest.raises(BadStepConfig, match="twice"):
        command_of(lambda step: step.do("a", {"timeout": 1}, lambda: 1, config={"timeout": 2}))


def test_do_refuses_an_unknown_setting_and_the_run_can_go_on() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        try:
            await step.do("a", {"retry": 1}, lambda: 1)
        except BadStepConfig:
            return await step.do("b", lambda: 2)

    driver = Driver(run).start()
    assert driver.replay.command(1).name == "b"
    assert driver.perform("b").result == 2


@pytest.mark.parametrize("name", ["", "x" * 257, "a\nb", 5])
def test_names_are_checked(name: Any) -> None:
    for ask in (
        lambda step: step.do(name, lambda: 1),
        lambda step: step.sleep(name, 1),
        lambda step: step.wait_for_event(name, type="go"),
    ):
        with pytest.raises(BadName):
            command_of(ask)


def test_a_queue_the_app_does_not_have_is_refused() -> None:
    app = App("media", queues=("default", "gpu"))
    assert command_of(lambda step: step.do("a", lambda: 1, queue="gpu"), app=app).queue == "gpu"
    with pytest.raises(UnknownQueue, match="default, gpu"):
        command_of(lambda step: step.do("a", lambda: 1, queue="tpu"), app=app)


def test_steps_are_asked_for_at_the_call_not_at_the_await() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        second, first = step.do("second", lambda: 1), step.do("first", lambda: 1)
        await first
        await second

    assert Driver(run).start().pending == ["do second", "do first"]


def test_step_inside_a_step_is_refused() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        return await step.do("outer", lambda: step.do("inner", lambda: 1))

    driver = Driver(run).start()
    callback = driver.replay.callback(1)
    assert callback is not None
    with pytest.raises(NonRetryableError, match=r'"inner".*cannot be nested'):
        callback.call(None)


def test_step_on_another_thread_is_refused() -> None:
    steps: list[Any] = []

    async def run(self: Any, event: Any, step: Any) -> Any:
        steps.append(step)
        await step.do("a", lambda: 1)

    driver = Driver(run).start()
    errors: list[BaseException] = []

    def elsewhere() -> None:
        try:
            steps[0].sleep("b", 1)
        except NonRetryableError as error:
            errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(errors) == 1 and driver.pending == ["do a"]


# ctx


def with_ctx(ctx: Any, order: int) -> Any:
    return ctx, order


def ctx_last(order: int, ctx: Any = None) -> Any:
    return ctx, order


def ctx_only_by_name(order: int, *, ctx: Any) -> Any:
    return ctx, order


class Callable_:
    def __call__(self, order: int, ctx: Any) -> Any:
        return ctx, order


class Holder:
    def method(self, order: int, ctx: Any) -> Any:
        return ctx, order


@functools.wraps(with_ctx)
def wrapped(*args: Any, **kwargs: Any) -> Any:
    return with_ctx(*args, **kwargs)


@pytest.mark.parametrize(
    "function",
    [
        with_ctx,
        wrapped,
        ctx_last,
        ctx_only_by_name,
        Callable_(),
        Holder().method,
        functools.partial(with_ctx),
        lambda order, ctx: (ctx, order),
    ],
)
def test_ctx_is_given_by_name_wherever_it_stands(function: Any) -> None:
    driver = only(lambda step: step.do("a", function, 7))
    callback = driver.replay.callback(1)
    assert callback is not None
    assert callback.wants_ctx
    assert callback.call("the context") == ("the context", 7)


@pytest.mark.parametrize(
    "callback",
    [
        lambda step: step.do("a", with_ctx, "mine", 7),
        lambda step: step.do("a", functools.partial(ctx_only_by_name, ctx="mine"), 7),
        lambda step: step.do("a", ctx_last, 7, ctx="mine"),
    ],
)
def test_ctx_that_the_caller_fills_is_left_alone(callback: Any) -> None:
    prepared = only(callback).replay.callback(1)
    assert prepared is not None
    assert not prepared.wants_ctx
    assert prepared.call("the context") == ("mine", 7)


def test_callbacks_without_ctx_get_none() -> None:
    for function in (dict, lambda **options: options, lambda *things: things, max):
        prepared = only(lambda step, function=function: step.do("a", function)).replay.callback(1)  # type: ignore[misc]
        assert prepared is not None and not prepared.wants_ctx


def test_async_callbacks_are_recognised() -> None:
    async def plain() -> None: ...

    class Asynchronous:
        async def __call__(self) -> None: ...

        async def method(self) -> None: ...

    def is_async(function: Any, *args: Any) -> bool:
        prepared = only(lambda step: step.do("a", function, *args)).replay.callback(1)
        assert prepared is not None
        return prepared.is_async

    assert all(map(is_async, [plain, Asynchronous(), Asynchronous().method, functools.partial(plain)]))
    assert not any(map(is_async, [print, lambda: plain()]))
    assert not is_async(with_ctx, 1) and not is_async(Callable_(), 1)


# The decorator form


def test_decorated_step_runs_when_called_and_is_named_after_its_function() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        @step.do
        def fetch() -> str:
            return "data"

        @step.do()
        async def never_called() -> None: ...

        return await fetch()

    driver = Driver(run).start()
    assert driver.pending == ["do fetch"]
    assert driver.perform("fetch").result == "data"


def test_dependencies_are_injected_by_name_once_each() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        @step.do("load user")
        def user() -> str:
            return "Ann"

        @step.do("greeting")
        def greeting(user: str) -> str:
            return f"Hello {user}"

        @step.do("farewell")
        def farewell(ctx: Any, user: str, greeting: str, mark: str = "!") -> str:
            return f"{greeting}, bye {user}{mark} {ctx}"

        return await farewell()

    driver = Driver(run).start()
    assert driver.pending == ["do load user"]
    driver.perform("load user")
    assert driver.pending == ["do greeting"]
    driver.perform("greeting")
    callback = driver.replay.callback(driver.named("farewell").seq)
    assert callback is not None
    assert callback.call("CTX") == "Hello Ann, bye Ann! CTX"


def test_depends_gives_results_one_by_one_whatever_parameters_are_named() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        @step.do("first")
        def first() -> str:
            return "a"

        @step.do("second")
        def second() -> str:
            return "b"

        @step.do("both", depends=[second, first])
        def both(one: str, ctx: Any, other: str) -> str:
            return f"{one}{other}{ctx}"

        return await both()

    driver = Driver(run).start()
    driver.perform("second")
    driver.perform("first")
    callback = driver.replay.callback(driver.named("both").seq)
    assert callback is not None
    assert callback.call("!") == "ba!"


@pytest.mark.parametrize("depends", [[], ["load"], ["load", "load"]])
def test_depends_names_one_decorated_step_for_each_parameter(depends: list[str]) -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        @step.do("show", depends=depends)
        def show(loaded: str) -> None: ...

        await show()

    with pytest.raises(TypeError, match=rf'"show" depends on {len(depends)} and takes 1 beside ctx'):
        _ = Driver(run).start().result


def test_concurrent_dependencies_start_together() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        @step.do
        def left() -> int:
            return 1

        @step.do
        def right() -> int:
            return 2

        @step.do("sum", concurrent=True)
        def total(left: int, right: int) -> int:
            return left + right

        return await total()

    driver = Driver(run).start()
    assert driver.pending == ["do left", "do right"]
    assert driver.finish() == 3


def test_a_dependency_under_way_is_shared_and_a_failed_one_tried_again() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        @step.do
        def base() -> int:
            return 1

        @step.do
        def one(base: int) -> int:
            return base + 1

        @step.do
        def two(base: int) -> int:
            return base + 2

        results = await asyncio.gather(one(), two(), return_exceptions=True)
        return [str(result) for result in results], await one()

    driver = Driver(run).start()
    assert driver.pending == ["do base"]
    driver.settle("base", error=ValueError("down"))
    assert driver.pending == ["do base"]
    assert driver.finish() == (["down", "down"], 2)


def test_calling_a_decorated_step_again_runs_it_again() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        @step.do
        def tick() -> int:
            return 1

        return await tick() + await tick()

    driver = Driver(run).start()
    first = driver.named("tick")
    driver.perform("tick")
    assert (first.count, driver.named("tick").count) == (1, 2)


def test_unexpected_parameter_is_a_type_error() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        @step.do("a")
        def a(whatever: int) -> None: ...

        await a()

    with pytest.raises(TypeError, match="Received unexpected parameter whatever"):
        _ = Driver(run).start().result


# Sleeps


@pytest.mark.parametrize(
    ("duration", "ms"), [("7 days", 604_800_000), ("24h", 86_400_000), (1500, 1500), (timedelta(seconds=1), 1000)]
)
def test_sleep_takes_every_form_of_duration(duration: Any, ms: int) -> None:
    assert command_of(lambda step: step.sleep("s", duration)).duration_ms == ms


@pytest.mark.parametrize("duration", [-1, "soon", "400 days", None])
def test_sleep_refuses_what_is_no_duration(duration: Any) -> None:
    with pytest.raises(BadDuration, match='sleep "s"'):
        command_of(lambda step: step.sleep("s", duration))


@pytest.mark.parametrize("moment", [datetime(2020, 1, 1, tzinfo=UTC), 1_577_836_800_000, 1_577_836_800_000.0])
def test_sleep_until_takes_moments_and_the_past_too(moment: Any) -> None:
    assert command_of(lambda step: step.sleep_until("s", moment)).until_ms == 1_577_836_800_000
    assert command_of(lambda step: step.sleepUntil("s", moment)).until_ms == 1_577_836_800_000


@pytest.mark.parametrize(
    "moment", [datetime(2027, 1, 1), "2027-01-01", True, float("nan"), CREATED_MS + 366 * 86_400_000]
)
def test_sleep_until_refuses_what_is_no_moment(moment: Any) -> None:
    with pytest.raises(BadDuration, match='sleep_until "s"'):
        command_of(lambda step: step.sleep_until("s", moment))


# Waits


@pytest.mark.parametrize(
    "ask",
    [
        lambda step: step.wait_for_event("w", type="approved", timeout="1h"),
        lambda step: step.wait_for_event("w", "approved", timeout="1h"),
        lambda step: step.wait_for_event("w", "approved", "1h"),
        lambda step: step.wait_for_event("w", event="approved", timeout="1h"),
        lambda step: step.wait_for_event("w", {"type": "approved", "timeout": "1h"}),
        lambda step: step.waitForEvent("w", {"event": "approved", "timeout": "1h"}),
        lambda step: step.wait_for_event("w", {"type": "approved"}, type="approved", timeout="1h"),
    ],
)
def test_wait_takes_its_type_in_every_form(ask: Any) -> None:
    wait = command_of(ask)
    assert (wait.types, wait.timeout_ms) == (("approved",), 3_600_000)


def test_wait_for_any_takes_several_types_in_their_order() -> None:
    wait = command_of(lambda step: step.wait_for_any("w", ["paid", "cancelled"], timeout="1h"))
    assert (wait.types, wait.timeout_ms) == (("paid", "cancelled"), 3_600_000)


def test_wait_times_out_after_a_day_by_default() -> None:
    assert command_of(lambda step: step.wait_for_event("w", type="x")).timeout_ms == 86_400_000


@pytest.mark.parametrize(
    "ask",
    [
        lambda step: step.wait_for_event("w", type="a", sensitive="output"),
        lambda step: step.wait_for_event("w", {"type": "a", "sensitive": "output"}),
        lambda step: step.wait_for_any("w", ["a", "b"], sensitive="output"),
        lambda step: step.wait_for_event("w", type="a", token=True, heartbeat_timeout="1m", sensitive="output"),
    ],
)
def test_a_wait_may_be_sensitive(ask: Any) -> None:
    assert command_of(ask).sensitive


def test_a_wait_is_not_sensitive_by_itself() -> None:
    assert not command_of(lambda step: step.wait_for_event("w", type="a")).sensitive


@pytest.mark.parametrize(
    ("ask", "error", "text"),
    [
        (lambda step: step.wait_for_event("w"), BadStepConfig, "needs the type"),
        (lambda step: step.wait_for_event("w", type="a", event="b"), BadStepConfig, "different types"),
        (lambda step: step.wait_for_event("w", {"type": "a"}, event="b"), BadStepConfig, "different types"),
        (lambda step: step.wait_for_event("w", {"typ": "a"}), BadStepConfig, "does not know typ"),
        (lambda step: step.wait_for_event("w", type="a.b"), BadName, "invalid_event_type"),
        (lambda step: step.wait_for_event("w", type="a", timeout=5), BadDuration, "too short"),
        (lambda step: step.wait_for_event("w", type="a", timeout="2 years"), BadDuration, "too long"),
        (lambda step: step.wait_for_any("w", "paid"), BadStepConfig, "needs a list"),
        (lambda step: step.wait_for_any("w", []), BadStepConfig, "takes 1 to 20 types, each once"),
        (lambda step: step.wait_for_any("w", ["a", "a"]), BadStepConfig, "takes 1 to 20 types, each once"),
        (lambda step: step.wait_for_any("w", [f"t{n}" for n in range(21)]), BadStepConfig, "takes 1 to 20"),
        (lambda step: step.wait_for_any("w", ["a", "a|b"]), BadName, "invalid_event_type"),
        (lambda step: step.wait_for_any("w", ["a"], timeout=5), BadDuration, "too short"),
        (lambda step: step.wait_for_event("w", type="a", timeout=0), BadDuration, "too short"),
        (lambda step: step.wait_for_any("w", ["a"], key=""), BadName, "The key of an event"),
        (lambda step: step.wait_for_event("w", type="a", key=True), BadName, "The key of an event"),
        (lambda step: step.wait_for_event("w", type="a", key="k", token=True), BadStepConfig, "by its token, or"),
        (lambda step: step.wait_for_event("w", type="a", heartbeat_timeout=2000), BadStepConfig, "without token=True"),
        (lambda step: step.wait_for_event("w", type="a", token=True, heartbeat_timeout=5), BadDuration, "too short"),
        (
            lambda step: step.wait_for_event("w", type="a", sensitive="input"),
            BadStepConfig,
            "sensitive is 'input'. Use",
        ),
        (
            lambda step: step.wait_for_any("w", ["a"], sensitive=True),
            BadStepConfig,
            'wait_for_any "w": sensitive is True',
        ),
        (lambda step: step.wait_for_event("w", type="a").token, ConfigError, "token=True"),
        (lambda step: step.do("w", print).token, ConfigError, "token=True"),
    ],
)
def test_wait_refuses_what_it_cannot_read(ask: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        command_of(ask)


# Children


def media() -> App:
    app = App("media")

    @app.workflow
    class ChildWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> None: ...

    return app


def test_invoke_finds_the_workflow_by_class_name_and_binding() -> None:
    app = media()
    child_class = app.definition("child-workflow").workflow_class

    async def run(self: Any, event: Any, step: Any) -> None:
        step.invoke(child_class)
        step.invoke("child-workflow", name="by name")
        await step.invoke(self.env.CHILD_WORKFLOW)

    replay = Driver(run, app=app).start().replay
    commands: list[Any] = [replay.command(seq) for seq in (1, 2, 3)]
    assert {command.workflow for command in commands} == {"child-workflow"}
    assert [(command.name, command.count) for command in commands] == [
        ("child-workflow", 1),
        ("by name", 1),
        ("child-workflow", 2),
    ]


def test_invoke_checks_names_ids_and_params() -> None:
    with pytest.raises(UnknownWorkflow, match='Did you mean "child-workflow"'):
        command_of(lambda step: step.invoke("child-worklow"), app=media())
    with pytest.raises(BadName, match="invalid id"):
        command_of(lambda step: step.invoke("child-workflow", id="a b"), app=media())
    app = App("typed")

    @app.workflow
    class Typed(WorkflowEntrypoint):
        async def run(self, event: WorkflowEventOfInts, step: Any) -> None: ...

    with pytest.raises(BadParams, match="n"):
        command_of(lambda step: step.invoke("typed", {"n": "x"}), app=app)


@pytest.mark.parametrize("policy", ["terminate", "cancel"])
def test_invoke_says_what_becomes_of_the_child(policy: Any) -> None:
    assert command_of(lambda step: step.invoke("child-workflow", on_parent_end=policy), app=media()).policy == policy
    assert command_of(lambda step: step.invoke("child-workflow", on_parent_end="abandon"), app=media()).policy == ""


def test_invoke_refuses_an_end_that_it_does_not_know() -> None:
    with pytest.raises(ConfigError, match="on_parent_end is 'destroy'; there are: abandon, terminate, cancel"):
        command_of(lambda step: step.invoke("child-workflow", on_parent_end="destroy"), app=media())


@pytest.mark.parametrize("instance", [InstanceRef("flow", "one"), {"workflow": "flow", "id": "one"}])
def test_wait_for_child_takes_references(instance: Any) -> None:
    child = command_of(lambda step: step.wait_for_child("w", instance))
    assert (child.workflow, child.id, child.join) == ("flow", "one", True)


def test_wait_for_child_refuses_anything_else() -> None:
    with pytest.raises(ConfigError, match="what create"):
        command_of(lambda step: step.wait_for_child("w", "one"))


# race and map


def test_race_returns_the_first_and_withdraws_the_rest() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        async def slow() -> str:
            await step.sleep("slow", "1h")
            return "slow"

        return await step.race(step.do("a", lambda: 1), slow(), step.wait_for_event("c", type="c"))

    driver = Driver(run).start()
    assert driver.turn() == Delta((1, 2, 3), ())
    assert driver.settle("slow").result == "slow"
    assert driver.turn() == Delta((), (1, 2))


def test_race_raises_what_the_first_raised() -> None:
    driver = only(lambda step: step.race(step.do("a", lambda: 1), step.do("b", lambda: 1)))
    with pytest.raises(ValueError, match="b failed"):
        _ = driver.settle("b", error=ValueError("b failed")).result


def test_race_needs_something() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        command_of(lambda step: step.race())


def test_cancelled_race_withdraws_everything() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        race = step.race(step.do("a", lambda: 1), step.do("b", lambda: 1))
        await step.do("c", lambda: 1)
        race.cancel()
        await step.do("d", lambda: 1)

    assert Driver(run).start().settle("c").pending == ["do d"]


def test_map_runs_all_and_keeps_the_order() -> None:
    driver = only(lambda step: step.map("double", [1, 2, 3], lambda item: item * 2))
    assert driver.pending == ["do double 0", "do double 1", "do double 2"]
    for name in ("double 2", "double 0", "double 1"):
        driver.perform(name)
    assert driver.result == [2, 4, 6]


def test_map_with_concurrency_starts_the_next_when_one_ends() -> None:
    driver = only(lambda step: step.map("d", range(4), lambda item: item * 2, concurrency=2))
    assert driver.pending == ["do d 0", "do d 1"]
    driver.perform("d 1")
    assert driver.pending == ["do d 0", "do d 2"]
    assert driver.finish() == [0, 2, 4, 6]


def test_map_cancels_the_rest_when_one_fails() -> None:
    async def run(self: Any, event: Any, step: Any) -> Any:
        try:
            await step.map("d", range(4), lambda item: item, concurrency=2)
        except ValueError:
            await step.do("after", lambda: 1)

    driver = Driver(run).start().settle("d 0", error=ValueError("no"))
    assert driver.pending == ["do after"]


def test_map_over_nothing_is_empty() -> None:
    assert only(lambda step: step.map("d", [], print)).result == []


def test_map_names_steps_by_their_items() -> None:
    driver = only(lambda step: step.map("charge", ["a", "b"], str.upper, item_name=lambda item: f"order {item}"))
    assert driver.pending == ["do charge order a", "do charge order b"]


def test_map_gives_each_step_its_handler() -> None:
    driver = only(lambda step: step.map("d", [1, 2], str, rollback=lambda output: None, rollback_config={}))
    assert [driver.replay.command(seq).rollback is not None for seq in (1, 2)] == [True, True]


def test_binding_reference_as_callback_runs_outside() -> None:
    class Bucket:
        def get(self, key: str) -> str:
            return f"got {key}"

    async def run(self: Any, event: Any, step: Any) -> Any:
        return await step.do("get", self.env.BUCKET.get, "k")

    assert Driver(run, env={"BUCKET": Bucket()}).start().perform("get").result == "got k"
    assert isinstance(Driver(run).env, LazyEnv)


from pydantic import BaseModel  # noqa: E402  # only for the model below

from workflows import WorkflowEvent  # noqa: E402


class Numbers(BaseModel):
    n: int


WorkflowEventOfInts = WorkflowEvent[Numbers]
