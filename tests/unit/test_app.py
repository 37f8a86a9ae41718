"""The app: what a declaration makes of itself, and how wrong ones are refused."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import workflows
from tests.replaying import Driver
from workflows import App, CronSchedule, WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from workflows.authoring.env import LazyEnv
from workflows.authoring.event import Schedule, ScheduledTime
from workflows.errors import (
    BadDuration,
    BadName,
    BadParams,
    BadSchedule,
    BadStepConfig,
    ConfigError,
    UnknownQueue,
    UnknownWorkflow,
)
from workflows.process.load import load_app
from workflows.storage.manifest import read_manifest
from workflows.values import codec


class Params(BaseModel):
    email: str
    age: int = 3


class Lifecycle(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent[Params], step: WorkflowStep) -> Any:
        return event.payload.email


class Plain(WorkflowEntrypoint):
    async def run(self, event, step):  # type: ignore[no-untyped-def]  # as people write it
        return 1


# Workflows


def test_every_public_name_can_be_imported() -> None:
    assert [name for name in workflows.__all__ if not hasattr(workflows, name)] == []


def test_bare_decorator_names_the_workflow_after_its_class() -> None:
    app = App("media")

    @app.workflow
    class ApprovalWorkflow(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> None: ...

    definition = app.definition("approval-workflow")
    assert definition.workflow_class is ApprovalWorkflow
    assert (definition.binding, definition.queue, definition.step_limit) == ("APPROVAL_WORKFLOW", "default", 10_000)
    assert app.workflow_bindings == {"APPROVAL_WORKFLOW": "approval-workflow"}


def test_every_setting_of_a_workflow_is_kept() -> None:
    app = App("media", queues=("default", "gpu"))
    app.workflow(
        name="n",
        binding="B",
        schedules=["0 9 * * MON-FRI", "*/5  * * * *"],
        retention={"success": "1 day", "error": "2 days"},
        limits={"steps": 7},
        queue="gpu",
    )(Plain)
    definition = app.definition("n")
    assert [schedule.cron for schedule in definition.schedules] == ["0 9 * * MON-FRI", "*/5 * * * *"]
    assert (definition.retention_success_ms, definition.retention_error_ms) == (86_400_000, 172_800_000)
    assert (definition.step_limit, definition.queue) == (7, "gpu")


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"name": "a b"}, BadName, "name is invalid"),
        ({"binding": "no-python"}, BadName, "not a name in Python"),
        ({"name": "9lives"}, BadName, "not a name in Python"),
        ({"schedules": "0 9 * *"}, BadSchedule, "4 fields"),
        ({"schedules": "99 9 * * *"}, BadSchedule, "out of range"),
        ({"schedules": "0 0 31 2 *"}, BadSchedule, "cannot be read"),
        ({"schedules": "@daily"}, BadSchedule, "1 fields"),
        ({"schedules": "H 9 * * *"}, BadSchedule, "other characters"),
        ({"schedules": ""}, BadSchedule, "empty"),
        ({"schedules": []}, BadSchedule, "empty list"),
        ({"schedules": ["0 9 * * *", "0  9 * * *"]}, BadSchedule, "twice"),
        ({"schedules": "0 " + "1," * 200 + "1 * * *"}, BadSchedule, "characters"),
        ({"retention": "soon"}, BadDuration, "retention"),
        ({"retention": {"failure": 1}}, ConfigError, "success"),
        ({"limits": {"step": 1}}, ConfigError, "steps"),
        ({"limits": {"steps": 25_001}}, ConfigError, "25000"),
        ({"queue": "gpu"}, UnknownQueue, "Its queues are: default"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        App("media").workflow(**options)(Plain)


def test_an_option_that_there_is_not_is_named_and_one_of_steps_has_a_place_to_stand() -> None:
    retries: dict[str, Any] = {"retries": {"limit": 0}}
    for where, make in (
        ("App()", lambda **options: App("media", **options)),
        ("@app.workflow()", App("media").workflow),
    ):
        with pytest.raises(ConfigError) as raised:
            make(**retries)
        hint = 'Write App(defaults={"retries": …}) for all steps, step.do(…, retries=…) for one.'
        assert str(raised.value) == f"{where} takes no retries=. {hint}"
        with pytest.raises(ConfigError) as raised:
            make(colour="red")
        assert str(raised.value) == f"{where} takes no colour=."


def test_names_and_bindings_are_unique() -> None:
    app = App("media")
    app.workflow(Plain)
    with pytest.raises(ConfigError, match='has a workflow "plain" already'):
        app.workflow(Plain)
    with pytest.raises(ConfigError, match="both be self.env.PLAIN"):
        app.workflow(name="other", binding="PLAIN")(Plain)


def wrong_classes() -> Iterator[tuple[Any, str]]:
    class NoRun(WorkflowEntrypoint): ...

    class NotAsync(WorkflowEntrypoint):
        def run(self, event: Any, step: Any) -> Any: ...

    class TooFew(WorkflowEntrypoint):
        async def run(self, event: Any) -> Any: ...  # type: ignore[override]

    yield NoRun, "has no run"
    yield NotAsync, "is not async"
    yield TooFew, "cannot take an event and a step"
    yield int, "subclass of WorkflowEntrypoint"
    yield test_names_and_bindings_are_unique, "subclass of WorkflowEntrypoint"


@pytest.mark.parametrize(("wrong", "text"), list(wrong_classes()))
def test_classes_that_are_no_workflows_are_refused(wrong: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        App("media").workflow(wrong)


def test_unknown_workflow_names_the_known_and_the_closest() -> None:
    app = App("media")
    app.workflow(Plain)
    app.workflow(Lifecycle)
    with pytest.raises(UnknownWorkflow, match=r'no workflow "plan"\. Did you mean "plain"\? .* plain, lifecycle'):
        app.definition("plan")


def test_findings_of_the_linter_are_kept() -> None:
    app = App("media")

    @app.workflow
    class Hasty(WorkflowEntrypoint):
        async def run(self, event: Any, step: Any) -> None:
            step.do("forgotten", lambda: 1)

    assert [finding.rule for finding in app.findings] == ["dangling"]


# The app itself


@pytest.mark.parametrize("name", ["media", "a.b-c_1", "9"])
def test_names_of_apps(name: str) -> None:
    assert App(name).name == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a{b}", "a/b", "a\n", "x" * 65, None])
def test_wrong_names_of_apps_are_refused(name: Any) -> None:
    with pytest.raises(BadName, match="namespace"):
        App(name)


def test_queues_and_defaults_are_checked() -> None:
    assert App("a", queues="gpu").queues == ("gpu",)
    for queues in ((), ("a", "a"), ("a b",), ("a.b",)):
        with pytest.raises((BadName, ConfigError)):
            App("a", queues=queues)
    app = App("a", defaults={"timeout": "1m", "retries": {"limit": 2}}, retry_delay="5ms")
    assert (app.defaults.timeout_ms, app.defaults.retries.limit, app.defaults.retries.delay) == (60_000, 2, "5ms")
    with pytest.raises(BadStepConfig):
        App("a", defaults={"timeouts": 1})
    with pytest.raises(BadDuration):
        App("a", retry_delay="soon")


def test_producers_are_checked() -> None:
    assert App("a", producers="shop").producers == ("shop",)
    assert App("a").manifest()["producers"] == []
    for producers in (("a", "a"), ("a:b",), ("",), ("x" * 49,), [f"p{n}" for n in range(101)]):
        with pytest.raises((BadName, ConfigError)):
            App("a", producers=producers)


@pytest.mark.parametrize("notifications", [False, True])
def test_an_app_says_whether_its_instances_are_told_of_and_so_does_its_manifest(notifications: bool) -> None:
    app = App("shop", notifications=notifications, version="v7")
    app.workflow(Plain)
    published = read_manifest({b"shop": json.dumps(app.manifest()).encode()}).workflow("plain")
    assert published.told_version == app.definition("plain").told_version == ("v7" if notifications else "")


def test_manifest_is_json_and_complete() -> None:
    app = App("media", version="v7", producers=("shop", "warehouse"))
    app.workflow(schedules="0 9 * * *")(Lifecycle)
    app.cron("* * * * *", name="c")(lambda event, env: None)
    manifest = json.loads(json.dumps(app.manifest()))
    assert manifest["app"] == "media" and manifest["code"] == "v7" and manifest["queues"] == ["default"]
    assert manifest["producers"] == ["shop", "warehouse"]
    lifecycle = manifest["workflows"]["lifecycle"]
    assert lifecycle["schedules"] == ["0 9 * * *"]
    assert lifecycle["binding"] == "LIFECYCLE" and lifecycle["queue"] == "default"
    assert lifecycle["retention"] == {"success_ms": 604_800_000, "error_ms": 604_800_000}
    assert lifecycle["limits"] == {"steps": 10_000}
    assert lifecycle["params_schema"]["required"] == ["email"]


def test_version_follows_the_source_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App("media")
    app.workflow(Plain)
    assert app.version == app.version and len(app.version) == 12
    assert app.version != App("media").version
    monkeypatch.setenv("WORKFLOWS_CODE_VERSION", "abc")
    assert app.version == "abc"


# Params


def definition_of(workflow_class: Any) -> Any:
    app = App("media")
    app.workflow(workflow_class)
    return next(iter(app.definitions.values()))


def test_params_are_checked_against_the_annotated_model() -> None:
    definition = definition_of(Lifecycle)
    assert definition.params_model is Params
    assert definition.validate_params({"email": "a@b"}) == {"email": "a@b", "age": 3}
    assert definition.validate_params(Params(email="a@b")) == {"email": "a@b", "age": 3}
    assert definition.load_params({"email": "a@b", "age": 4}) == Params(email="a@b", age=4)
    assert codec.decode(definition.encode_params({"email": "x"})) == {"email": "x", "age": 3}


@pytest.mark.parametrize("params", [None, {}, {"email": 5}, {"email": "x", "age": "old"}, []])
def test_params_that_do_not_fit_are_refused_with_their_places(params: Any) -> None:
    with pytest.raises(BadParams, match=r'workflow "lifecycle" do not fit Params:\n  (email|age|params): .*given'):
        definition_of(Lifecycle).validate_params(params)


def test_workflows_without_a_model_take_anything_and_default_to_an_empty_mapping() -> None:
    definition = definition_of(Plain)
    assert definition.params_model is None and definition.params_schema() is None
    assert definition.validate_params(None) == {}
    assert definition.validate_params([1]) == [1] and definition.load_params([1]) == [1]


# Cron handlers


def test_cron_handler_becomes_a_hidden_workflow_with_one_step() -> None:
    app = App("media")
    seen: list[Any] = []

    @app.cron("0 9 * * *", name="daily")
    async def scheduled(event: Any, env: Any) -> str:
        seen.append((event.cron, int(event.scheduled_time), env.NAME))
        return "done"

    definition = app.definition("cron-daily")
    assert definition.hidden and definition.schedules == (CronSchedule("0 9 * * *"),)
    assert app.workflow_bindings == {}
    driver = Driver(definition.workflow_class, env={"NAME": "prod"})
    driver.replay._event = WorkflowEvent(
        {},
        timestamp=driver.replay._event.timestamp,
        instance_id="x",
        workflow_name="cron-daily",
        schedule=Schedule("0 9 * * *", ScheduledTime.from_ms(5000)),
    )
    driver.start()
    callback = driver.replay.callback(1)
    assert driver.pending == ["do scheduled"] and callback is not None and callback.is_async
    assert asyncio.run(callback.call(None)) == "done"
    assert seen == [("0 9 * * *", 5000, "prod")]


def handlers() -> Iterator[tuple[Any, Any]]:
    yield (lambda: "none"), "none"
    yield (lambda event: event["instanceId"]), "one"
    yield (lambda event, env: env.A), 1
    yield (lambda event, env, ctx: ctx), "CTX"
    yield (lambda event, ctx: ctx), "CTX"


@pytest.mark.parametrize(("handler", "result"), list(handlers()))
def test_cron_handlers_take_what_they_need(handler: Any, result: Any) -> None:
    app = App("media")
    app.cron("* * * * *", name="h")(handler)
    driver = Driver(app.definition("cron-h").workflow_class, env={"A": 1}).start()
    callback = driver.replay.callback(1)
    assert callback is not None
    assert callback.call("CTX") == result


def test_cron_handler_is_named_after_its_function_and_left_as_it_is() -> None:
    app = App("media")

    def every_minute(event: Any, env: Any) -> None: ...

    assert app.cron("* * * * *")(every_minute) is every_minute
    assert list(app.definitions) == ["cron-every-minute"]


@pytest.mark.parametrize(
    ("expressions", "handler", "error"),
    [
        ((), lambda event, env: None, BadSchedule),
        (("nonsense",), lambda event, env: None, BadSchedule),
        (("* * * * *",), lambda a, b, c: None, ConfigError),
        (("* * * * *",), 5, ConfigError),
    ],
)
def test_wrong_cron_handlers_are_refused(expressions: Any, handler: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        App("media").cron(*expressions, name="x")(handler)


# Bindings


def bindings_functions() -> Iterator[tuple[str, Any, list[str]]]:
    closed: list[str] = []

    def plain() -> Any:
        return {"A": 1}

    async def coroutine() -> Any:
        return {"A": 1}

    def generator() -> Iterator[Any]:
        yield {"A": 1}
        closed.append("generator")

    async def async_generator() -> AsyncIterator[Any]:
        yield {"A": 1}
        closed.append("async generator")

    yield "plain", plain, []
    yield "coroutine", coroutine, []
    yield "generator", generator, ["generator"]
    yield "async generator", async_generator, ["async generator"]
    bindings_functions.closed = closed  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "function", "cleaned"), list(bindings_functions()))
def test_bindings_are_opened_and_cleaned_up(name: str, function: Any, cleaned: list[str]) -> None:
    app = App("media")
    assert app.bindings(function) is function
    closed = bindings_functions.closed  # type: ignore[attr-defined]
    closed.clear()

    async def use() -> None:
        async with app.open_bindings() as bindings:
            assert LazyEnv(bindings).A == 1
            assert closed == []

    asyncio.run(use())
    assert closed == cleaned


def test_wrong_bindings_are_refused() -> None:
    app = App("media")
    with pytest.raises(ConfigError, match="without parameters"):
        app.bindings(lambda env: env)

    @app.bindings
    def twice() -> Iterator[Any]:
        yield 1
        yield 2

    with pytest.raises(ConfigError, match="already"):
        app.bindings(dict)

    async def use() -> None:
        async with app.open_bindings():
            pass

    with pytest.raises(ConfigError, match="more than once"):
        asyncio.run(use())


def test_an_app_without_bindings_has_none() -> None:
    async def use() -> Any:
        async with App("media").open_bindings() as bindings:
            return bindings

    assert asyncio.run(use()) == {}


# Loading


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if (getattr(sys.modules[name], "__file__", "") or "").startswith(str(tmp_path)):
            del sys.modules[name]


APP = "from workflows import App\nmine = App('loaded')\n"


def test_app_is_loaded_from_a_module_in_the_folder_which_comes_first(folder: Path) -> None:
    (folder / "loaded_app_1.py").write_text(APP)
    assert load_app("loaded_app_1:mine", folder=folder).name == "loaded"
    assert load_app("loaded_app_1", folder=folder).name == "loaded"
    assert sys.path[0] == str(folder.resolve())
    assert sys.path.count(str(folder.resolve())) == 1


@pytest.mark.parametrize("standard", ["sched", "this"])
def test_a_module_of_the_users_comes_before_one_of_the_standard_library(folder: Path, standard: str) -> None:
    sys.modules.pop(standard, None)
    (folder / f"{standard}.py").write_text("NAME = 'theirs'\n")
    text = f"from workflows import App\nfrom {standard} import NAME\nmine = App(NAME)\n"
    (folder / f"loaded_app_7{standard}.py").write_text(text)
    try:
        assert load_app(f"loaded_app_7{standard}:mine", folder=folder).name == "theirs"
    finally:
        sys.modules.pop(standard, None)


@pytest.mark.parametrize(
    ("target", "text"), [("loaded_app_8:mine", "from queue import NAME\n" + APP), ("queue:mine", "")]
)
def test_a_name_that_was_loaded_before_is_an_error_that_says_so(folder: Path, target: str, text: str) -> None:
    (folder / "queue.py").write_text("NAME = 1\n" + APP)
    (folder / "loaded_app_8.py").write_text(text)
    with pytest.raises(ConfigError, match=r"queue\.py has the name of a module that was loaded already.*Rename it"):
        load_app(target, folder=folder)


@pytest.mark.parametrize(
    ("target", "text"), [("workflows.order:mine", ""), ("loaded_app_9:mine", "import workflows.order\n" + APP)]
)
def test_a_folder_of_modules_with_one_of_our_names_is_refused_when_it_is_asked_for(
    folder: Path, target: str, text: str
) -> None:
    """Without an ``__init__.py`` it is a package too, but ours is found before it."""
    (folder / "workflows").mkdir()
    (folder / "workflows" / "order.py").write_text(APP)
    (folder / "loaded_app_9.py").write_text(text)
    with pytest.raises(ConfigError, match=r"workflows has the name of a package of rq-workflows.*Rename it"):
        load_app(target, folder=folder)


def test_app_is_named_by_pyproject(folder: Path) -> None:
    (folder / "loaded_app_2.py").write_text(APP)
    (folder / "pyproject.toml").write_text('[tool.workflows]\napp = "loaded_app_2:mine"\n')
    assert load_app(folder=folder).name == "loaded"


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("missing_module_x:app", 'no module "missing_module_x"'),
        ("loaded_app_3:app", r'has no "app".*It has: "loaded_app_3:mine"'),
        ("loaded_app_3:App", "is a type, not an App"),
        ("loaded_app_3:", "does not name an app"),
        ("./loaded_app_3.py", "does not name an app"),
        ("json", "has no app"),
        (None, "no pyproject.toml"),
    ],
)
def test_what_cannot_be_loaded_says_why(folder: Path, target: str | None, text: str) -> None:
    (folder / "loaded_app_3.py").write_text(APP)
    with pytest.raises(ConfigError, match=text):
        load_app(target, folder=folder)


@pytest.mark.parametrize("content", ["", "[tool", "[tool.workflows]\napp = 5"])
def test_pyproject_without_an_app_says_so(folder: Path, content: str) -> None:
    (folder / "pyproject.toml").write_text(content)
    with pytest.raises(ConfigError, match="No app was named"):
        load_app(folder=folder)


def test_missing_import_of_the_users_module_is_shown_as_it_is(folder: Path) -> None:
    (folder / "loaded_app_4.py").write_text("import missing_module_y\n")
    with pytest.raises(ModuleNotFoundError, match="missing_module_y"):
        load_app("loaded_app_4:app", folder=folder)


@pytest.mark.parametrize("name", ["worker.py", "workflows/__init__.py", "orchestrator.py"])
def test_modules_with_our_names_are_refused(folder: Path, name: str) -> None:
    (folder / "loaded_app_5.py").write_text(APP)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).touch()
    with pytest.raises(ConfigError, match="Rename it"):
        load_app("loaded_app_5:mine", folder=folder)


def test_folders_that_are_no_modules_may_have_our_names(folder: Path) -> None:
    (folder / "loaded_app_6.py").write_text(APP)
    (folder / "worker").mkdir()
    assert load_app("loaded_app_6:mine", folder=folder).name == "loaded"
