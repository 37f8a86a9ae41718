"""Does this version read and continue what earlier ones have stored?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.processes import Cluster
from tests.golden.__main__ import load
from workflows.storage.keys import FORMAT

SETS = sorted((Path(__file__).parents[1] / "golden").glob("format-*.json"))
RECEIPT = [{"amount": 3}, {"by": "Ada"}]


@pytest.fixture(params=SETS, ids=lambda path: path.stem)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """What an earlier version left, and nobody at work yet."""
    with Cluster(tmp_path, "tests.golden.apps:app") as cluster:
        load(cluster.redis, request.param)
        yield cluster


def test_the_present_format_has_its_set() -> None:
    assert f"format-{FORMAT}" in [path.stem for path in SETS]


def test_stored_instances_are_shown_as_they_stand(golden: Cluster) -> None:
    listed: Counter[str] = Counter()
    for workflow in golden.client.workflows():
        for one in golden.client.workflow(workflow).list().items:
            listed[one.status] += 1
            golden.client.workflow(workflow).get(one.id).status()
    assert listed == {
        "queued": 1,
        "running": 2,
        "waiting": 9,
        "waitingForPause": 1,
        "paused": 3,
        "complete": 1,
        "errored": 1,
        "terminated": 1,
    }


def test_stored_instances_go_on_and_end_as_they_would_have(golden: Cluster) -> None:
    golden.ledger.open_gate("stand")
    golden.orchestrator()
    golden.ready(golden.worker())
    golden.ready(golden.worker("-q", "gpu"))

    def instance(workflow: str, id: str) -> Any:
        return golden.client.workflow(workflow).get(id)

    for id in ("paused", "queued", "waiting", "restarted", "mail", "child", "asked-for"):
        if id == "paused":
            instance("order", id).resume()
        if id == "asked-for":
            golden.wait_until(lambda: golden.client.workflow("order").get("asked-for"))
        instance("order", id).send_event("approved", {"by": "Ada"})
    for id in ("paused", "waiting", "restarted", "mail"):
        assert golden.result(instance("order", id)) == RECEIPT
    assert golden.result(instance("order", "queued")) == [{"amount": 5}, {"by": "Ada"}]
    for id, child in (("parent", "child"), ("asking", "asked-for")):
        assert golden.result(instance("parent", id)) == [{"amount": 7}, {"by": "Ada"}], child
    assert golden.result(instance("gated", "held")) == "held"
    golden.wait_for_status(instance("gated", "pausing"), "paused")
    instance("gated", "pausing").resume()
    assert golden.result(instance("gated", "pausing")) == "pausing"
    assert golden.result(instance("elsewhere", "ready")) == "rendered"
    assert golden.result(instance("retried", "back")) == 2
    assert golden.result(instance("nap", "asleep")) == "rested"
    instance("race", "detached").send_event("slow", "at last")
    assert golden.result(instance("race", "detached")) == "at last"
    crowd = instance("crowd", "unfinished")
    crowd.resume()
    for n in range(600):
        crowd.send_event(f"t{n % 7}", n)
    assert golden.result(crowd) is None
    with pytest.raises(ValueError, match="as ever"):
        golden.result(instance("fails", "errored"))
    assert "street" in str(instance("parcel", "parked").status().reason)
    assert instance("parcel", "parked").why()[0].code == "park.params"


def test_a_set_holds_every_kind_of_key(golden: Cluster) -> None:
    """Else a change of the layout could pass unseen."""
    names = {name.decode().rpartition(":")[2] for name in golden.redis.keys("*golden*")}
    assert names >= {"h", "j", "o", "m", "q", "timers", "intents", "held", "workers", "relay", "index", "retire"}
    assert names >= {"unfinished", "owner"}
    assert json.loads(SETS[-1].read_text())
