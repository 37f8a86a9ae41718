"""The browser of this machine, and a dashboard for it to look at."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from playwright.sync_api import Browser, sync_playwright

from workflows.clock import monotonic

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NONE_HERE = "no Chromium is installed here: `apt-get install chromium`, or `playwright install chromium`"
_START_SECONDS = 20.0


class NoChromium(Exception):
    """This machine has none."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The Chromium that this machine has, or one that Playwright has installed; its window is nobody's.

    Raises: NoChromium.
    """
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).exists():
            raise NoChromium(NONE_HERE)
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def served(application: Any) -> Iterator[str]:
    """An ASGI application, served by a thread. Gives its address."""
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = monotonic() + _START_SECONDS
    while not server.started:
        assert thread.is_alive() and monotonic() < deadline, "the server did not start"
        thread.join(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
