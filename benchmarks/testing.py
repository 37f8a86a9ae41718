"""How long a small workflow test takes: ``python -m benchmarks.testing [tests]``.

Each test creates an instance with two steps and waits for its output, on an engine and a namespace of its own. Counted
are set-up, call and tear-down together. The first test also starts Redis and imports everything, so it stands apart.
Target: 20 ms at the median after the first.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest

TESTS = 100
TARGET_MS = 20.0

_APP = """
from workflows import App, WorkflowEntrypoint

app = App("small")

@app.workflow
class Small(WorkflowEntrypoint):
    async def run(self, event, step):
        first = await step.do("first", lambda: 1)
        return first + await step.do("second", lambda: 2)
"""
_TESTS = """
import pytest

@pytest.mark.parametrize("n", range({count}))
def test_small(env, n):
    assert env.SMALL.create().result() == 3
"""


class Durations:
    """Collects what pytest reports, by test."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration

    def pytest_configure(self, config: pytest.Config) -> None:
        """Use the plugin, also where the package is not installed."""
        import workflows.testing.plugin as plugin

        if not config.pluginmanager.is_registered(plugin):
            config.pluginmanager.register(plugin, "workflows")


def measure(count: int = TESTS) -> list[float]:
    """Seconds of each test, in order.

    Raises:
        RuntimeError: a test failed.
    """
    durations = Durations()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "small_app.py").write_text(_APP)
        (Path(folder) / "test_small.py").write_text(_TESTS.format(count=count))
        (Path(folder) / "pytest.ini").write_text("[pytest]\nworkflows_app = small_app:app\n")
        arguments = ["-q", "-q", "--no-header", "--no-summary", "-p", "no:cacheprovider", "--rootdir", folder]
        failed = pytest.main([*arguments, "-c", f"{folder}/pytest.ini", folder], plugins=[durations])
    if failed:
        raise RuntimeError("a test failed")
    return list(durations.seconds.values())


def main() -> None:
    """Measure and print."""
    first, *rest = (seconds * 1000 for seconds in measure(int(sys.argv[1]) if len(sys.argv) > 1 else TESTS))
    median, worst = statistics.median(rest), statistics.quantiles(rest, n=20)[-1]
    print(
        f"first {first:.0f} ms, then median {median:.1f} ms, 95 % {worst:.1f} ms of {len(rest)} (target {TARGET_MS:g})"
    )


if __name__ == "__main__":
    main()
