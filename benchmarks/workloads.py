"""What every subject is asked to play, and what is read from its answer: ``name.what`` to a number, once a round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.drivers.driver import Answer
from benchmarks.machine import Usage

Figures = dict[str, float]


@dataclass(frozen=True)
class Workload:
    """One row of the table.

    Attributes:
        title: what it is for people.
        case, arguments: what the driver is asked; ``drivers/driver.py`` says what that means.
        quick: arguments that differ in a quick run.
        our_own: it is about a law of ours, or about something nobody else has.
    """

    title: str
    case: str
    arguments: Mapping[str, float]
    quick: Mapping[str, float]
    our_own: bool = False

    def sized(self, quick: bool) -> dict[str, float]:
        """The arguments."""
        return {**self.arguments, **(self.quick if quick else {})}


WORKLOADS = {
    "many": Workload("200 instances of 10 steps", "many", {"instances": 200, "steps": 10}, {"instances": 50}),
    "more": Workload("2,000 instances of 10 steps", "many", {"instances": 2_000, "steps": 10}, {"instances": 100}),
    "one-step": Workload("one step, create → result", "one_step", {"times": 200}, {"times": 20}),
    "fan-out": Workload("one instance, 1,000 steps at once", "fan_out", {"steps": 1_000}, {"steps": 200}),
    "sequence": Workload(
        "one instance, 1,000 steps in a row", "many", {"instances": 1, "steps": 1_000}, {"steps": 100}
    ),
    "event": Workload("event → end", "event", {"times": 200}, {"times": 5}),
    "sleepers": Workload(
        "2,000 sleepers of 5 s", "sleepers", {"count": 2_000, "seconds": 5.0}, {"count": 100, "seconds": 1.0}
    ),
    "long": Workload(
        "10,000 steps in a row", "many", {"instances": 1, "steps": 10_000}, {"steps": 1_000}, our_own=True
    ),
    "wide": Workload("10,000 steps at once", "fan_out", {"steps": 10_000}, {"steps": 1_000}, our_own=True),
    "recovery": Workload("all workers killed, new ones started", "recovery", {}, {}, our_own=True),
}


def units(arguments: Mapping[str, float]) -> float:
    """How many steps, times or sleepers there are, each of which costs something."""
    count = arguments.get("times", arguments.get("count", arguments.get("steps", 1)))
    return count * arguments.get("instances", 1)


def figures(name: str, arguments: Mapping[str, float], answer: Answer, usage: Usage) -> Figures:
    """What an answer says: times and rates; latencies in ms; and by role the CPU microseconds of each unit."""
    found = {f"{name}.{what}": number for what, number in answer.get("figures", {}).items()}
    count = units(arguments)
    if (seconds := answer.get("seconds")) is not None:
        found |= {f"{name}.seconds": seconds, f"{name}.rate": count / seconds}
    if samples := sorted(answer.get("samples", [])):
        found |= {f"{name}.p50": median(samples) * 1000, f"{name}.p99": samples[int(0.99 * len(samples))] * 1000}
    if usage.cpu:
        found |= {f"{name}.cpu.{role}": spent / count * 1e6 for role, spent in usage.cpu.items()}
        found |= {f"{name}.cpu": sum(usage.cpu.values()) / count * 1e6}
        found |= {f"{name}.cores": usage.cores, f"{name}.others": usage.other_cores}
    return found


def medians(rounds: Sequence[Mapping[str, float]]) -> Figures:
    """The median of every figure over the rounds that have it."""
    names = {name: None for round_ in rounds for name in round_}
    return {name: median([round_[name] for round_ in rounds if name in round_]) for name in names}
