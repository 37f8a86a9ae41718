"""What a person does with the dashboard, in a real browser over real processes."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.processes import Cluster
from workflows.client import Client
from workflows.ui import bulk_orders
from workflows.ui.bulk_orders import ACTIONS

INSTANCE = "/workflows/{}/instances/{}"


def is_live(page: Page) -> None:
    """The page has begun to listen, and shows what there is."""
    expect(page.locator("#live [role=status]")).to_have_text("live")


def status_of(page: Page) -> Any:
    return page.locator("#status .status").first


def stays_loaded(page: Page) -> None:
    """From now on a reload would be noticed; see ``was_never_reloaded``."""
    page.evaluate("window.sameDocument = true")


def was_never_reloaded(page: Page) -> None:
    assert page.evaluate("window.sameDocument") is True


def test_a_running_instance_is_followed_to_its_end_without_a_reload(page: Page, cluster: Cluster) -> None:
    cluster.create("slow-workflow", "followed")
    page.goto(INSTANCE.format("slow-workflow", "followed"))
    is_live(page)
    stays_loaded(page)
    expect(status_of(page)).to_contain_text("running")
    timeline = page.locator("#timeline")
    expect(timeline).to_contain_text("part 1")
    cluster.ledger.open_gate("followed-0")
    expect(timeline).to_contain_text("part 2")
    for number in (1, 2):
        cluster.ledger.open_gate(f"followed-{number}")
    expect(status_of(page)).to_contain_text("complete")
    expect(page.locator("#timeline .timeline .b-run")).to_have_count(3)
    was_never_reloaded(page)


def test_lists_and_counts_follow_what_happens(page: Page, client: Client) -> None:
    page.goto("/workflows/order-workflow/instances")
    is_live(page)
    stays_loaded(page)
    client.workflow("order-workflow").create("listed", {"total": 3})
    row = page.get_by_role("row").filter(has_text="listed")
    expect(row).to_contain_text("waiting")
    client.workflow("order-workflow").get("listed").terminate()
    expect(row).to_contain_text("terminated")
    was_never_reloaded(page)
    page.goto("/")
    is_live(page)
    count = page.locator("#counts").get_by_role("link", name=re.compile("terminated of order-workflow"))
    before = int(count.inner_text().split()[0])
    client.workflow("order-workflow").create("counted", {"total": 3}).terminate()
    expect(count).to_have_text(re.compile(rf"^{before + 1}\b"))


def test_an_instance_is_made_with_a_form_and_goes_on_after_an_event(page: Page, client: Client) -> None:
    page.goto("/workflows/order-workflow")
    page.get_by_role("link", name="Create an instance").click()
    page.get_by_label("Id", exact=True).fill("made-by-hand")
    page.get_by_label("Total").fill("twelve")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was created")
    page.get_by_label("Total").fill("12")
    page.get_by_label("Delivery").select_option("bike")
    page.get_by_role("button", name="Create").click()
    expect(status_of(page)).to_contain_text("waiting")
    expect(page.locator("#status")).to_contain_text("packed")
    is_live(page)
    page.get_by_text("Send event…").click()
    expect(page.get_by_label("Type")).to_have_value("packed")
    page.get_by_label("Payload, JSON").fill('{"by": "Ann"}')
    page.get_by_role("button", name="Send", exact=True).click()
    expect(status_of(page)).to_contain_text("complete")
    made = client.workflow("order-workflow").get("made-by-hand").status()
    assert made.output == {"packed by": "Ann", "delivery": "bike"}


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Retries by the hundred go on once it is open; at first only the first hundred is done."""
    opened = threading.Event()
    retry = ACTIONS["restart_failed_step"]

    def each(keys: Any, instances: Any) -> Any:
        answers = yield from retry.verb.each(keys, instances)
        assert opened.wait(60)
        return answers

    slow = {**ACTIONS, "restart_failed_step": replace(retry, verb=replace(retry.verb, each=each))}
    monkeypatch.setattr(bulk_orders, "ACTIONS", slow)
    yield opened
    opened.set()


def test_what_failed_is_retried_together_and_that_is_stopped_half_way(
    page: Page, cluster: Cluster, gate: threading.Event
) -> None:
    payments = cluster.client.workflow("payment-workflow")
    for _ in range(3):
        payments.create_batch({"count": 100})
    cluster.wait_until(lambda: len(payments.list("errored", limit=1000)) == 300, 60)
    page.goto("/failed")
    is_live(page)
    group = page.locator("#groups tr").filter(has_text="BankClosed")
    expect(group).to_contain_text("300")
    expect(group).to_contain_text("pay")
    cluster.ledger.open_gate("bank")
    group.get_by_role("button", name="Retry the failed step…").click()
    expect(page.get_by_text("How many")).to_be_visible()
    page.get_by_role("button", name="Retry the failed step").click()
    is_live(page)
    stays_loaded(page)
    progress = page.locator("#progress")
    expect(progress).to_contain_text("At work: 0 of 300")
    page.get_by_role("button", name="Stop").click()
    expect(progress).to_contain_text("Stopping")
    gate.set()
    expect(progress).to_contain_text("Stopped: 100 of 300")
    cluster.wait_until(lambda: len(payments.list("complete", limit=1000)) == 100, 60)
    assert len(payments.list("errored", limit=1000)) == 200
    page.goto("/failed")
    expect(group).to_contain_text("200")


