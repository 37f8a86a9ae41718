"""What processes count, and how they tell it."""

from __future__ import annotations

import gc
import re
import threading
import weakref
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from workflows.storage.stages import STAGES
from workflows.storage.status import Status
from workflows.telemetry import metrics
from workflows.telemetry.figures import Figures, Series, Value, add, difference
from workflows.telemetry.metrics import METRICS, Metric
from workflows.telemetry.text import rendered

COUNTER = Metric("c_total", "counter", "any", "How many.", ("workflow",))
HISTOGRAM = Metric("h_seconds", "histogram", "any", "How long.", ("workflow",), (0.1, 1.0))
PLAIN = Metric("plain_total", "counter", "any", "How often.")


def test_each_threads_figures_count_and_outlive_it() -> None:
    figures = Figures()

    def work() -> None:
        for _ in range(1_000):
            figures.count(COUNTER, ("a",))
            figures.observe(HISTOGRAM, ("a",), 0.5)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    figures.count(COUNTER, ("a",), 5)
    for _ in range(2):
        found = figures.read()
        assert found["c_total", ("a",)] == 4_005
        assert found["h_seconds", ("a",)] == [0, 4_000, 0, 2_000]


def test_nothing_of_a_thread_that_has_ended_is_kept() -> None:
    figures = Figures()

    class Load:
        pass

    def counting(load: Load) -> None:
        figures.count(PLAIN)

    load = Load()
    thread = threading.Thread(target=counting, args=(load,))
    thread.load = load  # type: ignore[attr-defined]
    gone = weakref.ref(load)
    thread.start()
    thread.join()
    del thread, load
    gc.collect()
    assert gone() is None
    assert figures.read()["plain_total", ()] == 1


def test_threads_that_come_and_go_leave_no_more_than_their_figures() -> None:
    figures = Figures()
    for _ in range(50):
        thread = threading.Thread(target=figures.count, args=(PLAIN,))
        thread.start()
        thread.join()
    assert len(figures._all) == 1
    assert figures.read()["plain_total", ()] == 50


def test_a_value_at_the_end_of_a_bucket_is_in_it() -> None:
    figures = Figures()
    for value in (0.1, 0.11, 1.0, 7.0):
        figures.observe(HISTOGRAM, ("a",), value)
    assert figures.read()["h_seconds", ("a",)] == [1, 2, 1, 8.21]


numbers = st.one_of(st.integers(1, 100), st.lists(st.integers(1, 100), min_size=4, max_size=4))
totals = st.dictionaries(st.tuples(st.sampled_from(["a", "b"]), st.tuples(st.sampled_from(["x", "y"]))), numbers)


@given(totals, totals)
def test_what_has_grown_added_to_what_was_is_what_is(before: dict[Series, Value], more: dict[Series, Value]) -> None:
    now = dict(before)
    add(now, more)
    found = dict(before)
    add(found, difference(now, before))
    assert found == now
    assert all(value != 0 for value in difference(now, before).values())


def test_the_text_is_what_prometheus_reads() -> None:
    values: dict[Series, Value] = {
        ("c_total", ('a"\\\n',)): 3,
        ("h_seconds", ("a",)): [1, 0, 2, 7.25],
        ("unheard_of", ()): 1,
    }
    assert rendered([COUNTER, HISTOGRAM, PLAIN], values).splitlines() == [
        "# HELP c_total How many.",
        "# TYPE c_total counter",
        r'c_total{workflow="a\"\\\n"} 3',
        "# HELP h_seconds How long.",
        "# TYPE h_seconds histogram",
        'h_seconds_bucket{workflow="a",le="0.1"} 1',
        'h_seconds_bucket{workflow="a",le="1"} 1',
        'h_seconds_bucket{workflow="a",le="+Inf"} 3',
        'h_seconds_sum{workflow="a"} 7.25',
        'h_seconds_count{workflow="a"} 3',
        "# HELP plain_total How often.",
        "# TYPE plain_total counter",
        "plain_total 0",
    ]


def test_names_are_those_that_prometheus_asks_for() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"workflows_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert not metric.name.endswith(("_count", "_sum", "_bucket", "_ms"))
        assert bool(metric.bounds) == (metric.kind == "histogram")
        assert list(metric.bounds) == sorted(set(metric.bounds))
        assert "\n" not in metric.help and "\\" not in metric.help
    assert len({metric.name for metric in METRICS}) == len(METRICS)


LABELS = {
    "workflow": [f"w{n}" for n in range(50)],
    "queue": [f"q{n}" for n in range(4)],
    "outcome": metrics.OUTCOMES,
    "status": list(Status),
    "warm": ["yes", "no"],
    "stage": [stage.name for stage in STAGES],
    "namespace": ["shop"],
    "version": ["1"],
    "code": ["abc"],
}
"""Every label there may be, with all its values in an app of 50 workflows and 4 queues."""
ENDS = ("complete", "errored", "terminated")


def lines(metric: Metric) -> int:
    values = [
        ENDS if name == "outcome" and metric.name.startswith("workflows_instance") else LABELS[name]
        for name in metric.labels
    ]
    return sum(1 for _ in product(*values)) * (len(metric.bounds) + 3 if metric.bounds else 1)


def test_an_app_of_50_workflows_and_4_queues_has_no_more_series_than_this() -> None:
    """Although each of its workflows has steps on each queue. What someone has done never makes another series."""
    assert sum(map(lines, metrics.of("worker"))) == 8_640
    assert sum(map(lines, metrics.of("orchestrator"))) == 4
    assert sum(map(lines, metrics.of("state"))) == 520
