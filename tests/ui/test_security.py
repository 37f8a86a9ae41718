"""Who is let in, and what other web sites can do through the browser of somebody who is."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.ui.conftest import ORIGIN, Browse
from workflows import ui
from workflows.client import Client
from workflows.errors import ConfigError
from workflows.ui import Access
from workflows.ui.access import ACTIONS
from workflows.ui.application import Dashboard
from workflows.ui.refusals import RequestRefused
from workflows.ui.security import HEADERS, check_host, check_origin
from workflows.ui.standalone import StandaloneSettings, application, is_loopback

TEMPLATES = sorted((Path(ui.__file__).parent / "templates").rglob("*.html"))

# Who may what


@pytest.mark.parametrize(
    ("given", "reads", "actions"),
    [
        (Access.NONE, False, set()),
        (Access.READ, True, set()),
        (Access.OPERATE, True, set(ACTIONS)),
        ({"pause", "resume"}, True, {"pause", "resume"}),
        ([], True, set()),
    ],
)
def test_a_function_of_the_users_says_what_somebody_may(given: Any, reads: bool, actions: set[str]) -> None:
    found = Access.of(given)
    assert (found.reads, found.actions) == (reads, actions)


@pytest.mark.parametrize("given", [None, True, "read", b"read", {"erase"}, 7])
def test_what_is_no_access_is_an_error_and_lets_nobody_in(browse: Browse, given: Any) -> None:
    with pytest.raises(ConfigError, match="action"):
        Access.of(given)
    assert browse(access=lambda _: given).get("/").status_code in (422, 500)


def test_who_may_not_read_sees_nothing(browse: Browse) -> None:
    stranger = browse(access=lambda _: Access.NONE)
    page = stranger.get("/")
    assert page.status_code == 403
    assert "order" not in page.text
    assert stranger.get("/api/workflows").status_code == 403


def test_the_function_may_be_a_coroutine_and_sees_the_request(browse: Browse) -> None:
    async def decide(request: Any) -> Access:
        return Access.READ if request.headers.get("cookie") == "session=ann" else Access.NONE

    browser = browse(access=decide)
    assert browser.get("/").status_code == 403
    assert browser.get("/", headers={"cookie": "session=ann"}).status_code == 200


def test_mounted_without_a_word_about_access_it_is_read_only_and_says_so(shop: Client) -> None:
    page = TestClient(Dashboard(shop)).get("/")
    assert page.status_code == 200
    assert "without <code>access=</code>" in page.text


def test_the_page_says_when_somebody_may_only_look(browse: Browse) -> None:
    assert "change nothing" in browse(access=lambda _: Access.READ).get("/").text
    assert "change nothing" not in browse().get("/").text


# StandaloneSettings alone


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.com"])
def test_it_does_not_stand_where_others_reach_it_without_a_token(host: str) -> None:
    with pytest.raises(ConfigError, match="needs a token"):
        StandaloneSettings(host=host).check()
    StandaloneSettings(host=host, token="secret").check()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_what_only_this_machine_reaches_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    StandaloneSettings(host=host).check()


def alone(shop: Client, **settings: Any) -> TestClient:
    return TestClient(application(shop, StandaloneSettings(**settings)), base_url=ORIGIN)


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_a_token_lets_in_as_a_bearer_and_as_a_password(shop: Client) -> None:
    browser = alone(shop, token="s3cret")
    asked = browser.get("/")
    assert (asked.status_code, asked.headers["www-authenticate"]) == (401, 'Basic realm="workflows", charset="UTF-8"')
    assert browser.get("/", headers={"authorization": "Bearer s3cret"}).status_code == 200
    assert browser.get("/", headers=basic("ann", "s3cret")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer s3cre"},
        {"authorization": "Bearer"},
        {"authorization": "s3cret"},
        {"authorization": "Digest s3cret"},
        {"authorization": "Basic s3cret"},
        {"authorization": "Basic ////"},
        {"authorization": b"Bearer \xe4"},
        basic("s3cret", ""),
        basic("ann", "S3cret"),
    ],
)
def test_anything_else_does_not(shop: Client, headers: dict[str, Any]) -> None:
    assert alone(shop, token="s3cret").get("/api/workflows", headers=headers).status_code in (401, 403)


def test_a_read_only_dashboard_lets_nobody_write(shop: Client) -> None:
    browser = alone(shop, is_read_only=True)
    assert "change nothing" in browser.get("/").text
    made = browser.post("/api/workflows/order/instances", json={}, headers={"sec-fetch-site": "same-origin"})
    assert (made.status_code, made.json()["errors"][0]["code"]) == (403, "Forbidden")


@pytest.mark.parametrize("prefix", ["/workflows", "workflows/"])
def test_a_prefix_holds_whether_or_not_a_proxy_takes_it_away(shop: Client, prefix: str) -> None:
    browser = alone(shop, prefix=prefix)
    links = [re.findall(r'(?:href|action)="([^"]*)"', browser.get(path).text) for path in ("/workflows/", "/")]
    assert links[0] == links[1]
    assert all(link.startswith(("/workflows/", "#")) for link in links[0])


# Names of the host


@pytest.mark.parametrize("host", ["localhost", "localhost:8787", "127.0.0.1:8787", "[::1]:8787", "[::1]", "LOCALHOST"])
def test_it_answers_to_the_names_of_this_machine(host: str) -> None:
    check_host({"host": host}, StandaloneSettings().names())


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "localhost.evil.example", "evil.example:8787", "localhost@evil.example", "localhost:x", "a/b"],
)
def test_it_does_not_answer_to_another_name(host: str) -> None:
    """A site can bind its own name to 127.0.0.1 and then read what is answered there."""
    with pytest.raises(RequestRefused, match="--allow-host"):
        check_host({"host": host}, StandaloneSettings().names())


def test_another_name_is_refused_before_anything_is_looked_at(shop: Client) -> None:
    browser = alone(shop)
    for path in ("/", "/api/workflows", "/static/style.css"):
        refused = browser.get(path, headers={"host": "evil.example"})
        assert refused.status_code == 403
        assert refused.headers["content-security-policy"]
    assert browser.get("/").status_code == 200


def test_it_answers_to_further_names_that_were_allowed(shop: Client) -> None:
    browser = alone(shop, hosts=("flows.example",))
    assert browser.get("/", headers={"host": "Flows.example:443"}).status_code == 200


def test_mounted_the_application_around_checks_the_name(shop: Client) -> None:
    assert TestClient(Dashboard(shop)).get("/", headers={"host": "anything.example"}).status_code == 200


# Writes from elsewhere

HOST = {"host": "flows.example"}


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "same-origin", "origin": "null"},
        {"origin": "http://flows.example"},
        {"origin": "https://flows.example", "host": "flows.example:443"},
        {"authorization": "Bearer x"},
    ],
)
def test_a_write_from_here_or_from_a_program_is_let_through(headers: dict[str, str]) -> None:
    check_origin("POST", HOST | headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "cross-site", "origin": "http://flows.example"},
        {"sec-fetch-site": "cross-site", "authorization": "Basic x"},
        {"origin": "http://evil.example"},
        {"origin": "http://evil.example", "authorization": "Basic x"},
        {"origin": "null"},
        {"origin": "http://flows.example:8080"},
        {"origin": "http://flows.example.evil"},
        {"origin": "http://flows.example:x"},
        {"origin": "//flows.example"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "PUT"])
def test_a_write_that_another_site_may_have_made_is_refused(method: str, headers: dict[str, str]) -> None:
    with pytest.raises(RequestRefused):
        check_origin(method, HOST | headers)


def test_reading_needs_no_origin() -> None:
    check_origin("GET", HOST | {"sec-fetch-site": "cross-site"})
    check_origin("HEAD", HOST)


# What pages may do


@pytest.mark.parametrize("path", ["/", "/nowhere", "/api/nowhere", "/api/workflows"])
def test_every_answer_says_what_a_page_may_do(browser: TestClient, path: str) -> None:
    headers = browser.get(path).headers
    assert {name: headers[name] for name in HEADERS} == HEADERS


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_anything_inline_or_unescaped(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    for pattern in (
        r"<style",
        r"<script(?![^>]*\bsrc=)",
        r"\sstyle\s*=",
        r"\son[a-z]+\s*=",
        r"javascript:",
        r"\|\s*safe",
        r"Markup",
        r"autoescape",
        r"https?://(?!www\.w3\.org/)",
    ):
        found = re.search(pattern, text, re.IGNORECASE)
        assert found is None, f"{template.name}: {found and found.group()}"


def test_there_are_templates_to_look_at() -> None:
    assert len(TEMPLATES) >= 3