def test_what_goes_wrong_for_good_wants_its_number_typed(page: Page, client: Client) -> None:
    client.workflow("order-workflow").create("doomed", {"total": 1})
    page.goto("/workflows/order-workflow/instances")
    page.get_by_label("Select doomed").check()
    page.get_by_label("Do", exact=True).select_option("delete")
    page.get_by_role("button", name="to the selected…").click()
    page.get_by_label(re.compile("type how many")).fill("1")
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("#progress")).to_contain_text("Done: 1 of 1")
    page.goto(INSTANCE.format("order-workflow", "doomed"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Not found")


def test_updates_are_held_by_a_switch_and_come_when_it_is_turned_back(page: Page, client: Client) -> None:
    page.goto("/workflows/order-workflow/instances")
    is_live(page)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#live [role=status]")).to_have_text("updates paused")
    client.workflow("order-workflow").create("held", {"total": 1})
    page.goto("/")
    expect(page.locator("#live [role=status]")).to_have_text("updates paused")
    page.goto("/workflows/order-workflow/instances?status=paused")
    client.workflow("order-workflow").get("held").pause()
    expect(page.locator("#instances")).not_to_contain_text("held")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#instances")).to_contain_text("held")
    is_live(page)


def test_a_tab_that_nobody_sees_is_told_less_often(page: Page) -> None:
    page.goto("/")
    is_live(page)
    with page.expect_request(lambda request: "every=10" in request.url):
        page.evaluate(
            "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
    with page.expect_request(lambda request: "/api/stream" in request.url and "every" not in request.url):
        page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    is_live(page)


def test_colours_are_those_of_the_system_until_somebody_chooses(page: Page) -> None:
    def is_ground(condition: str) -> None:
        """How bright the page is, as the sum of its three colours."""
        page.wait_for_function(
            "() => { const ground = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number);"
            f"return ground.length === 3 && ground[0] + ground[1] + ground[2] {condition}; }}"
        )

    page.emulate_media(color_scheme="light")
    page.goto("/")
    is_ground("> 600")
    page.emulate_media(color_scheme="dark")
    is_ground("< 150")
    page.get_by_role("button", name="Light").click()
    is_ground("> 600")
    page.goto("/failed")
    is_ground("> 600")
    page.get_by_role("button", name="Auto").click()
    is_ground("< 150")


def test_everything_can_be_reached_with_keys(page: Page, client: Client) -> None:
    for name in ("first", "second", "third"):
        client.workflow("slow-workflow").create(f"row-{name}")
    page.goto("/workflows/slow-workflow/instances")
    is_live(page)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("next row")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="row-third")).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.get_by_role("link", name="row-second")).to_be_focused()
    # What is drawn anew keeps the focus.
    client.workflow("slow-workflow").create("row-fourth")
    expect(page.get_by_role("link", name="row-fourth")).to_be_visible()
    expect(page.get_by_role("link", name="row-second")).to_be_focused()
    page.keyboard.press("x")
    expect(page.get_by_label("Select row-second")).to_be_checked()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Find an instance")).to_be_focused()
    page.keyboard.type("row-first")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("row-first")


def test_moments_are_shown_in_the_time_zone_of_the_reader(page: Page, client: Client) -> None:
    made = client.workflow("slow-workflow").create("timed").status().created_at
    page.goto(INSTANCE.format("slow-workflow", "timed"))
    moment = page.locator("#status time").first
    expect(moment).to_have_attribute("title", re.compile(rf"{made:%Y-%m-%d %H:%M:%S} UTC"))
    expect(moment).not_to_contain_text("UTC")
    expect(page.locator("#zone")).to_contain_text("Europe/Rome")


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/failed", "/schedules", "/workers", "/doctor", "/nowhere", "/find?id=none"),
        *("/workflows/order-workflow", "/workflows/order-workflow/new", "/workflows/order-workflow/instances"),
        *(
            f"/workflows/order-workflow/instances/seen?tab={tab}"
            for tab in ("steps", "values", "events", "journal", "raw")
        ),
    ],
)
def test_no_page_breaks_its_policy_or_asks_another_host(page: Page, client: Client, path: str) -> None:
    """What the fixture ``page`` looks at after each test; a page that is not there may say so to the console."""
    hostile = '"><img src="https://elsewhere.example/x" onerror="alert(1)"><style>*{color:red}</style>'
    client.workflow("order-workflow").create("seen", {"total": 1}, metadata={"note": hostile[:90]}, command_id="seen")
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert page.locator("[style], [onclick], [onerror], script:not([src])").count() == 0
