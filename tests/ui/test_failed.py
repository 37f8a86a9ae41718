"""The shelf of what failed, and many at once, as pages: without a script, as a browser without one would."""

from __future__ import annotations

import html
import re
import threading
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.driving import HandWorker, step
from tests.ui.conftest import Browse
from tests.ui.html_checks import checked
from workflows.client import Client
from workflows.client.blocking import WorkflowHandle
from workflows.ui import Access


@pytest.fixture
def orders(shop: Client) -> WorkflowHandle:
    """The workflow ``order``, of which there are no instances yet."""
    handle = shop.workflow("order")
    handle.delete_all(None)
    return handle


@pytest.fixture
def worker(shop: Client) -> HandWorker:
    return HandWorker(shop.store)


def fail(worker: HandWorker, orders: WorkflowHandle, id: str, error: Exception) -> None:
    instance = orders.create(id)._instance
    worker.turn(instance, opened=[step(1, "charge")])
    worker.settle(instance, 1, "charge", worker.claim(instance, "a", 1), error=error)
    worker.fail(instance, error)


def filter_of(page: str, word: str = "") -> str:
    """What the first form of a page with this word in it says of which are meant."""
    found = [html.unescape(one) for one in re.findall(r'name="filter" value="([^"]*)"', page)]
    return next(one for one in found if word in one)


def the_end_of(browser: TestClient, address: str) -> str:
    """The page of a job once it is over."""
    pause = threading.Event()
    while ">Reload<" in (text := browser.get(address).text):
        pause.wait(0.01)
    return text


def test_what_failed_stands_on_a_shelf_in_groups(
    orders: WorkflowHandle, worker: HandWorker, browser: TestClient
) -> None:
    fail(worker, orders, "o1", OSError("the bank is closed"))
    fail(worker, orders, "o2", OSError("the bank is closed"))
    worker.park(orders.create("o3")._instance, "CorruptPayload: it has format 9", "corrupt")
    page = browser.get("/failed")
    checked(page.text)
    assert "all 3 that failed or are parked" in page.text
    assert page.text.count("the bank is closed") == 1
    assert "parked: waits for a person" in page.text
    assert "Retry the failed step" in page.text and "Resume" in page.text
    assert "Nothing failed" in browser.get("/failed", params={"workflow": "another"}).text
    told = browser.get("/api/errors").json()["result"]
    assert sorted((one["is_parked"], one["step"], one["error"], one["count"]) for one in told["groups"]) == [
        (False, "charge", "OSError", 2),
        (True, None, "park.corrupt", 1),
    ]
    assert browser.get("/api/errors", params={"workflow": "another"}).json()["result"]["groups"] == []
    assert browser.get("/api/errors", params={"since": "2100-01-01"}).json()["result"]["groups"] == []
    assert browser.get("/api/errors", params={"since": "soon"}).status_code == 422
    parts = browser.get("/failed", headers={"x-fragment": "jobs groups"}).text
    assert '<div id="jobs"' in parts and 'id="groups"' in parts and "<main" not in parts


def test_a_group_is_retried_after_a_question(orders: WorkflowHandle, worker: HandWorker, browser: TestClient) -> None:
    fail(worker, orders, "o1", OSError("closed"))
    fail(worker, orders, "o2", ValueError("other"))
    filter = filter_of(browser.get("/failed").text, "OSError")
    asked = browser.post("/bulk", data={"action": "restart_failed_step", "filter": filter})
    checked(asked.text)
    assert "<b>1</b>, and no more than that" in asked.text and 'name="number"' not in asked.text
    assert orders.get("o1").status().status == "errored"

    sent = {"action": "restart_failed_step", "filter": filter_of(asked.text), "count": "1"}
    answer = browser.post("/bulk", data=sent)

    assert answer.status_code == 303
    page = the_end_of(browser, answer.headers["location"])
    checked(page)
    assert "<b>Done</b>: 1 of 1" in page
    assert orders.get("o1").status().status == "queued"
    assert orders.get("o2").status().status == "errored"
    assert "Retry the failed step: order" in browser.get("/failed").text


