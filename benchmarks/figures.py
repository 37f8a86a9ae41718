"""Names and shapes of what is measured: one flat mapping per round, ``case.what`` to a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.machine import Usage

Figures = dict[str, float]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def latencies(case: str, seconds: Sequence[float]) -> Figures:
    """Median and 99th percentile, in milliseconds."""
    return {f"{case}.p50": median(seconds) * 1000, f"{case}.p99": percentile(seconds, 0.99) * 1000}


def per_unit(case: str, usage: Usage, units: int) -> Figures:
    """CPU microseconds per step or job, by role, and how many cores were busy with it and with other things."""
    if not usage.cpu:
        return {}
    figures = {f"{case}.cpu.{role}": seconds / units * 1e6 for role, seconds in usage.cpu.items()}
    return {**figures, f"{case}.cores": usage.cores, f"{case}.others": usage.other_cores}


def medians(rounds: Sequence[Mapping[str, float]]) -> Figures:
    """The median of every figure over the rounds that have it."""
    names = {name: None for figures in rounds for name in figures}
    return {name: median([figures[name] for figures in rounds if name in figures]) for name in names}
