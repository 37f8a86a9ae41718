"""One action for many instances: begun, looked at and stopped through the JSON interface."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.driving import HandWorker, step
from tests.ui.conftest import Browse
from workflows.client import Client
from workflows.client.blocking import WorkflowHandle
from workflows.ui import Access, bulk_orders
from workflows.ui.bulk import RUNNING_MAX, Job, Jobs
from workflows.ui.bulk_orders import ACTIONS, Filter, Order


@pytest.fixture
def orders(shop: Client) -> Iterator[WorkflowHandle]:
    """The workflow ``order``, of which there are no instances before and after."""
    handle = shop.workflow("order")
    handle.delete_all(None)
    yield handle
    handle.delete_all(None)


@pytest.fixture
def worker(shop: Client) -> HandWorker:
    return HandWorker(shop.store)


def ended(browser: TestClient, job: str) -> dict[str, Any]:
    """A job once it is over."""
    over = threading.Event()
    while True:
        found: dict[str, Any] = browser.get(f"/api/bulk/{job}").json()["result"]
        if found["ended_at"]:
            return found
        over.wait(0.01)


def done(browser: TestClient, action: str, **more: Any) -> dict[str, Any]:
    """What came of an order."""
    filter = {"workflow": "order", **more.pop("filter", {})}
    answer = browser.post("/api/bulk", json={"action": action, "filter": filter, **more})
    assert answer.status_code == 202, answer.text
    return ended(browser, answer.json()["result"]["id"])


def counts(handle: WorkflowHandle) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in handle.list(limit=1000):
        found[str(one.status)] = found.get(str(one.status), 0) + 1
    return found


def fail(worker: HandWorker, orders: WorkflowHandle, id: str, name: str, error: Exception) -> None:
    """An instance fails with the error of its second step."""
    instance = orders.create(id)._instance
    worker.turn(instance, opened=[step(1, "reserve")])
    worker.settle(instance, 1, "reserve", worker.claim(instance, "a", 1), value=1)
    worker.turn(instance, opened=[step(2, name)])
    worker.settle(instance, 2, name, worker.claim(instance, "a", 2), error=error)
    worker.fail(instance, error)


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        ("pause", "queued", "paused"),
        ("resume", "paused", "queued"),
        ("terminate", "queued", "terminated"),
        ("restart", "terminated", "queued"),
        ("roll_back", "queued", "terminated"),
    ],
)
def test_an_action_is_done_to_all_that_are_meant(
    orders: WorkflowHandle, browser: TestClient, action: str, before: str, after: str
) -> None:
    orders.create_batch({"count": 100})
    orders.create_batch({"count": 50})
    if before in ("paused", "terminated"):
        done(browser, {"paused": "pause", "terminated": "terminate"}[before])
    job = done(browser, action, filter={"status": before})
    assert (job["state"], job["total"], job["done"], job["refused"]) == ("done", 150, 150, [])
    assert counts(orders) == {after: 150}


def test_a_dry_run_counts_and_changes_nothing(orders: WorkflowHandle, browser: TestClient) -> None:
    orders.create_batch({"count": 7})
    job = done(browser, "delete", dry_run=True)
    assert (job["state"], job["done"]) == ("done", 7)
    assert counts(orders) == {"queued": 7}
    assert done(browser, "delete", dry_run=True, limit=3)["done"] == 3


def test_no_more_are_taken_than_the_limit_and_these_are_the_newest(orders: WorkflowHandle, browser: TestClient) -> None:
    for number in range(5):
        orders.create(f"o{number}")
    newest = [one.id for one in orders.list(limit=2)]
    job = done(browser, "pause", limit=2)
    assert (job["total"], job["done"]) == (2, 2)
    assert [one.id for one in orders.list("paused")] == newest


def test_those_that_are_named_are_taken_and_what_became_of_others_is_said(
    orders: WorkflowHandle, browser: TestClient
) -> None:
    orders.create("here")
    orders.create("over").terminate()
    orders.create("other")
    job = done(browser, "terminate", filter={"ids": ["here", "over", "gone", "gone"]})
    assert (job["done"], job["met"]) == (1, 3)
    assert {one["code"]: (one["count"], one["id"]) for one in job["refused"]} == {
        "InvalidTransition": (1, "over"),
        "InstanceNotFound": (1, "gone"),
    }
    assert counts(orders) == {"queued": 1, "terminated": 2}


def test_a_group_of_failed_ones_is_taken_and_no_other(
    orders: WorkflowHandle, worker: HandWorker, browser: TestClient
) -> None:
    fail(worker, orders, "c1", "charge", OSError("no way"))
    fail(worker, orders, "c2", "charge", OSError("no way"))
    fail(worker, orders, "c3", "charge", ValueError("no card"))
    fail(worker, orders, "p1", "pack", OSError("no box"))
    group = {"status": "errored", "error": "OSError", "step": "charge"}
    assert done(browser, "restart", filter=group, dry_run=True)["done"] == 2
    job = done(browser, "restart", filter=group)
    assert (job["total"], job["done"]) == (2, 2)
    assert {one.id for one in orders.list("queued")} == {"c1", "c2"}
    assert {one.id for one in orders.list("errored")} == {"c3", "p1"}


def test_a_retry_from_the_step_that_failed_keeps_what_was_done_before(
    orders: WorkflowHandle, worker: HandWorker, browser: TestClient
) -> None:
    fail(worker, orders, "o1", "charge", OSError("no way"))
    worker.fail(orders.create("o2")._instance, ValueError("in run"))
    job = done(browser, "restart_failed_step")
    assert (job["done"], [one["code"] for one in job["refused"]]) == (1, ["NoFailedStep"])
    restarted = orders.get("o1").status()
    assert (str(restarted.status), [(one.name, one.status) for one in restarted.steps]) == (
        "queued",
        [("reserve", "complete")],
    )
    assert str(orders.get("o2").status().status) == "errored"


class Gate:
    """Holds an action up behind its first hundred."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def each(self, keys: Any, instances: Any) -> Any:
        answers = yield from ACTIONS["pause"].verb.each(keys, instances)
        self.reached.set()
        assert self.opened.wait(30)
        return answers


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    slow = replace(ACTIONS["pause"], verb=replace(ACTIONS["pause"].verb, each=gate.each))
    monkeypatch.setattr(bulk_orders, "ACTIONS", {**ACTIONS, "pause": slow})
    yield gate
    gate.opened.set()


