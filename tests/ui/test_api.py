"""Does the JSON interface do what the client does, page by page, and say what it does not do?"""

from __future__ import annotations

import inspect
import logging
import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.driving import HandWorker, sleep, step, wait
from tests.ui.conftest import Browse
from workflows.client import Client, WorkflowHandle
from workflows.errors import NonRetryableError
from workflows.ui import Access
from workflows.ui.routes import API, ROUTES

ORDERS = "/api/workflows/order/instances"


@pytest.fixture(scope="module")
def orders(shop: Client) -> WorkflowHandle:
    return shop.workflow("order")


@pytest.fixture(scope="module")
def hand(shop: Client) -> HandWorker:
    return HandWorker(shop.store)


def result(answer: Any, status: int = 200) -> Any:
    """What a request has achieved."""
    assert answer.status_code == status, answer.text
    shape = answer.json()
    assert (shape["success"], shape["errors"]) == (True, [])
    return shape["result"]


def refused(answer: Any, status: int, code: str) -> str:
    """Why a request was refused."""
    shape = answer.json()
    assert (answer.status_code, shape["success"], shape["result"]) == (status, False, None)
    (error,) = shape["errors"]
    assert error["code"] == code
    return str(error["message"])


# Workflows


def test_workflows_are_listed_with_how_many_instances_they_have(browser: TestClient, orders: WorkflowHandle) -> None:
    orders.create("counted")
    (order,) = result(browser.get("/api/workflows"))
    assert (order["name"], order["app"], order["queue"]) == ("order", "shop", "default")
    assert order["instances"]["queued"] >= 1


def test_a_workflow_is_described_with_its_code_and_schema(browser: TestClient) -> None:
    order = result(browser.get("/api/workflows/order"))
    assert (order["name"], order["code"]) == ("order", "v1")
    assert {"instances", "params_schema", "schedules", "retention", "concurrency"} <= order.keys()
    assert "Registered: order" in refused(browser.get("/api/workflows/nothing"), 404, "UnknownWorkflow")


# Listings


def test_a_listing_goes_on_at_its_cursor(browser: TestClient, orders: WorkflowHandle) -> None:
    orders.create_batch([{"id": f"page-{n}"} for n in range(5)])
    seen: list[str] = []
    cursor = ""
    while True:
        answer = browser.get(ORDERS, params={"per_page": 2, "cursor": cursor} if cursor else {"per_page": 2})
        seen += [one["id"] for one in result(answer)]
        cursor = answer.json()["result_info"]["cursor"]
        if cursor is None:
            break
    assert len(seen) == len({*seen})
    assert {f"page-{n}" for n in range(5)} <= {*seen}
    backwards = [one["id"] for one in result(browser.get(ORDERS, params={"direction": "asc", "per_page": 100}))]
    assert backwards == seen[::-1]


def test_a_listing_is_of_those_that_are_meant(browser: TestClient, hand: HandWorker, orders: WorkflowHandle) -> None:
    orders.create("ended")
    hand.complete(hand.keys.instance("order", "ended"), {"paid": True})
    found = result(browser.get(ORDERS, params={"status": ["complete", "errored"]}))
    assert [(one["id"], one["status"]) for one in found] == [("ended", "complete")]
    assert result(browser.get(ORDERS, params={"date_start": "2100-01-01"})) == []
    assert result(browser.get(ORDERS, params={"date_end": "2000-01-01"})) == []


@pytest.mark.parametrize(
    ("query", "status", "code", "message"),
    [
        ({"page": "2"}, 400, "Unsupported", "unsupported: page"),
        ({"status": "lost"}, 422, "ConfigError", "no status 'lost'"),
        ({"per_page": "101"}, 422, "ConfigError", "from 1 to 100"),
        ({"per_page": "-1"}, 422, "ConfigError", "from 1 to 100"),
        ({"per_page": "²"}, 422, "ConfigError", "from 1 to 100"),
        ({"direction": "up"}, 422, "ConfigError", "asc or desc"),
        ({"cursor": "x"}, 422, "ConfigError", "not a cursor"),
        ({"date_start": "yesterday"}, 422, "ConfigError", "ISO 8601"),
        ({"metadata": "customer"}, 422, "ConfigError", "key=value"),
    ],
)
def test_what_a_listing_cannot_be_asked_for_is_said(
    browser: TestClient, query: dict[str, str], status: int, code: str, message: str
) -> None:
    assert message in refused(browser.get(ORDERS, params=query), status, code)


