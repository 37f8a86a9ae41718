"""A browser that drives the dashboard over real processes.

The browser is the Chromium that this machine has, or one that Playwright has installed; without any these tests are
skipped. Whatever a page does, it may not meet a violation of its policy, write an error to the console, or ask another
host for anything: that is looked at after every test.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, Response, Route, sync_playwright

from tests.acceptance.processes import Cluster
from tests.browser import apps
from workflows.client import Client
from workflows.ui import Access
from workflows.ui.application import Dashboard

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 20_000
_WATCH_POLICY = """
addEventListener("securitypolicyviolation", (event) => {
  console.error("policy", event.violatedDirective, event.blockedURI);
});
"""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser; its window is nobody's."""
    path = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("no Chromium is installed here: `apt-get install chromium`, or `playwright install chromium`")
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS])
        yield browser
        browser.close()


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
    config = uvicorn.Config(dashboard, port=0, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    cluster.wait_until(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def page(chromium: Browser, address: str) -> Iterator[Page]:
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

    with chromium.new_context(base_url=address, timezone_id="Europe/Rome", locale="en-GB") as context:
        context.route("**/*", only_here)
        context.add_init_script(_WATCH_POLICY)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda said: note(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: note(str(error)))
        page.on("response", lambda answer: note(f"{answer.status}: {answer.url}") if is_missing(answer) else None)
        yield page
        assert problems == []