def test_a_job_that_is_stopped_leaves_the_others_alone_and_another_one_does_the_rest(
    orders: WorkflowHandle, browser: TestClient, gate: Gate
) -> None:
    for _ in range(3):
        orders.create_batch({"count": 100})
    order = {"action": "pause", "filter": {"workflow": "order"}}
    id = browser.post("/api/bulk", json=order).json()["result"]["id"]
    assert gate.reached.wait(30)

    assert browser.delete(f"/api/bulk/{id}").json()["result"]["state"] == "stopping"
    gate.opened.set()
    job = ended(browser, id)

    assert (job["state"], job["total"], job["done"]) == ("stopped", 300, 100)
    assert counts(orders) == {"paused": 100, "queued": 200}
    assert done(browser, "pause")["done"] == 200
    assert browser.delete(f"/api/bulk/{id}").json()["result"]["state"] == "stopped"


def test_there_are_so_many_jobs_at_a_time_and_no_more(orders: WorkflowHandle, browser: TestClient, gate: Gate) -> None:
    orders.create("o")
    order = {"action": "pause", "filter": {"workflow": "order", "ids": ["o"]}}
    answers = [browser.post("/api/bulk", json=order) for _ in range(RUNNING_MAX + 1)]
    assert [answer.status_code for answer in answers] == [202] * RUNNING_MAX + [429]
    gate.opened.set()
    for answer in answers[:-1]:
        ended(browser, answer.json()["result"]["id"])
    assert done(browser, "resume")["done"] == 1