# Creating


@pytest.mark.parametrize(("params", "kept"), [({"n": 1}, {"n": 1}), ('{"n": 2}', {"n": 2}), ("plain", "plain")])
def test_params_are_json_or_json_in_a_text(browser: TestClient, orders: WorkflowHandle, params: Any, kept: Any) -> None:
    made = result(browser.post(ORDERS, json={"params": params}), 201)
    assert (made["workflow"], made["status"]) == ("order", "queued")
    assert orders.get(made["id"]).status().params == kept


def test_an_instance_is_created_as_it_is_asked_for(browser: TestClient, orders: WorkflowHandle) -> None:
    body = {"instance_id": "asked", "instance_retention": {"success_retention": "1 day"}, "metadata": {"by": "ann"}}
    assert result(browser.post(ORDERS, json=body), 201)["id"] == "asked"
    assert orders.get("asked").status().metadata == {"by": "ann"}
    refused(browser.post(ORDERS, json=body), 409, "InstanceAlreadyExists")


def test_an_instance_needs_no_body(browser: TestClient, orders: WorkflowHandle) -> None:
    made = result(browser.post(ORDERS), 201)
    assert orders.get(made["id"]).status().params == {}


def test_a_request_that_is_sent_again_gives_the_same_instance(browser: TestClient) -> None:
    """With the id that it asks for, or with one that is made of the key."""
    for body in ({"instance_id": "again"}, {}):
        key = {"idempotency-key": f"an order, {len(body)}"}
        first, second = (result(browser.post(ORDERS, json=body, headers=key), 201) for _ in range(2))
        assert first == second
    other = result(browser.post(ORDERS, json={}, headers={"idempotency-key": "another"}), 201)
    assert other != first
    refused(browser.post(ORDERS, json={"instance_id": "again"}), 409, "InstanceAlreadyExists")


def test_a_batch_tells_of_each_what_became_of_it(browser: TestClient, orders: WorkflowHandle) -> None:
    orders.create("there")
    entries = [{"instance_id": "b1", "params": '{"n": 1}'}, {"instance_id": "there"}, {"id": "b2"}, 7]
    for body in (entries, {"instances": [{"instance_id": "b3"}]}):
        told = result(browser.post(f"{ORDERS}/batch", json=body), 201)
        assert [one["id"] for one in told["created"]] == (["b1", "b2"] if body is entries else ["b3"])
    told = result(browser.post(f"{ORDERS}/batch", json=entries))
    assert [one["code"] for one in told["errors"]][1] == "instance.already_exists"
    assert orders.get("b1").status().params == {"n": 1}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "BadJson"),
        (b"\xff", 400, "BadJson"),
        (b"[" * 100_000, 400, "BadJson"),
        (b'{"params": NaN}', 400, "BadJson"),
        (b"[]", 422, "ConfigError"),
        (b'{"id": "x"}', 422, "ConfigError"),
        (b'{"instance_id": "no spaces"}', 422, "BadName"),
        (b'{"instance_id": 7}', 422, "BadName"),
        (b'{"instance_retention": "soon"}', 422, "BadDuration"),
        (b'{"metadata": {"a": 7}}', 422, "BadParams"),
        (b'{"params": "' + b"x" * 2**21 + b'"}', 422, "PayloadTooLarge"),
        (b" " * (16 * 2**20 + 1), 413, "TooLarge"),
    ],
)
def test_what_cannot_be_created_is_said(browser: TestClient, body: bytes, status: int, code: str) -> None:
    refused(browser.post(ORDERS, content=body), status, code)


