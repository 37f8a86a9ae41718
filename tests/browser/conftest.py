"""A browser that drives the dashboard over real processes.

The browser is the Chromium that this machine has, or one that Playwright has installed; without any these tests are
skipped. Whatever a page does, it may not meet a violation of its policy, write an error to the console, or ask another
host for anything: that is looked at after every test.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Response, Route

from tests.acceptance.processes import Cluster
from tests.browser import apps
from tests.browser.chromium import NoChromium, chromium, served
from workflows.client import Client
from workflows.ui import Access
from workflows.ui.application import Dashboard

PATIENCE_MS = 20_000
_WATCH_POLICY = """
addEventListener("securitypolicyviolation", (event) => {
  console.error("policy", event.violatedDirective, event.blockedURI);
});
"""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    try:
        with chromium() as found:
            yield found
    except NoChromium as none:
        pytest.skip(str(none))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Redis, an orchestrator and a worker."""
    with Cluster(tmp_path_factory.mktemp("cluster"), "tests.browser.apps:app") as started:
        started.orchestrator()
        started.ready(started.worker())
        yield started


@pytest.fixture(scope="session")
def client(cluster: Cluster) -> Client:
    return cluster.client


@pytest.fixture(scope="session")
def address(cluster: Cluster) -> Iterator[str]:
    """Where the dashboard is, for somebody who may do everything."""
    dashboard = Dashboard(apps.app, redis_url=cluster.url, access=lambda _: Access.OPERATE)
    with served(dashboard) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page in a window of its own."""
    problems: list[str] = []

    def only_here(route: Route) -> None:
        if route.request.url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            problems.append(f"asked for {route.request.url}")
            route.abort()

    def note(problem: str) -> None:
        # Of a page that is not there, the browser says so by itself.
        if not problem.startswith("Failed to load resource"):
            problems.append(problem)

    def is_missing(answer: Response) -> bool:
        return answer.status >= 400 and answer.request.resource_type != "document"

    with browser.new_context(base_url=address, timezone_id="Europe/Rome", locale="en-GB") as context:
        context.route("**/*", only_here)
        context.add_init_script(_WATCH_POLICY)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda said: note(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: note(str(error)))
        page.on("response", lambda answer: note(f"{answer.status}: {answer.url}") if is_missing(answer) else None)
        yield page
        assert problems == []
