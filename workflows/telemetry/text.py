"""Metrics as text, in Prometheus' format 0.0.4.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import importlib.metadata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from workflows.telemetry.figures import Series, Value
from workflows.telemetry.metrics import BUILD_INFO, Labels, Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def rendered(metrics: Iterable[Metric], values: Mapping[Series, Value]) -> str:
    """These metrics with their values. A counter without labels is 0 until it is counted, so that its first step is
    seen; other series appear with their first value."""
    by_name: dict[str, dict[Labels, Value]] = defaultdict(dict)
    for (name, labels), value in values.items():
        by_name[name][labels] = value
    lines: list[str] = []
    for metric in metrics:
        found = by_name[metric.name]
        if metric.kind == "counter" and not metric.labels:
            found.setdefault((), 0)
        lines += (f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}")
        for labels, value in sorted(found.items()):
            if len(labels) == len(metric.labels):
                lines += _samples(metric, labels, value)
    return "".join(f"{line}\n" for line in lines)


def build_info(code: str) -> dict[Series, Value]:
    """Which version of the library this is, and of the app's code; '' where there is none."""
    try:
        version = importlib.metadata.version("rq-workflows")
    except importlib.metadata.PackageNotFoundError:
        version = ""  # from a source tree
    return {(BUILD_INFO.name, (version, code)): 1}


def _samples(metric: Metric, labels: Labels, value: Value) -> Iterator[str]:
    named = list(zip(metric.labels, labels, strict=True))
    if not isinstance(value, list):
        yield f"{metric.name}{_labels(named)} {_number(value)}"
        return
    *counts, total = value
    ends = [*map(_number, metric.bounds), "+Inf"]
    sums = list(accumulate(counts))
    for end, count in zip(ends, sums, strict=True):
        yield f"{metric.name}_bucket{_labels([*named, ('le', end)])} {_number(count)}"
    yield f"{metric.name}_sum{_labels(named)} {_number(total)}"
    yield f"{metric.name}_count{_labels(named)} {_number(sums[-1])}"


def _labels(named: list[tuple[str, str]]) -> str:
    if not named:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in named) + "}"


def _escaped(value: str) -> str:
    """What cannot be seen is written out: names have none of it, but anything may stand in Redis."""
    value = "".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in value)
    return value.translate(_ESCAPES)


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