# One instance


def test_an_instance_is_shown_with_its_steps_page_by_page(
    browser: TestClient, hand: HandWorker, orders: WorkflowHandle
) -> None:
    orders.create("stepped", {"n": 1})
    hand.turn(hand.keys.instance("order", "stepped"), opened=[step(n, f"step {n}") for n in range(1, 206)])
    first = browser.get(f"{ORDERS}/stepped")
    shape = result(first)
    assert (shape["id"], shape["params"], shape["steps_complete"]) == ("stepped", {"n": 1}, False)
    assert [one["seq"] for one in shape["steps"]] == list(range(1, 201))
    cursor = first.json()["result_info"]["step_cursor"]
    second = browser.get(f"{ORDERS}/stepped", params={"step_cursor": cursor})
    assert [one["seq"] for one in result(second)["steps"]] == list(range(201, 206))
    assert second.json()["result_info"]["step_cursor"] is None
    assert "steps" not in result(browser.get(f"{ORDERS}/stepped", params={"simple": "true"}))


def test_one_step_is_found_by_its_name(browser: TestClient, hand: HandWorker, orders: WorkflowHandle) -> None:
    orders.create("one-step")
    instance = hand.keys.instance("order", "one-step")
    hand.turn(instance, opened=[step(1, "charge"), step(2, "charge", count=2), wait(3, "answer", "packed")])
    where = f"{ORDERS}/one-step/step"
    assert result(browser.get(where, params={"name": "charge"}))["seq"] == 1
    assert result(browser.get(where, params={"name": "charge-2", "type": "step"}))["seq"] == 2
    assert result(browser.get(where, params={"name": "charge", "count": "2"}))["seq"] == 2
    assert result(browser.get(where, params={"name": "answer", "type": "waitForEvent"}))["seq"] == 3
    refused(browser.get(where, params={"name": "answer"}), 404, "StepNotFound")
    refused(browser.get(where, params={"name": "charge", "attempt": "3"}), 404, "AttemptNotFound")
    refused(browser.get(where), 422, "ConfigError")
    refused(browser.get(where, params={"name": "charge", "type": "dance"}), 422, "ConfigError")


def test_the_journal_is_shown_as_it_is_stored(browser: TestClient, hand: HandWorker, orders: WorkflowHandle) -> None:
    orders.create("journal", {"n": 1})
    instance = hand.keys.instance("order", "journal")
    hand.turn(instance, opened=[step(1, "charge")])
    hand.settle(instance, 1, "charge", hand.claim(instance, "a", 1), value={"receipt": 7})
    start, settled = result(browser.get(f"{ORDERS}/journal/journal"))
    assert (start["position"], start["kind"], start["content"]["params"]) == (0, "Start", {"n": 1})
    assert (settled["position"], settled["kind"], settled["content"]["value"]) == (1, "Settled", {"receipt": 7})
    assert len(settled["nonce"]) == 8
    refused(browser.get(f"{ORDERS}/journal/journal", params={"cursor": "-1"}), 422, "ConfigError")


def test_the_timeline_says_when_what_was_done(browser: TestClient, hand: HandWorker, orders: WorkflowHandle) -> None:
    orders.create("timeline")
    hand.turn(hand.keys.instance("order", "timeline"), opened=[step(1, "charge"), sleep(2, "rest", 60_000)])
    told = result(browser.get(f"{ORDERS}/timeline/timeline"))
    assert [(one["name"], [span["kind"] for span in one["spans"]]) for one in told["steps"]] == [
        ("charge", ["queue"]),
        ("rest", ["sleep"]),
    ]
    assert told["steps"][1]["spans"][0]["end"] is None


def test_an_instance_is_deleted_and_not_there_any_more(browser: TestClient, orders: WorkflowHandle) -> None:
    orders.create("doomed")
    assert result(browser.delete(f"{ORDERS}/doomed"))["id"] == "doomed"
    for path in ("doomed", "doomed/step?name=x", "doomed/timeline", "doomed/journal"):
        refused(browser.get(f"{ORDERS}/{path}"), 404, "InstanceNotFound")
    refused(browser.delete(f"{ORDERS}/doomed"), 404, "InstanceNotFound")


