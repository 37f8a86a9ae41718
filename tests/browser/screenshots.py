"""Pictures of the dashboard for docs/dashboard.md, made from what the demo leaves behind: ``make screenshots``.

Plays the ten patterns, adds instances that wait for somebody and some that fail, and looks at them in the browser of
this machine.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Browser, Page

from examples.app import PATTERNS, app
from examples.demo import play
from tests.browser.chromium import NoChromium, chromium, served
from workflows import Client
from workflows.ui import Access
from workflows.ui.application import Dashboard

FOLDER: Final = Path(__file__).parents[2] / "docs" / "images"
WIDTH: Final = 1240
COLOURS: Final = 256
_PATIENCE_SECONDS: Final = 30

SHOTS: Final[Mapping[str, tuple[str, str, int]]] = {
    "overview": ("/", "light", 900),
    "overview-dark": ("/", "dark", 900),
    "why": ("/workflows/approval-workflow/instances/budget-2027", "light", 620),
    "instance": ("/workflows/trip-workflow/instances/to-oslo", "light", 860),
    "failed": ("/failed", "light", 520),
}
"""By name: what is looked at, in which colours, and how much of it at most, in pixels."""


def more(client: Client) -> None:
    """What the demo lacks: somebody to wait for, and something to retry."""
    approvals, trips = client.workflow("approval-workflow"), client.workflow("trip-workflow")
    for request in ("budget-2027", "new-laptop", "team-dinner"):
        approvals.create(request, {"userId": "ada"})
    for part, number in (("car", 7), ("hotel", 3)):
        trips.create_batch([{"id": f"{part}-{one}", "params": {"soldOut": part}} for one in range(number)])
    until(lambda: len(approvals.list("waiting")) >= 3 and len(trips.list("errored")) >= 11)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "what is to be shown does not come about"
        time.sleep(0.1)


def take(client: Client, browser: Browser) -> None:
    """All pictures."""
    more(client)
    FOLDER.mkdir(exist_ok=True)
    with served(Dashboard(client, access=lambda _: Access.OPERATE)) as address:
        for name, (path, colours, height) in SHOTS.items():
            with browser.new_context(base_url=address, locale="en-GB", timezone_id="UTC") as context:
                page = context.new_page()
                page.set_viewport_size({"width": WIDTH, "height": height})
                page.emulate_media(color_scheme="dark" if colours == "dark" else "light")
                page.goto(path)
                save(page, name)


def save(page: Page, name: str) -> None:
    """With as many colours as it needs, so that a picture stays small."""
    page.locator("#live[data-state=live]").wait_for()
    picture = Image.open(io.BytesIO(page.screenshot()))
    path = FOLDER / f"{name}.png"
    picture.convert("RGB").quantize(COLOURS).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size // 1024} KB")


def main() -> int:
    try:
        with chromium() as browser:
            return play(app, [pattern.demonstrate for pattern in PATTERNS], then=lambda client: take(client, browser))
    except NoChromium as none:
        print(none, file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
