"""Does the dashboard open wherever it is mounted, find its own files, and say what is not there?"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from tests.ui.conftest import Browse
from workflows import ui
from workflows.client import Client
from workflows.errors import ConfigError
from workflows.ui import dashboard, mount
from workflows.ui.application import IMMUTABLE, Dashboard
from workflows.ui.mounting import below


def links_of(page: str) -> set[str]:
    return {*re.findall(r'(?:href|src|action)="([^"#]*)"', page)}


def forms_of(page: str) -> set[str]:
    return {*re.findall(r'action="([^"]*)"', page)}


def test_the_first_page_tells_how_many_instances_there_are(shop: Client, browser: TestClient) -> None:
    shop.workflow("order").create("order-1")
    page = browser.get("/")
    assert page.status_code == 200
    assert "<h1>Overview</h1>" in page.text
    assert "1 queued" in page.text


def test_a_page_gives_one_of_its_elements_alone(browser: TestClient) -> None:
    part = browser.get("/", headers={"x-fragment": "counts"})
    assert re.match(r'\s*<section [^>]*id="counts"', part.text)
    assert part.text.strip().endswith("</section>")
    assert browser.get("/", headers={"x-fragment": "nothing"}).status_code == 404


def test_a_file_is_kept_for_ever_under_a_name_that_says_what_is_in_it(browser: TestClient) -> None:
    (style,) = (link for link in links_of(browser.get("/").text) if "style" in link)
    found = browser.get(style)
    assert re.fullmatch(r"/static/style\.[0-9a-f]{12}\.css", style)
    assert (found.status_code, found.headers["cache-control"]) == (200, IMMUTABLE)
    assert found.headers["content-type"].startswith("text/css")
    assert browser.get("/static/style.000000000000.css").status_code == 404


def test_what_is_not_there_is_said_as_a_page_and_in_json(browser: TestClient) -> None:
    page, answer = browser.get("/nowhere"), browser.get("/api/nowhere")
    assert (page.status_code, answer.status_code) == (404, 404)
    assert "<h1>Not found</h1>" in page.text
    assert answer.json() == {
        "success": False,
        "result": None,
        "errors": [{"code": "NotFound", "message": "There is nothing at this address."}],
        "messages": [],
    }


def test_a_method_that_an_address_does_not_take_is_refused(browser: TestClient) -> None:
    refused = browser.put("/")
    assert (refused.status_code, {*refused.headers["allow"].split(", ")}) == (405, {"GET", "HEAD"})
    assert browser.head("/").status_code == 200


def test_a_redis_that_is_away_is_an_error_that_says_so(browse: Browse) -> None:
    away = Dashboard("shop", redis_url="redis://127.0.0.1:1/0")
    with TestClient(away, base_url="http://localhost") as browser:
        page = browser.get("/")
    assert page.status_code == 503
    assert "<h1>Redis does not answer</h1>" in page.text


def test_an_error_of_our_own_tells_the_log_and_not_the_reader(
    browse: Browse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Any) -> Any:
        raise KeyError("a secret")

    page = browse(access=broken).get("/")
    assert page.status_code == 500
    assert "a secret" not in page.text
    assert "a secret" in caplog.text


# Mounted


async def _elsewhere(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("elsewhere")(scope, receive, send)


@pytest.mark.parametrize("way", ["starlette", "nested", "switch"])
def test_links_lead_to_where_the_dashboard_is_mounted(shop: Client, way: str) -> None:
    inner = Dashboard(shop)
    prefix = {"starlette": "/admin", "nested": "/staff/admin", "switch": "/admin"}[way]
    around: Any = {
        "starlette": lambda: Starlette(routes=[Mount("/admin", inner), Route("/x", _elsewhere)]),
        "nested": lambda: Starlette(routes=[Mount("/staff", Starlette(routes=[Mount("/admin", inner)]))]),
        "switch": lambda: mount(_elsewhere, "/admin/", inner),
    }[way]()
    # Not entered: what is mounted, or stands beside Django, is told of no lifespan.
    browser = TestClient(around, base_url="http://example.com", follow_redirects=False)
    page = browser.get(f"{prefix}/")
    assert page.status_code == 200
    links = links_of(page.text)
    assert all(link.startswith(f"{prefix}/") for link in links)
    assert {browser.get(link).status_code for link in links - forms_of(page.text)} == {200}
    assert browser.get(f"{prefix}/api/nowhere").json()["success"] is False
    assert links_of(browser.get(prefix, follow_redirects=True).text) == links


def test_what_is_not_below_the_prefix_stays_with_the_application_around(shop: Client) -> None:
    browser = TestClient(mount(_elsewhere, "/admin", Dashboard(shop)))
    assert {browser.get(path).text for path in ("/", "/x", "/administrators", "/static/style.css")} == {"elsewhere"}


def test_the_lifespan_is_that_of_the_application_around(shop: Client) -> None:
    """A mounted application is told nothing of it; ``switch`` hands it on."""
    seen: list[str] = []

    async def around(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    asyncio.run(mount(around, "/admin", Dashboard(shop))({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert seen == ["lifespan"]


@pytest.mark.parametrize(
    ("path", "root", "seen"),
    [
        ("/", "", "/"),
        ("/admin/x", "/admin", "/x"),
        ("/admin", "/admin", ""),
        ("/admins", "/admin", "/admins"),
        ("/x", "/admin", "/x"),
    ],
)
def test_a_path_is_seen_from_where_it_is_mounted(path: str, root: str, seen: str) -> None:
    """Also where a server leaves out of the path what a proxy has taken away."""
    assert below({"path": path, "root_path": root}) == seen


# Imports


def test_the_library_and_its_command_line_load_nothing_of_the_extra() -> None:
    code = (
        "import sys, workflows, workflows.cli.main, workflows.ui\n"
        "print([name for name in ('starlette', 'jinja2', 'uvicorn', 'anyio') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_missing_extra_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, "find_spec", lambda name: None if name == "jinja2" else object())
    with pytest.raises(ConfigError, match=r"pip install 'rq-workflows\[ui\]'"):
        dashboard("shop")


def test_a_browser_that_goes_away_in_the_middle_is_no_error(shop: Client, caplog: pytest.LogCaptureFixture) -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": "/", "root_path": "", "query_string": b"", "headers": []}
    asyncio.run(Dashboard(shop)(scope, receive, send))
    assert caplog.records == []
