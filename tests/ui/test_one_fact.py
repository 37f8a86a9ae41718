"""Do the command line, the JSON interface, the pages and the metrics say the same of the same instances?"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from rq.worker_registration import WORKERS_BY_QUEUE_KEY
from starlette.testclient import TestClient

from tests.commands import Run, run_in
from tests.driving import HandWorker, PublishedApp, sleep, step, wait
from workflows.client import Client
from workflows.dev.embedded import EmbeddedRedis
from workflows.health import namespace
from workflows.storage import stages
from workflows.storage.manifest import publish_manifest
from workflows.storage.processes import STAGES, load_of
from workflows.storage.stages import Spent, StagesTold, Totals
from workflows.storage.status import Status

IDS = ("queued", "running", "waiting", "retrying", "paused", "parked", "failed", "failed-too", "done", "gone")
LONG_FROM_NOW = 2**45
Says = Callable[[str], Any]


TOLD = StagesTold(
    Totals(9_000, {"callback": Spent(1_000, 2.5), "run": Spent(1_000, 0.5), "thread": Spent(1_000, 7.25)}),
    Totals(60, {"callback": Spent(10, 0.5), "redis": Spent(4, 0.0625)}),
)


class Left:
    """An app that is taken away when it has left an instance."""

    name = "left-app"

    def manifest(self) -> dict[str, Any]:
        return {
            "code": "v1",
            "queues": ["default"],
            "workflows": {"left": PublishedApp().manifest()["workflows"]["order"]},
        }


@pytest.fixture(scope="module", autouse=True)
def prepared(shop: Client) -> None:
    """Instances in all kinds of trouble, an orchestrator, a worker, a queue that nobody serves, code that is gone."""
    store, orders = shop.store, shop.workflow("order")
    hand, keys, redis = HandWorker(store), shop.store.keys, shop.store.redis
    redis.zadd(keys.orchestrators, {"o1": LONG_FROM_NOW, "dead": 1})
    for shard in range(keys.shards - 1):
        redis.hset(keys.shard_key(shard, "owner"), mapping={"token": "o1", "expiry": LONG_FROM_NOW})
    redis.sadd(WORKERS_BY_QUEUE_KEY % keys.queue("default"), "rq:worker:w1", "rq:worker:gone")
    redis.hset("rq:worker:w1", mapping={**load_of(slots=8, free=5), STAGES: stages.written(TOLD)})
    made = {id: orders.create(id, metadata={"customer": f"of {id}"})._instance for id in IDS[:-1]}
    for id in ("running", "waiting", "retrying", "done"):
        hand.turn(made[id], opened=[step(1, "charge card"), step(2, "render", queue="gpu")])
        token = hand.claim(made[id], "a", 1)
        if id == "retrying":
            hand.settle(made[id], 1, "charge card", token, retry=(3_600_000, ValueError("card refused")))
        elif id != "running":
            hand.settle(made[id], 1, "charge card", token, value={"receipt": "r-1"})
    hand.turn(made["waiting"], opened=[wait(3, "packing", "packed"), sleep(4, "nap", 3_600_000)])
    orders.get("waiting").send_event("pakced", 1)
    hand.park(made["parked"], "the code has changed")
    hand.complete(made["done"], {"shipped": True})
    for id in ("failed", "failed-too"):
        hand.fail(made[id], ValueError("the van is full"))
    orders.get("paused").pause()
    publish_manifest(store, Left())
    shop.workflow("left").create("gone")
    redis.hdel(keys.manifest, Left.name)


@pytest.fixture(scope="module")
def run(shop: Client, redis_server: EmbeddedRedis) -> Run:
    return run_in(redis_server.url, shop.store.keys.namespace)


@pytest.fixture(scope="module")
def cli(run: Run) -> Callable[..., Any]:
    """What the command line says, as JSON."""

    def say(*arguments: str, code: int = 0) -> Any:
        return json.loads(run(*arguments, "--json", code=code).stdout)

    return say


@pytest.fixture(scope="module")
def api(browser: TestClient) -> Says:
    """What the JSON interface says."""
    return lambda path: browser.get(f"/api{path}").json()["result"]


@pytest.fixture(scope="module")
def page(browser: TestClient) -> Callable[[str, str], str]:
    """The text of an element of a page, as it is read."""

    def read(path: str, part: str) -> str:
        found = re.sub(r"<[^>]+>", " ", browser.get(path, headers={"x-fragment": part}).text)
        return " ".join(html.unescape(found).split())

    return read


@pytest.fixture(scope="module")
def metric(browser: TestClient) -> Callable[..., float]:
    """What a metric says, by its labels without the namespace."""
    lines = dict(
        line.rsplit(" ", 1) for line in browser.get("/api/metrics").text.splitlines() if not line.startswith("#")
    )

    def value(name: str, **labels: str) -> float:
        shown = ",".join(f'{key}="{text}"' for key, text in {"namespace": "shop", **labels}.items())
        return float(lines[f"{name}{{{shown}}}"])

    return value


def test_how_many_instances_there_are(
    run: Run, cli: Callable[..., Any], api: Says, page: Callable[[str, str], str], metric: Callable[..., float]
) -> None:
    counts = cli("describe", "order")["instances"]
    assert (counts["errored"], counts["complete"], counts["paused"]) == (2, 1, 2)
    assert cli("top")["instances"]["order"] == counts
    assert api("/workflows/order")["instances"] == counts
    assert {one["name"]: one["instances"] for one in api("/workflows")}["order"] == counts
    assert {status: metric("workflows_instances", workflow="order", status=status) for status in counts} == counts
    row = " ".join(f"{counts[status]}{f' {status} of order' * bool(counts[status])}" for status in Status)
    assert re.search(rf"\border (?!.*\border {row}).*{row}|\border {row}", page("/", "counts"))
    assert (
        ", ".join(f"{count} {status}" for status, count in counts.items() if count) in run("describe", "order").output
    )
    for status, count in counts.items():
        assert len(cli("instances", "list", "order", "--status", status)["instances"]) == count
        assert len(api(f"/workflows/order/instances?status={status}&per_page=100")) == count


def test_how_many_there_are_in_all(cli: Callable[..., Any], api: Says) -> None:
    totals = cli("top")["totals"]
    assert sum(totals.values()) == len(IDS)
    assert cli("doctor", code=1)["namespace"]["instances"] == api("/doctor")["namespace"]["instances"] == totals


@pytest.mark.parametrize("id", IDS[:-1])
def test_why_an_instance_stands_where_it_stands(
    run: Run, browser: TestClient, api: Says, page: Callable[[str, str], str], id: str
) -> None:
    def ageless(text: str) -> str:
        """How long something has been so far differs from one look to the next."""
        return re.sub(r"\b\d+(\.\d+)?\s?(ms|s|min|h)\b", "…", text)

    told = api(f"/workflows/order/instances/{id}/why")
    code = int(any(one["level"] == "problem" for reason in told for one in (reason, *reason["hints"])))
    said = json.loads(run("why", "order", id, "--json", code=code).stdout)["reasons"]
    assert [one["code"] for one in said] == [one["code"] for one in told]
    text = ageless(" ".join(run("why", "order", id, code=code).output.split()))
    shown = ageless(page(f"/workflows/order/instances/{id}", "status"))
    for one in told:
        assert ageless(one["sentence"]) in [ageless(other["sentence"]) for other in said]
        assert one["code"] in text
        if one["code"] != "done":  # the page has said so in its first line
            for sentence in (one["sentence"], *(hint["sentence"] for hint in one["hints"])):
                assert ageless(" ".join(sentence.split())) in text
                assert ageless(" ".join(sentence.split())) in shown
            assert one["code"] in shown


@pytest.mark.parametrize("id", IDS[:-1])
def test_what_an_instance_has_done(
    cli: Callable[..., Any], browser: TestClient, api: Says, page: Callable[[str, str], str], id: str
) -> None:
    told, said = api(f"/workflows/order/instances/{id}"), cli("instances", "describe", "order", id)
    assert {key: told[key] for key in said.keys() & told.keys()} == {
        key: said[key] for key in said.keys() & told.keys()
    }
    assert {"status", "reason", "steps", "created_at", "ended_at", "error", "output", "metadata"} <= said.keys()
    steps = [(one["seq"], one["name"], one["status"]) for one in said["steps"]]
    timeline = api(f"/workflows/order/instances/{id}/timeline")["steps"]
    assert [(one["seq"], one["name"], one["status"]) for one in timeline] == steps
    shown = page(f"/workflows/order/instances/{id}", "part")
    assert all(one["name"] in shown for one in timeline)
    picture = html.unescape(browser.get(f"/workflows/order/instances/{id}", headers={"x-fragment": "timeline"}).text)
    for span in (span for one in timeline for span in one["spans"] if span["end"] is not None):
        assert span["title"] in picture


def test_who_is_at_work_and_what_waits_for_them(
    shop: Client, cli: Callable[..., Any], api: Says, page: Callable[[str, str], str], metric: Callable[..., float]
) -> None:
    queues, top = api("/queues"), cli("top")
    assert queues.keys() == {"default", "gpu"}
    for name, told in queues.items():
        for key in told.keys() - {"oldest_seconds"}:
            assert top["queues"][name][key] == told[key]
        assert metric("workflows_unclaimed", queue=name) == told["unclaimed"]
        assert metric("workflows_workers", queue=name) == told["workers"]
        assert metric("workflows_slots_free", queue=name) == told["slots_free"]
        for path in ("/", "/workers"):
            assert re.search(rf"\b{name} .*\b{told['unclaimed']}\b", page(path, "queues"))
    assert (queues["default"]["workers"], queues["default"]["slots_free"], queues["gpu"]["workers"]) == (1, 5, 0)
    workers = api("/workers")
    assert top["orchestrators"] == workers["orchestrators"] == ["o1"]
    assert top["workers"] == [one["name"] for one in workers["workers"]] == ["w1"]
    assert metric("workflows_orchestrators") == 1
    assert metric("workflows_shards_unowned") == workers["shards"] - workers["owned_shards"] == 1
    assert f"{workers['owned_shards']} of {workers['shards']} shards" in page("/workers", "orchestrators")
    report = namespace.report(shop.store)
    assert (report.orchestrators, report.owned_shards) == (("o1",), workers["owned_shards"])


def test_where_the_time_of_a_step_goes(cli: Callable[..., Any], api: Says, page: Callable[[str, str], str]) -> None:
    found = api("/stages")
    assert cli("doctor", "--stages") == found
    assert (found["processes"], found["lately"]["steps"], found["since_start"]["steps"]) == (1, 10, 1_000)
    shown = page("/workers", "stages")
    for one, other in zip(found["lately"]["stages"], found["since_start"]["stages"], strict=True):
        told = [f"{each['us_per_step']:,.1f} {_share(each['share'])} {each['passes']:,}" for each in (one, other)]
        assert f"{one['stage']} {one['what']} {told[0]} {told[1]}" in shown


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def test_what_needs_attention(cli: Callable[..., Any], api: Says, page: Callable[[str, str], str]) -> None:
    found = [one for one in cli("doctor", code=1)["findings"] if one["level"] != "ok"]
    assert [one for one in api("/doctor")["findings"] if one["level"] != "ok"] == found
    assert {one["message"] for one in cli("top")["attention"]} == {one["message"] for one in found}
    for part in (page("/", "attention"), page("/doctor", "findings")):
        assert all(" ".join(one["message"].split()) in part for one in found)


def test_what_failed_in_groups(
    cli: Callable[..., Any], api: Says, page: Callable[[str, str], str], metric: Callable[..., float]
) -> None:
    groups = {one["error"]: one for one in api("/errors")["groups"]}
    assert groups["ValueError"]["count"] == cli("describe", "order")["instances"]["errored"] == 2
    parked = [one for one in groups.values() if one["is_parked"]]
    assert sum(one["count"] for one in parked) == metric("workflows_parked", workflow="order") == 1
    for one in groups.values():
        for path, part in (("/", "errors"), ("/failed", "groups")):
            assert one["error"] in page(path, part) and one["message"] in page(path, part)
    assert metric("workflows_retrying", workflow="order") == 1
    assert [id for id, doing in _doing(api).items() if doing == "retrying"] == ["retrying"]
    assert [id for id, doing in _doing(api).items() if doing == "parked"] == ["parked"]


def test_what_a_stranger_has_written_is_inert_in_a_terminal_too(
    shop: Client, run: Run, api: Says, browser: TestClient
) -> None:
    hostile = "\u202egpj.exe\u2066\x1b[2J\x00\x7f"
    hand, orders = HandWorker(shop.store), shop.workflow("order")
    waiting, failed, parked = (orders.create(f"hostile-{n}", {hostile: hostile})._instance for n in range(3))
    hand.turn(waiting, opened=[step(1, hostile), wait(2, hostile, "packed"), sleep(3, hostile, 60_000)])
    hand.settle(waiting, 1, hostile, hand.claim(waiting, "a", 1), retry=(60_000, ValueError(hostile)))
    orders.get("hostile-0").send_event("unknown", {hostile: hostile})
    hand.fail(failed, ValueError(hostile + "\n" + hostile))
    hand.park(parked, hostile)
    said = [run("instances", "list", "order"), run("doctor", code=1), run("top", "--once")]
    for id in ("hostile-0", "hostile-1", "hostile-2"):
        told = api(f"/workflows/order/instances/{id}/why")
        code = int(any(one["level"] == "problem" for reason in told for one in (reason, *reason["hints"])))
        said += [run("why", "order", id, code=code), run("why", "order", id, "--json", code=code)]
        said += [run("instances", "describe", "order", id), run("instances", "describe", "order", id, "--json")]
        said += [run("instances", "watch", "order", id, "--json")] if id == "hostile-1" else []
    for text in (*(one.output for one in said), browser.get("/api/metrics").text):
        assert "".join(text.split("\n")).isprintable()


def _doing(api: Says) -> dict[str, str]:
    listed = api("/workflows/order/instances?doing=true&per_page=100")
    return {one["id"]: one["doing"]["word"] for one in listed}