def test_what_cannot_be_taken_back_wants_its_number_typed(orders: WorkflowHandle, browser: TestClient) -> None:
    for number in range(3):
        orders.create(f"o{number}")
    filter = filter_of(browser.get("/workflows/order/instances").text)
    question = browser.post("/bulk", data={"action": "delete", "filter": filter, "scope": "all"}).text
    checked(question)
    assert "type how many: 3" in question
    for nonsense in ("0", "all", "9" * 5_000):
        again = browser.post(
            "/bulk", data={"action": "delete", "filter": filter, "count": nonsense, "number": nonsense}
        )
        assert "and no more than that" in again.text
    wrong = browser.post("/bulk", data={"action": "delete", "filter": filter, "count": "3", "number": "4"})
    checked(wrong.text)
    assert (wrong.status_code, "Nothing has been done" in wrong.text) == (422, True)
    assert len(orders.list()) == 3
    # One more comes meanwhile: no more go than somebody has agreed to.
    orders.create("late")
    answer = browser.post("/bulk", data={"action": "delete", "filter": filter, "count": "3", "number": "3"})
    assert "<b>Done</b>: 3 of 3" in the_end_of(browser, answer.headers["location"])
    assert len(orders.list()) == 1


def test_rows_that_are_marked_are_meant_and_no_other(orders: WorkflowHandle, browser: TestClient) -> None:
    for number in range(3):
        orders.create(f"o{number}")
    page = browser.get("/workflows/order/instances").text
    checked(page)
    assert page.count('name="id" value="o') == 3
    data: dict[str, Any] = {"action": "pause", "filter": filter_of(page), "scope": "selected"}
    nothing = browser.post("/bulk", data=data)
    assert (nothing.status_code, "Nothing is selected" in nothing.text) == (422, True)
    question = browser.post("/bulk", data=data | {"id": ["o0", "o2"]}).text
    assert "o0, o2" in question
    answer = browser.post("/bulk", data={"action": "pause", "filter": filter_of(question), "count": "2"})
    the_end_of(browser, answer.headers["location"])
    assert {one.id for one in orders.list("paused")} == {"o0", "o2"}


def test_all_that_match_a_filter_are_meant(orders: WorkflowHandle, browser: TestClient) -> None:
    orders.create("a").pause()
    orders.create("b")
    filter = filter_of(browser.get("/workflows/order/instances?status=paused&created_from=2020-01-01").text)
    question = browser.post("/bulk", data={"action": "resume", "filter": filter, "scope": "all"}).text
    checked(question)
    assert "<b>1</b>" in question and "Created from" in question


def test_who_may_only_look_sees_no_buttons_and_can_do_nothing(
    orders: WorkflowHandle, worker: HandWorker, browse: Browse
) -> None:
    fail(worker, orders, "o1", OSError("closed"))
    reader = browse(access=lambda _: Access.READ)
    shelf, listing = reader.get("/failed").text, reader.get("/workflows/order/instances").text
    assert "closed" in shelf
    assert 'name="filter"' not in shelf + listing and 'type="checkbox" name="id"' not in listing
    data = {"action": "restart", "filter": '{"workflow": "order"}', "count": "1"}
    assert reader.post("/bulk", data=data).status_code == 403
    assert orders.get("o1").status().status == "errored"


def test_only_what_is_allowed_is_offered(orders: WorkflowHandle, worker: HandWorker, browse: Browse) -> None:
    fail(worker, orders, "o1", OSError("closed"))
    shelf = browse(access=lambda _: {"restart"}).get("/failed").text
    assert "Retry the failed step" in shelf and "Delete" not in shelf


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({}, 422),
        ({"action": "pause", "filter": "no json"}, 422),
        ({"action": "explode", "filter": '{"workflow": "order"}'}, 422),
        ({"action": "pause", "filter": "[]", "scope": "selected", "id": "a"}, 422),
        ({"action": "pause", "filter": '{"workflow": "order", "status": ["errored"]}'}, 422),
    ],
)
def test_a_form_that_makes_no_sense_is_refused(browser: TestClient, data: dict[str, str], status: int) -> None:
    assert browser.post("/bulk", data=data).status_code == status


def test_a_job_that_is_not_known_is_a_page_that_says_so(browser: TestClient) -> None:
    page = browser.get("/bulk/none")
    assert (page.status_code, "There is no job" in page.text) == (404, True)
    assert browser.post("/bulk/none").status_code == 404