def test_an_instance_is_steered(browser: TestClient, orders: WorkflowHandle) -> None:
    orders.create("steered")
    where = f"{ORDERS}/steered/status"
    for body, status in (
        ({"status": "pause"}, "paused"),
        ({"action": "resume"}, "queued"),
        ({"status": "cancel", "reason": "no stock", "grace": "1 minute"}, "terminated"),
        ({"status": "restart"}, "queued"),
        ({"status": "terminate", "rollback": False}, "terminated"),
        ({"status": "restart"}, "queued"),
    ):
        assert result(browser.patch(where, json=body))["status"] == status
    result(browser.patch(where, json={"status": "terminate"}))
    refused(browser.patch(where, json={"status": "terminate"}), 409, "InvalidTransition")
    refused(browser.patch(where, json={"status": "restart", "from": "charge"}), 409, "InstanceError")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"status": "erase"},
        {"status": "__class__"},
        {"status": ["pause"]},
        {"status": "pause", "from": "x"},
        {"status": "pause", "rollback": True},
        {"status": "terminate", "rollback": "yes"},
        {"status": "restart", "from": 7},
        {"status": "restart", "from": {"count": 2}},
        {"status": "pause", "because": "x"},
        {"status": "pause", "reason": "x"},
        {"status": "cancel", "reason": 7},
    ],
)
def test_what_no_instance_can_be_told_is_refused(browser: TestClient, orders: WorkflowHandle, body: Any) -> None:
    orders.create("untouched", command_id="untouched")
    refused(browser.patch(f"{ORDERS}/untouched/status", json=body), 422, "ConfigError")
    assert orders.get("untouched").status().status == "queued"


def test_an_event_is_accepted_once(browser: TestClient, hand: HandWorker, orders: WorkflowHandle) -> None:
    orders.create("event")
    hand.turn(hand.keys.instance("order", "event"), opened=[wait(1, "answer", "packed")])
    where = f"{ORDERS}/event/events/packed"
    assert result(browser.post(where, json={"by": "ann"}, params={"event_id": "e1"}), 202) == {"delivery": "delivered"}
    assert result(browser.post(where, json={"by": "ann"}, params={"event_id": "e2"}), 202) == {"delivery": "buffered"}
    refused(browser.post(f"{ORDERS}/event/events/no%20type", json=None), 422, "BadName")
    orders.get("event").terminate()
    refused(browser.post(where, json=None), 409, "InstanceEnded")


# Processes


def test_what_moves_instances_is_told(browser: TestClient) -> None:
    queues = result(browser.get("/api/queues"))
    assert [*queues] == ["default"]
    assert queues["default"]["workers"] == 0
    workers = result(browser.get("/api/workers"))
    assert (workers["orchestrators"], workers["workers"]) == ([], [])
    assert result(browser.get("/api/schedules")) == []
    assert {one["level"] for one in result(browser.get("/api/doctor"))["findings"]} <= {"ok", "warning", "error"}


def test_health_is_open_to_everybody_and_says_nothing(browse: Browse) -> None:
    stranger = browse(access=lambda _: Access.NONE)
    assert result(stranger.get("/api/health")) == {"status": "ok"}
    assert stranger.get("/api/queues").status_code == 403


def test_errors_are_told_in_groups(browser: TestClient, hand: HandWorker, orders: WorkflowHandle) -> None:
    orders.create("failed")
    hand.fail(hand.keys.instance("order", "failed"), NonRetryableError("card refused"))
    groups = result(browser.get("/api/errors", params={"workflow": "order"}))["groups"]
    assert [(one["error"], one["message"], one["id"]) for one in groups] == [
        ("NonRetryableError", "card refused", "failed")
    ]
    assert result(browser.get("/api/errors", params={"since": "2100-01-01"}))["groups"] == []
    refused(browser.get("/api/errors", params={"workflow": "|"}), 422, "BadName")


