"""Does every page tell what there is, and every button do what it says?"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from starlette.testclient import TestClient

from tests.driving import HandWorker, published, sleep, step, undo, wait
from tests.ui.conftest import Browse
from tests.ui.html_checks import Page, checked
from workflows.client import Client, WorkflowInstance
from workflows.client.history import AttemptFailure, ErrorInfo, StepStatus
from workflows.storage.manifest import publish_manifest
from workflows.ui import Access
from workflows.ui.rendering import environment
from workflows.ui.timeline import timeline

SCHEMA = {
    "type": "object",
    "title": "Order",
    "required": ["customer", "total"],
    "properties": {
        "customer": {"type": "string", "title": "Customer", "description": "Who pays"},
        "total": {"type": "integer", "title": "Total", "minimum": 1},
        "express": {"type": "boolean", "title": "Express", "default": False},
        "lines": {"type": "array", "title": "Lines", "items": {"type": "object"}, "default": []},
    },
}


class Catering:
    """An app with params, schedules and metadata, as far as publishing is concerned."""

    name = "catering-app"

    def manifest(self) -> dict[str, Any]:
        workflow = {
            "queue": "kitchen",
            "retention": {"success_ms": 86_400_000, "error_ms": 86_400_000},
            "schedules": [{"cron": "30 9 * * *", "timezone": "Europe/Rome", "overlap": "skip"}],
            "params_schema": SCHEMA,
            "metadata": ["customer"],
            "event_schemas": {
                "tasted": {"type": "object", "required": ["stars"], "properties": {"stars": {"type": "integer"}}}
            },
        }
        return {"code": "v7", "queues": ["kitchen"], "workflows": {"catering": workflow}}


@pytest.fixture(scope="module")
def hand(shop: Client) -> HandWorker:
    publish_manifest(shop.store, Catering())
    return HandWorker(shop.store)


@pytest.fixture(scope="module")
def orders(shop: Client, hand: HandWorker) -> dict[str, WorkflowInstance]:
    """An instance in every situation that a page tells apart."""
    handle = shop.workflow("order")

    def made(id: str) -> WorkflowInstance:
        return handle.create(id, {"total": 12})

    every = {id: made(id) for id in ("queued", "running", "waiting", "retrying", "paused", "parked", "failed", "done")}
    for id in ("running", "waiting", "retrying", "paused", "failed", "done"):
        instance = every[id]._instance
        hand.turn(instance, opened=[step(1, "charge card")])
        token = hand.claim(instance, "a", 1)
        match id:
            case "retrying":
                hand.settle(instance, 1, "charge card", token, retry=(60_000, ValueError("card refused")))
            case "running":
                pass
            case _:
                hand.settle(instance, 1, "charge card", token, value={"receipt": "r-1"})
    hand.turn(every["waiting"]._instance, opened=[wait(2, "packing", "packed"), sleep(3, "nap", 60_000)])
    hand.fail(every["failed"]._instance, ValueError("the van is full"))
    hand.complete(every["done"]._instance, {"shipped": True}, warnings=["a step was not awaited"])
    hand.park(every["parked"]._instance, "the code has changed")
    every["paused"].pause()
    every["waiting"].send_event("unknown", {"by": "payload-of-bo"})
    return every


def page(browser: TestClient, path: str, status: int = 200) -> Page:
    answer = browser.get(path)
    assert answer.status_code == status, answer.text[:2000]
    return checked(answer.text)


def one(id: str, more: str = "") -> str:
    return f"/workflows/order/instances/{id}{more}"


TABS = ("steps", "values", "events", "family", "journal", "raw")
ALL = [
    *("/", "/schedules", "/workers", "/doctor", "/nothing-here", "/find?id=done", "/find?id=nobody", "/find?id=%00"),
    *(
        "/workflows/nothing",
        "/workflows/nothing/instances",
        "/workflows/order",
        "/workflows/catering",
        "/workflows/catering/new",
        "/workflows/order/new",
    ),
    *("/workflows/order/instances", "/workflows/catering/instances", "/workflows/order/instances?status=queued"),
    *("/workflows/order/instances?doing=retrying", "/workflows/order/instances?doing=values"),
    "/workflows/order/instances?status=nonsense",
    *("/workflows/order/instances?created_from=yesterday", "/workflows/order/instances?metadata=a"),
    *(one("waiting", f"?tab={tab}") for tab in TABS),
    *(one(id) for id in ("queued", "running", "retrying", "paused", "parked", "failed", "done")),
    *(one("failed", "?tab=values"), one("nobody")),
]


@pytest.mark.parametrize("path", ALL)
def test_every_page_is_whole(browser: TestClient, orders: dict[str, WorkflowInstance], path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code < 500
    if answer.status_code != 303:
        checked(answer.text)


def test_the_overview_counts_and_leads_everywhere(browser: TestClient, orders: dict[str, WorkflowInstance]) -> None:
    answer = browser.get("/")
    text = checked(answer.text).text
    assert "no orchestrator is running" in text
    assert "the van is full" in text
    for link in {*re.findall(r'href="(/[^"#]*)', answer.text)}:
        assert browser.get(link).status_code == 200, link


def test_the_list_says_what_each_is_doing(browser: TestClient, orders: dict[str, WorkflowInstance]) -> None:
    text = page(browser, "/workflows/order/instances").text
    assert "retrying charge card" in text
    assert "waits for event packed until" in text
    assert "parked: the code has changed" in text
    assert "unclaimed on default" in text
    assert "ValueError : the van is full" in text


def test_programs_are_told_the_same(browser: TestClient, orders: dict[str, WorkflowInstance]) -> None:
    listed = browser.get("/api/workflows/order/instances?doing=true&per_page=100").json()["result"]
    doing = {one["id"]: one["doing"] for one in listed}
    assert (doing["retrying"]["word"], doing["retrying"]["detail"]) == ("retrying", "charge card")
    assert doing["failed"]["error"]["message"] == "the van is full"
    assert doing["waiting"]["until"] is not None


def test_the_list_is_narrowed_by_what_they_are_doing(browser: TestClient, orders: dict[str, WorkflowInstance]) -> None:
    found = browser.get("/workflows/order/instances?doing=retrying").text
    assert one("retrying") in found
    assert one("waiting") not in found
    assert "this looked at the newest 1,000" in found


def test_the_list_goes_on_at_its_cursor(shop: Client, browser: TestClient, orders: dict[str, WorkflowInstance]) -> None:
    shop.workflow("catering").create_batch([{"id": f"p-{n}", "params": {}} for n in range(60)])
    seen: set[str] = set()
    path = "/workflows/catering/instances?order=oldest"
    for _ in range(2):
        text = browser.get(path).text
        seen |= {*re.findall(r"/workflows/catering/instances/(p-\d+)", text)}
        following = re.search(r'rel="next" href="([^"]+)"', text)
        path = following[1].replace("&amp;", "&") if following else ""
    assert len(seen) == 60
    assert not path


def test_an_instance_tells_its_steps_attempts_and_errors(
    browser: TestClient, orders: dict[str, WorkflowInstance]
) -> None:
    text = page(browser, one("retrying")).text
    assert "Attempt 1 failed after" in text
    assert "ValueError : card refused" in text
    assert "Idempotency key" in text


def test_an_instance_shows_when_its_steps_ran(browser: TestClient, orders: dict[str, WorkflowInstance]) -> None:
    found = browser.get(one("waiting")).text
    assert 'class="bar b-run"' in found
    assert 'class="bar b-wait"' in found
    assert 'class="now"' in found
    assert 'class="now"' not in browser.get(one("done")).text


def test_the_parts_of_an_instance_tell_what_they_are_about(
    browser: TestClient, orders: dict[str, WorkflowInstance]
) -> None:
    assert '"shipped": true' in page(browser, one("done", "?tab=values")).text
    assert '"by": "payload-of-bo"' in page(browser, one("waiting", "?tab=events")).text
    assert "Settled" in page(browser, one("waiting", "?tab=journal")).text
    assert '"workflow": "order"' in page(browser, one("waiting", "?tab=raw")).text
    assert "No other instance." in page(browser, one("waiting", "?tab=family")).text
    assert "a step was not awaited" in page(browser, one("done")).text


def test_of_a_long_value_the_rest_is_shown_on_request(shop: Client, hand: HandWorker, browser: TestClient) -> None:
    instance, long = shop.workflow("order").create("long", {"text": "y" * 6_000 + "end"}), {"text": "z" * 6_000 + "end"}
    hand.turn(instance._instance, opened=[step(1, "read")])
    hand.settle(instance._instance, 1, "read", hand.claim(instance._instance, "a", 1), value=long)
    instance.send_event("early", long)
    for tab in ("values", "steps", "events"):
        found = browser.get(one("long", f"?tab={tab}")).text
        assert "yend" not in found
        assert "zend" not in found
        link = re.search(r'href="([^"#]+)[^"]*">Show all', found)
        assert link is not None
        whole = browser.get(link[1].replace("&amp;", "&")).text
        assert "yend" in whole or "zend" in whole


def test_a_part_is_given_alone(browser: TestClient, orders: dict[str, WorkflowInstance]) -> None:
    for path, ids in (
        ("/", ("attention", "counts", "queues", "errors")),
        (one("waiting"), ("status", "actions", "timeline", "part")),
        ("/workflows/order/instances", ("instances",)),
        ("/workers", ("queues", "workers", "stages", "orchestrators")),
        ("/schedules", ("schedules",)),
        ("/doctor", ("findings",)),
        ("/workflows/order", ("counts",)),
    ):
        for id in ids:
            part = browser.get(path, headers={"x-fragment": id})
            assert part.status_code == 200, (path, id)
            assert checked(part.text).ids[0] == id


def test_a_workflow_that_nobody_has_is_not_found(browser: TestClient, orders: dict[str, WorkflowInstance]) -> None:
    for more in ("", "/instances", "/new"):
        assert "Registered: catering, order" in page(browser, f"/workflows/nothing{more}", 404).text


def test_an_id_leads_to_its_instance_whatever_its_workflow(
    browser: TestClient, orders: dict[str, WorkflowInstance]
) -> None:
    answer = browser.get("/find?id=done")
    assert (answer.status_code, answer.headers["location"]) == (303, one("done"))
    assert "No registered workflow has an instance" in page(browser, "/find?id=nobody", 404).text


def post(browser: TestClient, path: str, status: int = 303, **fields: str) -> Any:
    answer = browser.post(path, data=fields)
    assert answer.status_code == status, answer.text[:1000]
    return answer


def test_buttons_do_what_they_say(shop: Client, browser: TestClient) -> None:
    instance = shop.workflow("order").create("steered")
    path = one("steered")
    for fields, status in (
        ({"action": "pause"}, "paused"),
        ({"action": "resume"}, "queued"),
        ({"action": "cancel", "reason": "no stock", "grace": "1 minute"}, "terminated"),
        ({"action": "restart"}, "queued"),
        ({"action": "terminate"}, "terminated"),
        ({"action": "restart"}, "queued"),
    ):
        answer = post(browser, path, **fields)
        assert instance.status().status == status
        assert 'role="status"' in browser.get(answer.headers["location"]).text
    assert post(browser, path, action="delete").headers["location"] == "/workflows/order/instances?said=deleted"
    assert browser.get(path).status_code == 404


def test_an_event_is_sent_from_a_form(shop: Client, hand: HandWorker, browser: TestClient) -> None:
    instance = shop.workflow("order").create("asks")
    hand.turn(instance._instance, opened=[wait(1, "packing", "packed")])
    assert '<option value="packed">' in browser.get(one("asks")).text
    answer = post(browser, one("asks"), action="send_event", type="packed", payload='{"by": "Ann"}', event_id="e-1")
    assert urlsplit(answer.headers["location"]).query == "said=delivered"
    assert instance.status().steps[0].output == {"by": "Ann"}


def test_an_event_whose_payload_was_declared_is_sent_from_fields(
    shop: Client, hand: HandWorker, browser: TestClient
) -> None:
    instance = shop.workflow("catering").create("tastes", {})
    path = "/workflows/catering/instances/tastes"
    assert f'href="{path}/events/tasted"' in browser.get(path).text
    assert "stars *" in page(browser, f"{path}/events/tasted").text
    wrong = post(browser, f"{path}/events/tasted", 422, **{"/stars": "many"})
    assert "must be a whole number" in checked(wrong.text).text
    answer = post(browser, f"{path}/events/tasted", **{"/stars": "5"})
    assert answer.headers["location"] == f"{path}?said=buffered"
    assert '"stars": 5' in page(browser, f"{path}?tab=events").text
    as_json = browser.post(f"{path}/events/tasted", data={"/stars": "4", "as": "json"}).text
    assert '"stars": 4' in checked(as_json).text
    assert page(browser, f"{path}/events/other").text.count("Payload, JSON") == 1
    assert browser.get(f"{path}/events/no such").status_code == 422
    instance.terminate()
    assert post(browser, f"{path}/events/tasted", 409, **{"/stars": "5"})


def test_a_restart_begins_at_the_step_of_its_row(shop: Client, hand: HandWorker, browser: TestClient) -> None:
    instance = shop.workflow("order").create("again")
    hand.turn(instance._instance, opened=[step(1, "charge card")])
    hand.settle(instance._instance, 1, "charge card", hand.claim(instance._instance, "a", 1), value=1)
    hand.turn(instance._instance, opened=[step(2, "ship")])
    hand.settle(instance._instance, 2, "ship", hand.claim(instance._instance, "a", 2), value=2)
    hand.complete(instance._instance)
    form = re.search(r'<tr id="step-2">.*?</tr>', browser.get(one("again")).text, re.DOTALL)
    assert form is not None
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form[0]))
    assert fields == {"action": "restart", "step": "ship", "count": "1", "type": "do"}
    post(browser, one("again"), **fields)
    assert [one.name for one in instance.status().steps] == ["charge card"]


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"action": "explode"}, 422, "There is no action"),
        ({}, 422, "There is no action"),
        ({"action": "terminate"}, 409, "it has ended already"),
        ({"action": "send_event", "type": "no such!"}, 422, "invalid"),
        ({"action": "send_event", "type": "x", "payload": "{"}, 422, "not JSON"),
        ({"action": "send_event", "type": "x"}, 409, "finite state"),
        ({"action": "restart", "step": "nothing"}, 409, "not found"),
    ],
)
def test_what_cannot_be_done_is_said_and_leads_back(
    browser: TestClient, orders: dict[str, WorkflowInstance], fields: dict[str, str], status: int, said: str
) -> None:
    answer = post(browser, one("done"), status, **fields)
    assert said in checked(answer.text).text
    assert f'href="{one("done")}"' in answer.text


def test_who_may_only_look_sees_no_button_and_can_press_none(
    browse: Browse, orders: dict[str, WorkflowInstance]
) -> None:
    reader = browse(access=lambda _: Access.READ)
    for path in (one("waiting"), "/schedules", "/workflows/catering"):
        assert {form.get("action") for form in page(reader, path).forms if form.get("method") == "post"} == {"/theme"}
    for path, fields in (
        (one("waiting"), {"action": "pause"}),
        ("/schedules", {"action": "trigger", "workflow": "catering"}),
        ("/workflows/catering/new", {"/customer": "Ann", "/total": "1"}),
    ):
        assert "You may not" in checked(post(reader, path, 403, **fields).text).text


def test_values_are_hidden_where_that_is_asked_for(browse: Browse, orders: dict[str, WorkflowInstance]) -> None:
    careful = browse(hide_values=True)
    for id in ("done", "waiting"):
        for tab in TABS:
            text = careful.get(one(id, f"?tab={tab}")).text
            assert "r-1" not in text
            assert "shipped" not in text
            assert "payload-of-bo" not in text
    assert "hidden here: " in careful.get(one("done", "?tab=values")).text


# Creating


def test_what_is_published_stands_on_the_page_and_in_the_interface(
    shop: Client, hand: HandWorker, browser: TestClient, browse: Browse
) -> None:
    one = shop.workflow("order").create("showing")
    opened = [wait(1, "w", "e"), step(2, "copy")]
    hand.turn(one._instance, opened=opened, published=published(progress=["<b>", "4711-secret"]))
    hand.beat(one._instance, 2, hand.claim(one._instance, "a", 2), "row <5> secret")
    page = "/workflows/order/instances/showing"
    asked = f"/api{page}"
    assert "<dt>progress</dt><dd><code>[&#34;&lt;b&gt;&#34;, &#34;4711-secret&#34;]</code>" in browser.get(page).text
    assert "<code>&#34;row &lt;5&gt; secret&#34;</code>" in browser.get(page).text
    assert browser.get(asked).json()["result"]["steps"][1]["heartbeat_details"] == "row <5> secret"
    assert browser.get(asked).json()["result"]["values"] == {"progress": ["<b>", "4711-secret"]}
    hiding = browse(hide_values=True)
    for path in (page, f"{page}?tab=raw", asked):
        text = hiding.get(path).text
        assert "progress" in text and "secret" not in text


def test_a_form_of_the_schema_creates_an_instance(shop: Client, hand: HandWorker, browser: TestClient) -> None:
    form = page(browser, "/workflows/catering/new")
    assert "Who pays" in form.text
    fields = {"id": "party", "/customer": "Ann", "/total": "12", "/express": "true", "/lines": '[{"a": 1}]'}
    answer = post(browser, "/workflows/catering/new", **fields)
    assert answer.headers["location"] == "/workflows/catering/instances/party?said=created"
    params = shop.workflow("catering").get("party").status().params
    assert params == {"customer": "Ann", "total": 12, "express": True, "lines": [{"a": 1}]}


def test_what_is_wrong_in_a_form_is_said_beside_its_field(hand: HandWorker, browser: TestClient) -> None:
    fields = {"/customer": "", "/total": "x", "/lines": "{"}
    answer = post(browser, "/workflows/catering/new", 422, **fields)
    text = checked(answer.text).text
    assert {"is required", "must be a whole number"} <= {*re.findall("is required|must be a whole number", text)}
    assert 'value="x"' in answer.text
    taken = post(browser, "/workflows/order/new", 422, json="{", id="x")
    assert "not JSON: Expecting property name" in taken.text


def test_an_id_that_is_taken_is_said_beside_it(shop: Client, browser: TestClient) -> None:
    shop.workflow("order").create("taken")
    answer = post(browser, "/workflows/order/new", 422, json="{}", id="taken")
    assert 'id="new-id-wrong"' in answer.text
    assert "Nothing was created" in checked(answer.text).text


def test_a_form_turns_into_json_and_back(hand: HandWorker, browser: TestClient) -> None:
    fields = {"/customer": "Ann", "/total": "12"}
    as_json = browser.post("/workflows/catering/new", data={**fields, "as": "json", "id": "kept"})
    assert '"total": 12' in checked(as_json.text).text
    assert 'value="kept"' in as_json.text
    back = browser.post("/workflows/catering/new", data={"json": '{"customer": "Bo", "total": 3}', "as": "fields"})
    assert 'value="Bo"' in back.text
    checked(back.text)
    stays = browser.post("/workflows/catering/new", data={"json": '{"other": 1}', "as": "fields"})
    assert "can only be written as JSON" in checked(stays.text).text


# Schedules


def test_a_schedule_says_when_it_fires_and_is_paused_resumed_and_triggered(
    hand: HandWorker, browser: TestClient
) -> None:
    text = page(browser, "/schedules").text
    assert len(re.findall(r"09:30 there", text)) == 5
    fields = {"workflow": "catering", "line": "30 9 * * * Europe/Rome"}
    post(browser, "/schedules", action="pause", **fields)
    assert "since" in page(browser, "/schedules").text
    post(browser, "/schedules", action="resume", **fields)
    assert "since" not in page(browser, "/schedules").text
    instance = post(browser, "/schedules", action="trigger", **fields).headers["location"]
    assert "30 9 * * *" in page(browser, instance).text
    assert "There is no action" in post(browser, "/schedules", 422, action="x", **fields).text
    assert "no schedule" in post(browser, "/schedules", 422, action="pause", workflow="order").text


# Colours


def test_colours_are_remembered_and_lead_back_to_the_page(browse: Browse) -> None:
    browser = browse()
    answer = post(browser, "/theme", theme="dark", back="/schedules?x=1")
    assert answer.headers["location"] == "/schedules?x=1"
    assert '<html lang="en" data-theme="dark">' in browser.get("/").text
    post(browser, "/theme", theme="", back="/")
    assert '<html lang="en">' in browser.get("/").text


@pytest.mark.parametrize("back", ["//evil.example/", "/\\evil.example", "https://evil.example/", "/a\nb", "evil"])
def test_colours_lead_to_no_other_site(browse: Browse, back: str) -> None:
    assert post(browse(), "/theme", theme="dark", back=back).headers["location"] == "/"


# Text of strangers

SPOILT = '<script>alert(1)</script>"><svg onload=alert(2)>\u202egpj.exe\u2066\x1b[31m\x00\x7f'


def test_hostile_text_is_inert_wherever_it_comes_from(shop: Client, hand: HandWorker, browser: TestClient) -> None:
    word = "w" * 1_000_000
    handle = shop.workflow("catering")
    plain = {"customer": "".join(filter(str.isprintable, SPOILT))}
    instance = handle.create("hostile", {SPOILT: [SPOILT], "word": word}, metadata=plain)
    inner = instance._instance
    hand.turn(inner, opened=[step(1, SPOILT), wait(2, SPOILT, "packed")])
    hand.settle(inner, 1, SPOILT, hand.claim(inner, "a", 1), error=ValueError(SPOILT + word[:5000]))
    instance.send_event("unknown", {SPOILT: word[:900_000]})
    paths = [f"/workflows/catering/instances/hostile?tab={tab}" for tab in TABS]
    other = handle.create("hostile-too", {})._instance
    hand.fail(other, ValueError(SPOILT))
    paths += [f"/workflows/catering/instances/hostile-too?tab={tab}" for tab in TABS]
    paths += [
        "/workflows/catering/instances",
        "/",
        f"/find?id={quote(SPOILT)}",
        "/workflows/catering/instances?metadata=a",
    ]
    for path in paths:
        answer = browser.get(path, params=None)
        checked(answer.text)
        assert "alert(1)" not in re.sub(r"&lt;script&gt;alert\(1\)", "", answer.text), path
        assert len(answer.text) < 300_000, path
    assert "\\u202e" in browser.get("/workflows/catering/instances/hostile").text


def test_hostile_text_that_was_posted_comes_back_inert(
    browser: TestClient, orders: dict[str, WorkflowInstance]
) -> None:
    fields = {"/customer": SPOILT, "/total": SPOILT, "/lines": SPOILT, "id": SPOILT, "json": SPOILT}
    checked(post(browser, "/workflows/catering/new", 422, **fields).text)
    del fields["json"]
    checked(post(browser, "/workflows/catering/new", 422, **fields).text)
    for field in ("action", "type", "payload", "event_id", "step"):
        answer = browser.post(one("done"), data={"action": "send_event", "type": "x", field: SPOILT})
        assert answer.status_code in (409, 422)
        checked(answer.text)


def test_a_rollback_is_shown_with_what_it_has_undone(shop: Client, hand: HandWorker, browser: TestClient) -> None:
    instance = shop.workflow("order").create("undone")
    inner = instance._instance
    hand.turn(inner, opened=[step(1, "charge card", handled=True)])
    hand.settle(inner, 1, "charge card", hand.claim(inner, "a", 1), value=1)
    post(browser, one("undone"), action="terminate", rollback="true")
    assert "rolling back" in page(browser, one("undone")).text
    hand.turn(inner, opened=[undo(2, "charge card")])
    hand.settle(inner, 2, "charge card", hand.claim(inner, "a", 2), value=None)
    found = browser.get(one("undone"))
    assert 'class="bar b-undo"' in found.text
    assert "charge card rollback" in checked(found.text).text


# Size


def test_a_page_costs_the_same_however_many_instances_there_are(
    shop: Client, browser: TestClient, orders: dict[str, WorkflowInstance]
) -> None:
    keys, redis = shop.store.keys, shop.store.redis
    paths = ("/workflows/order", "/workflows/order/instances?status=queued", one("done"), "/find?id=done")

    def put(numbers: range) -> None:
        members: dict[str, dict[str, int]] = {}
        for n in numbers:
            index = keys.shard_key(keys.instance("order", f"many-{n}").shard, "index")
            members.setdefault(index, {})[f"queued|order|1{n:012}|many-{n}"] = 0
        for index, some in members.items():
            redis.zadd(index, some)

    def calls() -> list[int]:
        found = []
        for path in paths:
            redis.config_resetstat()
            assert browser.get(path).status_code in (200, 303)
            stats: Any = redis.info("commandstats")
            found.append(sum(one["calls"] for one in stats.values()))
        return found

    put(range(100))
    before = calls()
    put(range(100, 50_000))
    assert calls() == before


@pytest.mark.parametrize("names", [1, 10_000])
def test_the_picture_of_ten_thousand_steps_stays_small(names: int) -> None:
    begin = datetime(2026, 11, 27, tzinfo=UTC)
    error = ErrorInfo("ValueError", "x" * 500)

    def at(seconds: float) -> datetime:
        return begin + timedelta(seconds=seconds)

    def made(n: int) -> StepStatus:
        failures = tuple(AttemptFailure(k, at(n + k / 20), at(n + k / 19), error) for k in range(1, 4))
        name = f"step {n % names} " + "of many " * 12
        moments = {"started_at": at(n), "begun_at": at(n + 0.5), "ended_at": at(n + 1)}
        return StepStatus(n, "do", name, 1, "complete", 4, failures=failures, **moments)

    picture = timeline([made(n) for n in range(1, 10_001)], begin, None, at(10_002))
    drawn = str(environment().globals["drawn"].timeline(picture, lambda row: f"#step-{row.seq}"))  # type: ignore[attr-defined]
    assert len(drawn.encode()) < 300_000
    assert checked(drawn).count["rect"] >= min(names, 200)
