"""What the scripts cost where the documented limits allow most: ``python -m benchmarks.limits [options of pytest]``.

Plays ``tests/scripts/test_limits.py``, each test of which goes to a limit, on a private Redis: once counting what each
call touches, then three times measuring. *CPU* is what the thread of Redis that runs scripts needed for a call with
its request and reply, the least of the three times, for the call that needs most: that is what it costs everybody else,
on a machine with other work too. *SLOWLOG* is the longest that Redis says any call took, waiting for a core included.
Target: nothing over 20 ms (I12). Linux only.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.scripts.touching import TouchingStore

REPEATS = 3
TARGET_MS = 20.0
ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests" / "scripts" / "test_limits.py"
# The counter is not measured.
_SELF = "test_what_a_call_touches_is_counted"


@dataclass(slots=True)
class Cost:
    """What one test has cost.

    Attributes:
        calls: of scripts.
        elements, bytes: that one call touched at most.
        times: by script, CPU ms of its calls, by repeat.
        slowest: ms of the slowest call of all, by SLOWLOG.
    """

    calls: int = 0
    elements: int = 0
    bytes: int = 0
    times: dict[str, list[list[float]]] = field(default_factory=lambda: defaultdict(list))
    slowest: float = 0.0

    def usual(self) -> tuple[float, str]:
        """CPU time of the call that needs most, each with the least of its times, in ms; and its script."""
        return max(
            ((max(map(min, zip(*repeats, strict=False))), name) for name, repeats in self.times.items()),
            default=(0.0, "–"),
        )


def cpu_ms(pid: int) -> float:
    """What the main thread of a process has used."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e6


class Costs:
    """A plugin that measures each test; ``counting`` says what."""

    def __init__(self) -> None:
        self.found: dict[str, Cost] = defaultdict(Cost)
        self.counting = True

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if _SELF not in item.name]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Function) -> Iterator[None]:
        client = item.funcargs.get("redis")
        if client is None:
            return (yield)
        client.config_set("slowlog-max-len", 1_000)
        client.config_set("slowlog-log-slower-than", 1_000)
        client.slowlog_reset()
        pid = client.info("server")["process_id"]
        TouchingStore.meter = None if self.counting else lambda: cpu_ms(pid)
        TouchingStore.calls.clear()
        TouchingStore.spent.clear()
        try:
            result = yield
        finally:
            TouchingStore.meter = None
        cost = self.found[item.name]
        if self.counting:
            store = item.funcargs["store"]
            cost.calls = sum(TouchingStore.calls.values())
            cost.elements = max(store.most.values(), default=0)
            cost.bytes = max(store.heaviest.values(), default=0)
        else:
            for name, spent in TouchingStore.spent.items():
                cost.times[name].append(spent)
            log = client.slowlog_get(1_000)
            slow = [one["duration"] / 1000 for one in log if one["command"].startswith(b"EVALSHA")]
            cost.slowest = max([cost.slowest, *slow])
        return result


def main() -> None:
    """Measure and print."""
    costs = Costs()
    for counting in (True, *[False] * REPEATS):
        costs.counting = counting
        if pytest.main(
            [
                "-q",
                "-q",
                "--no-header",
                "-p",
                "no:cacheprovider",
                "-W",
                "ignore::pytest.PytestAssertRewriteWarning",
                str(TESTS),
                *sys.argv[1:],
            ],
            plugins=[costs],
        ):
            sys.exit("a test failed")
    rows: list[tuple[Any, ...]] = [("limit", "calls", "elements", "KiB", "CPU ms", "in", "SLOWLOG ms")]
    for name, cost in sorted(costs.found.items(), key=lambda one: -one[1].usual()[0]):
        usual, where = cost.usual()
        sentence = name.removeprefix("test_").replace("_", " ")
        rows.append(
            (sentence, cost.calls, cost.elements, cost.bytes // 1024, f"{usual:.1f}", where, f"{cost.slowest:.1f}")
        )
    widths = [max(len(str(row[n])) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(
                f"{value!s:<{width}}" if n in (0, 5) else f"{value!s:>{width}}"
                for n, (value, width) in enumerate(zip(row, widths, strict=True))
            )
        )
    over = sum(cost.usual()[0] > TARGET_MS for cost in costs.found.values())
    print(f"\n{over} of {len(costs.found)} have a call over {TARGET_MS:g} ms")


if __name__ == "__main__":
    main()