# Values that stay hidden


def test_values_are_hidden_where_they_shall_be(browse: Browse, hand: HandWorker, orders: WorkflowHandle) -> None:
    orders.create("hidden", {"card": "4711-secret"})
    instance = hand.keys.instance("order", "hidden")
    hand.turn(instance, opened=[step(1, "charge")])
    hand.settle(instance, 1, "charge", hand.claim(instance, "a", 1), value="receipt-secret")
    hand.complete(instance, "output-secret")
    browser = browse(hide_values=True)
    for path in ("", "/journal", "/timeline", "/step?name=charge"):
        answer = browser.get(f"{ORDERS}/hidden{path}")
        assert answer.status_code == 200
        assert "secret" not in answer.text
    assert result(browser.get(f"{ORDERS}/hidden"))["params"] == {"hidden": True, "bytes": 23}


# Who did what


def ui_actions(caplog: pytest.LogCaptureFixture) -> list[tuple[Any, ...]]:
    return [
        (one.user, one.action, one.instance, one.outcome)  # type: ignore[attr-defined]
        for one in caplog.records
        if one.message == "ui_action"
    ]


def test_every_write_leaves_a_line_in_the_log(
    browse: Browse, orders: WorkflowHandle, caplog: pytest.LogCaptureFixture
) -> None:
    browser = browse(access=lambda _: Access.OPERATE.by("ann"))
    with caplog.at_level(logging.INFO, "workflows.ui"):
        browser.post(ORDERS, json={"instance_id": "told", "params": {"card": "secret"}})
        browser.post(f"{ORDERS}/told/events/packed", json="secret")
        browser.patch(f"{ORDERS}/told/status", json={"status": "terminate"})
        browser.patch(f"{ORDERS}/told/status", json={"status": "terminate"})
        browser.post(f"{ORDERS}/batch", json=[{"params": "secret"}, {}])
        browser.delete(f"{ORDERS}/told")
    assert ui_actions(caplog) == [
        ("ann", "create", "order/told", "done"),
        ("ann", "send_event", "order/told", "done"),
        ("ann", "terminate", "order/told", "done"),
        ("ann", "terminate", "order/told", "InvalidTransition"),
        ("ann", "create", "order", "done"),
        ("ann", "delete", "order/told", "done"),
    ]
    assert not [one for one in caplog.records if "secret" in str(vars(one))]


def test_who_may_do_some_things_is_refused_the_others_and_that_is_told_too(
    browse: Browse, orders: WorkflowHandle, caplog: pytest.LogCaptureFixture
) -> None:
    orders.create("guarded")
    browser = browse(access=lambda _: {"pause"})
    with caplog.at_level(logging.INFO, "workflows.ui"):
        result(browser.patch(f"{ORDERS}/guarded/status", json={"status": "pause"}))
        refused(browser.patch(f"{ORDERS}/guarded/status", json={"status": "terminate"}), 403, "Forbidden")
        refused(browser.delete(f"{ORDERS}/guarded"), 403, "Forbidden")
        refused(browser.post(ORDERS, json={}), 403, "Forbidden")
    assert [(action, outcome) for _, action, _, outcome in ui_actions(caplog)] == [
        ("pause", "done"),
        ("terminate", "Forbidden"),
        ("delete", "Forbidden"),
        ("create", "Forbidden"),
    ]
    assert orders.get("guarded").status().status == "paused"


WRITES = [route for route in API if route.method != "GET" and "/instances" in route.path]


@pytest.mark.parametrize("route", WRITES, ids=lambda route: f"{route.method} {route.path}")
def test_no_write_to_an_instance_is_done_for_who_may_only_read(
    browse: Browse, orders: WorkflowHandle, caplog: pytest.LogCaptureFixture, route: Any
) -> None:
    orders.create("readable", command_id="readable")
    path = route.path.format(name="order", id="readable", type="packed")
    body: Any = [{}] if path.endswith("batch") else {"status": "terminate"} if path.endswith("status") else {}
    with caplog.at_level(logging.INFO, "workflows.ui"):
        answer = browse(access=lambda _: Access.READ).request(route.method, path, json=body)
    refused(answer, 403, "Forbidden")
    assert [outcome for *_, outcome in ui_actions(caplog)] == ["Forbidden"]
    assert orders.get("readable").status().status == "queued"


