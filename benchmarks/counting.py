"""What counting for ``/metrics`` and logging cost at each step: ``python -m benchmarks.counting [pairs]``.

One worker engine in this process goes through short rows of steps in pairs: in one of the two, by lot the first or the
second, nobody is told what becomes of attempts and turns. What else goes on moves a single pair by several percent, so
there are many, and the standard error is told. Target: 2 % of the rate.
"""

from __future__ import annotations

import math
import random
import statistics
import sys
import threading
import time
from typing import Any

from orchestrator.loop import Orchestrator
from worker.engine import Engine
from worker.settings import Settings
from worker.transitions import Transitions
from workflows import App, Client, WorkflowEntrypoint
from workflows.dev.embedded import EmbeddedRedis
from workflows.storage.connection import connection
from workflows.storage.store import Store, open_keyspace

PAIRS = 200
STEPS = 200
TARGET = 0.02

app = App("counted")


@app.workflow
class Row(WorkflowEntrypoint[int]):
    """Steps one after the other that do nothing."""

    async def run(self, event: Any, step: Any) -> None:
        """See ``WorkflowEntrypoint``."""
        for n in range(event.payload):
            await step.do(f"step {n}", int)


def measure(pairs: int) -> list[tuple[float, float]]:
    """For each pair what the row with counting and logging took of the other: time, and processor's time."""
    with EmbeddedRedis() as server:
        keys = open_keyspace(connection(server.url), app.name)

        def connect() -> Store:
            return Store(connection(server.url), keys, hot=True)

        orchestrator = Orchestrator(connect(), bridge=False)
        tending = threading.Thread(target=orchestrator.run, daemon=True)
        tending.start()
        engine = Engine(app, connect, Settings(), on_hopeless=lambda reason: sys.exit(reason))
        engine.start()
        try:
            with Client(app, server.url) as client:
                return [_pair(engine._transitions, client) for _ in range(pairs + 1)][1:]
        finally:
            engine.stop()
            orchestrator.stop()
            tending.join()


def _pair(transitions: Transitions, client: Client) -> tuple[float, float]:
    all_told = transitions._told
    took = {}
    for is_told in random.sample((True, False), 2):
        transitions._told = all_told if is_told else dict.fromkeys(all_told, ())
        clock, processor = time.perf_counter(), time.process_time()
        client.workflow("row").create(params=STEPS).result(timeout="5 minutes")
        took[is_told] = time.perf_counter() - clock, time.process_time() - processor
    transitions._told = all_told
    return took[True][0] / took[False][0] - 1, took[True][1] / took[False][1] - 1


def main() -> None:
    """Measure and print."""
    measured = measure(int(sys.argv[1]) if len(sys.argv) > 1 else PAIRS)
    for what, shares in zip(("time", "processor's time"), zip(*measured, strict=True), strict=True):
        error = statistics.stdev(shares) / math.sqrt(len(shares))
        print(
            f"counting and logging take {statistics.median(shares):+.1%} of {what} (median of {len(shares)} pairs; "
            f"mean {statistics.fmean(shares):+.1%}, standard error {error:.1%}; target {TARGET:.0%})"
        )


if __name__ == "__main__":
    main()
