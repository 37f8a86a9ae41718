"""The pytest plugin: fixtures that run workflows on the real engine. Inert, and light, until a fixture is used.

    def test_approval(env):
        instance = env.APPROVAL_WORKFLOW.create(params={"userId": "ada"})
        instance.send_event("approval-response", {"approved": True})
        assert instance.result() == "approved"

See ``docs/testing.md``. Everything that is needed to run is imported inside the fixtures.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from workflows.authoring.app import App
    from workflows.client import Client
    from workflows.testing.clock import TestClock
    from workflows.testing.engine import TestServer, WorkflowEngine
    from workflows.testing.env import TestEnv

_FIXTURES = frozenset({"workflow_engine"})
_OPTIONS = frozenset({"warm", "schedules", "processes"})
_ENGINE = pytest.StashKey["WorkflowEngine"]()
_FAILED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Settings of the plugin."""
    parser.addini("workflows_app", 'The app under test, "module:attribute"; default [tool.workflows] app.')
    group = parser.getgroup("workflows")
    group.addoption(
        "--workflows-warm",
        action="store_true",
        help="Keep suspended replays between turns, as production does, in place of replaying from the start.",
    )
    group.addoption(
        "--crash-point",
        metavar="POINT",
        help="Run a test marked crash_matrix with a crash at this point only, such as worker:settle:2:lost.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    config.addinivalue_line(
        "markers",
        "workflows(warm=False, schedules=False, processes=False): how the engine of this test runs.",
    )
    config.addinivalue_line(
        "markers",
        "crash_matrix(most=None): repeat the test with a crash at every call that the engine makes to Redis.",
    )


@pytest.fixture(scope="session")
def workflow_server() -> Iterator[TestServer]:
    """The private Redis of this test process; under pytest-xdist each has its own."""
    from workflows.testing.engine import TestServer

    server = TestServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def workflow_app(request: pytest.FixtureRequest) -> App:
    """The app under test. Override it, or set ``workflows_app`` or ``[tool.workflows] app``."""
    from workflows.errors import ConfigError
    from workflows.process.load import load_app

    try:
        return load_app(request.config.getini("workflows_app") or None, folder=request.config.rootpath)
    except ConfigError as error:
        pytest.fail(f"{error}\nOr write a fixture named workflow_app that returns the app.", pytrace=False)


@pytest.fixture(scope="session")
def workflow_bindings() -> Mapping[str, Any]:
    """Bindings in the place of the app's own, by name. Override it to give steps a fake database, say."""
    return {}


@pytest.fixture
def workflow_engine(
    request: pytest.FixtureRequest,
    workflow_server: TestServer,
    workflow_app: App,
    workflow_bindings: Mapping[str, Any],
) -> Iterator[WorkflowEngine]:
    """The engine of this test: started, in an empty namespace, and stopped at the end."""
    from workflows.testing import crash
    from workflows.testing.engine import WorkflowEngine

    options = _options(request.node)
    options.setdefault("warm", bool(request.config.getoption("--workflows-warm", False)))
    engine = WorkflowEngine(
        workflow_app,
        workflow_server,
        bindings=workflow_bindings,
        target=_target(request, workflow_app) if options.get("processes") else None,
        folder=request.config.rootpath,
        **options,
    )
    crash.begin(request.node, engine)
    try:
        engine.start()
        request.node.stash[_ENGINE] = engine
        yield engine
        if not request.node.stash.get(_FAILED, False):
            crash.end(request.node, engine)
    finally:
        engine.stop()
        if _ENGINE in request.node.stash:
            del request.node.stash[_ENGINE]


@pytest.fixture
def env(workflow_engine: WorkflowEngine) -> TestEnv:
    """The bindings of the app: ``env.MY_WORKFLOW.create(params=…)``."""
    from workflows.testing.env import TestEnv

    return TestEnv(workflow_engine)


@pytest.fixture
def clock(workflow_engine: WorkflowEngine) -> TestClock:
    """Time stands still until ``clock.advance("7 days")``."""
    return workflow_engine.clock


@pytest.fixture
def workflow_client(workflow_engine: WorkflowEngine) -> Client:
    """A client of the engine's namespace, as producers use it."""
    return workflow_engine.client


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test marked ``crash_matrix`` once per place where something could crash."""
    marker = item.get_closest_marker("crash_matrix")
    if marker is None:
        return None
    from workflows.testing import crash

    crash.run_matrix(item, nextitem, **marker.kwargs)
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test of ours on a loop of its own, where no other plugin has."""
    if not _is_ours(pyfuncitem) or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    if any(pyfuncitem.get_closest_marker(name) for name in ("asyncio", "anyio", "trio")):
        return None
    import asyncio

    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail an async test that forgets an ``await``: what it seems to have waited for may never have happened."""
    if _ENGINE not in item.stash:
        return (yield)
    from workflows.testing import calls

    calls.forgotten()
    try:
        result = yield
    except BaseException as error:
        if places := calls.forgotten():
            error.add_note(_not_awaited(places))
        raise
    if places := calls.forgotten():
        pytest.fail(_not_awaited(places), pytrace=False)
    return result


def _not_awaited(places: list[str]) -> str:
    return f"not awaited: {', '.join(places)}. In an async test, put `await` before the call."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the instances of a failed test have done, and not how the engine was called."""
    if call.excinfo is not None and _is_ours(item) and not item.config.getoption("fulltrace", False):
        from workflows.testing import frames

        frames.hide(call.excinfo)
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    engine = item.stash.get(_ENGINE, None)
    if engine is not None and report.when == "call" and report.failed:
        try:
            text = engine.report()
        except Exception as error:  # the failure itself matters more
            text = f"(cannot be shown: {type(error).__name__}: {error})"
        if text:
            report.sections.append(("workflow instances", text))
    return report


def _is_ours(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and not _FIXTURES.isdisjoint(item.fixturenames)


def _options(node: pytest.Item) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for marker in reversed(list(node.iter_markers("workflows"))):
        found |= marker.kwargs
    unknown = set(found) - _OPTIONS
    if unknown:
        raise pytest.UsageError(
            f"@pytest.mark.workflows does not know {', '.join(sorted(unknown))}; "
            f"it knows {', '.join(sorted(_OPTIONS))}."
        )
    return found


def _target(request: pytest.FixtureRequest, app: App) -> str | None:
    """How a process of its own can find the app; None if it cannot."""
    from workflows.errors import ConfigError
    from workflows.process.load import load_app

    folder = request.config.rootpath
    target = request.config.getini("workflows_app")
    if not target:
        import tomllib

        try:
            settings = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError):
            return None
        target = settings.get("tool", {}).get("workflows", {}).get("app")
    try:
        return str(target) if target and load_app(target, folder=folder) is app else None
    except ConfigError:
        return None