@pytest.mark.parametrize(
    "route", [one for one in ROUTES if one.method != "GET"], ids=lambda route: f"{route.method} {route.path}"
)
def test_no_address_takes_a_write_from_another_site(browser: TestClient, route: Any) -> None:
    path = re.sub(r"{\w+}", "order", route.path)
    answer = browser.request(route.method, path, headers={"sec-fetch-site": "cross-site"}, content=b"a=b")
    assert answer.status_code == 403
    assert "ForbiddenOrigin" in answer.text


def test_a_write_from_another_site_does_nothing(browser: TestClient, orders: WorkflowHandle) -> None:
    orders.create("safe")
    elsewhere = {"sec-fetch-site": "cross-site", "origin": "http://evil.example"}
    refused(browser.delete(f"{ORDERS}/safe", headers=elsewhere), 403, "ForbiddenOrigin")
    assert orders.get("safe").status().status == "queued"


# What strangers write

HOSTILE = ["<script>alert(1)</script>", '"><svg onload=alert(1)>', "\u202egnp.exe\u2066", "{{ 7 * 7 }}", "x" * 2**20]


@pytest.mark.parametrize("text", HOSTILE, ids=["script", "svg", "bidi", "template", "one word"])
def test_hostile_texts_come_out_as_they_went_in(
    browser: TestClient, hand: HandWorker, orders: WorkflowHandle, text: str
) -> None:
    short = text[:200]
    made = orders.create(params={short: short})
    instance = hand.keys.instance("order", made.id)
    hand.turn(instance, opened=[step(1, short)])
    hand.settle(instance, 1, short, hand.claim(instance, "a", 1), value=text[: 2**19])
    hand.fail(instance, NonRetryableError(text))
    answer = browser.get(f"{ORDERS}/{made.id}")
    assert answer.headers["content-type"] == "application/json"
    shape = result(answer)
    assert (shape["params"], shape["steps"][0]["name"]) == ({short: short}, short)
    assert shape["steps"][0]["output"] == text[: 2**19]


# What there is, for programs


def test_the_interface_describes_itself(browser: TestClient) -> None:
    """Every address with what it takes; made of the same table, so what is compared is that nothing is left out."""
    told = browser.get("/api/openapi.json").json()
    said = {(method.upper(), path) for path, methods in told["paths"].items() for method in methods}
    assert said == {(route.method, route.path) for route in API}
    operations = [one for methods in told["paths"].values() for one in methods.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    assert all(one["summary"].endswith(".") for one in operations)
    assert told["servers"] == [{"url": "/"}]


QUERIES = re.compile(r"""query(?:\.get|\.getlist)?[(\[]"(\w+)"|(?:number|flag)\(context, "(\w+)\"""")


@pytest.mark.parametrize("route", API, ids=lambda route: f"{route.method} {route.path}")
def test_the_description_names_what_a_handler_reads(route: Any) -> None:
    read = {name for found in QUERIES.findall(inspect.getsource(route.handler)) for name in found if name}
    assert read <= {*route.query}
    documented = {*re.findall(r"``(\w+)``", (route.handler.__doc__ or "").partition("Query:")[2])}
    assert {*route.query} <= documented or not route.query


def test_reasons_are_told_as_everywhere(browser: TestClient, orders: WorkflowHandle) -> None:
    orders.create("asked-why")
    reasons = result(browser.get(f"{ORDERS}/asked-why/why"))
    assert [one["code"] for one in reasons] == [one.code for one in orders.get("asked-why").why()]
    assert reasons[0]["sentence"]


def test_metrics_are_text(browser: TestClient) -> None:
    answer = browser.get("/api/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'workflow="order"' in answer.text