def test_a_job_ends_with_its_process_after_the_hundred_it_is_at(
    orders: WorkflowHandle, shop: Client, gate: Gate
) -> None:
    for _ in range(2):
        orders.create_batch({"count": 100})
    jobs = Jobs(lambda: shop)
    job = jobs.start(Order("pause", Filter("order")), "ann")
    assert gate.reached.wait(30)
    closing = threading.Thread(target=jobs.close)
    closing.start()
    while job.state == "running":
        closing.join(0.01)
    gate.opened.set()
    closing.join(30)
    assert (job.state, job.done) == ("stopped", 100)


def test_a_job_that_meets_an_error_says_so(shop: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> Any:
        raise redis_away

    from workflows.errors import ServerUnavailable

    redis_away = ServerUnavailable("Redis is away")
    monkeypatch.setattr("workflows.ui.bulk.how_many", away)
    job = Job(Order("pause", Filter("order")), "ann")
    job.run(shop)
    assert (job.state, job.error) == ("failed", "Redis is away")


@pytest.mark.parametrize(
    ("order", "code", "said"),
    [
        ([], "BadRequest", "The body is"),
        ({"action": "explode", "filter": {"workflow": "order"}}, "BadAction", "There is no action 'explode'"),
        ({"action": "pause"}, "BadFilter", 'an object with "workflow"'),
        ({"action": "pause", "filter": {"workflow": "or der"}}, "BadName", "or der"),
        ({"action": "pause", "filter": {"workflow": "order", "colour": 1}}, "BadFilter", "has no colour"),
        ({"action": "pause", "filter": {"workflow": "order", "status": 3}}, "BadFilter", "no list of texts"),
        ({"action": "pause", "filter": {"workflow": "order", "status": "errored"}}, "ConfigError", "not possible"),
        ({"action": "pause", "filter": {"workflow": "order", "ids": []}}, "BadFilter", "1 to 1,000 ids"),
        ({"action": "pause", "filter": {"workflow": "order", "date_start": "soon"}}, "ConfigError", "ISO 8601"),
        ({"action": "pause", "filter": {"workflow": "order"}, "limit": 0}, "BadRequest", "limit is 0"),
        ({"action": "pause", "filter": {"workflow": "order"}, "dry_run": 1}, "BadRequest", "neither true nor false"),
        ({"action": "pause", "filter": {"workflow": "order"}, "force": True}, "BadRequest", "There is no force"),
    ],
)
def test_an_order_that_makes_no_sense_begins_with_nothing(
    browser: TestClient, order: Any, code: str, said: str
) -> None:
    answer = browser.post("/api/bulk", json=order)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["code"]) == (422, code)
    assert said in error["message"]


def test_conditions_come_back_as_they_were_given(orders: WorkflowHandle, browser: TestClient) -> None:
    filter = {"workflow": "order", "status": ["queued"], "date_start": "2026-01-01T00:00:00+00:00"}
    assert done(browser, "pause", filter=filter)["filter"] == filter
    assert Filter.of(filter).as_dict() == filter


def test_who_may_not_do_it_to_one_may_not_do_it_to_many(
    orders: WorkflowHandle, browse: Browse, caplog: pytest.LogCaptureFixture
) -> None:
    orders.create("o")
    caplog.set_level(logging.INFO, "workflows.ui")
    restarter = browse(access=lambda _: Access(True, frozenset({"restart"}), "ann"))
    refused = restarter.post("/api/bulk", json={"action": "delete", "filter": {"workflow": "order"}})
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (403, "Forbidden")
    assert done(restarter, "restart_failed_step")["state"] == "done"
    assert [(record.user, record.outcome) for record in caplog.records if record.message == "ui_action"] == [  # type: ignore[attr-defined]
        ("ann", "Forbidden"),
        ("ann", "done"),
        ("ann", "done"),
    ]


def test_a_job_that_is_not_known_is_not_found(browser: TestClient) -> None:
    assert browser.get("/api/bulk/none").status_code == 404
    assert browser.delete("/api/bulk/none").status_code == 404
    assert isinstance(browser.get("/api/bulk").json()["result"], list)
