"""``docs/monitoring.md`` and the files beside it tell of the metrics and log events there are, and of no others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.paths import ROOT
from workflows.health.queues import QueueState
from workflows.telemetry.events import EVENTS
from workflows.telemetry.metrics import BY_NAME, METRICS

PAGE = ROOT / "docs" / "monitoring.md"
FILES = ROOT / "docs" / "monitoring"
NAMED = re.compile(r"\bworkflows_[a-z_]+\b")


def metric_table() -> str:
    rows = ["| metric | type | labels | source | says |", "|---|---|---|---|---|"]
    rows += [
        f"| `{one.name}` | {one.kind} | {', '.join(one.labels) or '–'} | {one.source} | {one.help} |" for one in METRICS
    ]
    return "\n".join(rows)


def event_table() -> str:
    return "\n".join(
        ["| event | says |", "|---|---|", *(f"| `{event}` | {text} |" for event, text in sorted(EVENTS.items()))]
    )


@pytest.mark.parametrize(("name", "table"), [("metrics", metric_table()), ("log-events", event_table())])
def test_the_tables_are_those_of_the_code(name: str, table: str) -> None:
    found = re.search(rf"<!-- {name} -->\n(.*?)\n?<!-- /{name} -->", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    assert found[1] == table, f"put this there:\n{table}"


def exists(name: str) -> bool:
    """As a query names it: parts of histograms have names of their own."""
    metric = BY_NAME.get(name) or BY_NAME.get(re.sub(r"_(bucket|sum|count)$", "", name))
    return metric is not None and (name in BY_NAME or metric.kind == "histogram")


def names_in(text: str) -> set[str]:
    # Labels may be named so in no query, and Redis keys are not.
    return set(NAMED.findall(text))


def test_every_metric_that_is_named_there_is_one() -> None:
    for path in (PAGE, *FILES.iterdir()):
        unknown = {name for name in names_in(path.read_text(encoding="utf-8")) if not exists(name)}
        assert not unknown, f"{path.name}: {unknown}"


def queries() -> list[str]:
    rules = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"][0]["rules"]
    board = json.loads((FILES / "grafana.json").read_text())
    keda = yaml.safe_load((FILES / "keda-prometheus.yaml").read_text())
    shown = re.findall(
        r"\| `(.+)` \|$", re.split(r"\| question \||## Dashboard", PAGE.read_text(encoding="utf-8"))[1], re.MULTILINE
    )
    return [
        *(rule["expr"] for rule in rules),
        *(target["expr"] for panel in board["panels"] for target in panel["targets"]),
        keda["spec"]["triggers"][0]["metadata"]["query"],
        *shown,
    ]


def test_queries_ask_for_labels_that_the_metrics_have() -> None:
    for query in queries():
        had = {label for name in names_in(query) for label in labels_of(name)}
        assert names_in(query), query
        asked = {one.strip() for by in re.findall(r"by \(([^)]*)\)", query) for one in by.split(",")}
        assert asked <= had, query
        for name, selector in re.findall(r"(workflows_[a-z_]+)\{([^}]*)\}", query):
            assert set(re.findall(r"(\w+)[!=]?[=~]", selector)) <= labels_of(name), query
        assert query.count("(") == query.count(")") and query.count("[") == query.count("]"), query


def labels_of(name: str) -> set[str]:
    metric = BY_NAME.get(name) or BY_NAME[re.sub(r"_(bucket|sum|count)$", "", name)]
    return {*metric.labels, *(["le"] if name.endswith("_bucket") else [])}


def test_state_is_never_added_up_over_those_who_tell_of_it() -> None:
    state = {one.name for one in METRICS if one.source == "state"}
    for query in queries():
        for name in names_in(query) & state:
            around = query[: query.index(name)]
            opened = re.findall(r"(sum|max|min|absent)(?: by \([^)]*\))? \(?\(?$|(sum|max|min|absent)\($", around)
            said = [one for pair in opened for one in pair if one]
            assert said and said[-1] != "sum", query


def test_every_alert_is_told_of_and_has_what_prometheus_asks_for() -> None:
    rules: list[dict[str, Any]] = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"][0]["rules"]
    told = re.findall(r"^\| `(Workflows\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [rule["alert"] for rule in rules] == told
    assert all({"alert", "expr", "labels", "annotations"} <= rule.keys() <= {"for", *rule} for rule in rules)


def test_the_dashboards_panels_do_not_cover_each_other() -> None:
    panels = json.loads((FILES / "grafana.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)
    assert all(panel["gridPos"]["w"] <= 24 - panel["gridPos"]["x"] for panel in panels)


@pytest.mark.parametrize("path", sorted(FILES.glob("keda-*.yaml")), ids=lambda path: Path(path).name)
def test_what_scales_is_a_scaled_object(path: Path) -> None:
    found = yaml.safe_load(path.read_text())
    assert (found["apiVersion"], found["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    (trigger,) = found["spec"]["triggers"]
    if trigger["type"] == "metrics-api":
        assert trigger["metadata"]["valueLocation"].rpartition(".")[2] in QueueState().as_dict()
