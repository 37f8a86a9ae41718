"""The app under test, and what runs pytest inside of a test."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable

import pytest

# An inner run forgets what it was the first to import; a second one would then meet two copies of the same class.
import workflows.testing.crash
import workflows.testing.engine  # noqa: F401
from tests.testing import shop
from workflows import App

INSTALLED = bool(importlib.metadata.entry_points(group="pytest11", name="workflows"))
LOADED = [
    "-p",
    "no:cacheprovider",
    # This process has the plugin already, too late to rewrite its asserts; there are none that matter.
    "-W",
    "ignore:Module already imported:pytest.PytestAssertRewriteWarning",
    *([] if INSTALLED else ["-p", "workflows.testing.plugin"]),
]
"""Arguments for a pytest inside of a test. Where the package is installed it finds the plugin by itself."""

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
        pytester.makepyfile(inner_app=app, test_inner=f"import pytest\n{tests}")
        pytester.makeini("[pytest]\nworkflows_app = inner_app:app\nfilterwarnings = error\n")
        return pytester.runpytest_inprocess(*LOADED, *arguments)

    return run
