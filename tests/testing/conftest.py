"""The app under test, and what runs pytest inside of a test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.testing import shop
from workflows import App

CONFTEST = """
import importlib

def pytest_configure(config):
    plugin = importlib.import_module("workflows.testing.plugin")
    if not config.pluginmanager.is_registered(plugin):
        config.pluginmanager.register(plugin, "workflows")
"""

PLAIN_APP = """
from workflows import App, WorkflowEntrypoint

app = App("inner")
runs = []

@app.workflow
class Small(WorkflowEntrypoint):
    async def run(self, event, step):
        first = await step.do("one", lambda: runs.append(1) or 1)
        await step.sleep("rest", "7 days")
        return first + await step.do("two", lambda: 2)
"""

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def workflow_app() -> App:
    return shop.app


@pytest.fixture
def run_inner(pytester: pytest.Pytester) -> Run:
    """Runs a test file against an app in a project of its own, in this process."""

    def run(tests: str, *arguments: str, app: str = PLAIN_APP) -> pytest.RunResult:
        pytester.makeconftest(CONFTEST)
        pytester.makepyfile(inner_app=app, test_inner=f"import pytest\n{tests}")
        pytester.makeini("[pytest]\nworkflows_app = inner_app:app\nfilterwarnings = error\n")
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)

    return run
