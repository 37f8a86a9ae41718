"""What counting for ``/metrics``, logging and timing by stages cost at each step: ``python -m benchmarks.counting
[pairs]``.

One worker engine in this process goes through short rows of steps in pairs: in one of the two, by lot the first or the
second, nobody is told what becomes of attempts and turns, and then in other pairs nothing is added up for the stages,
although clocks are asked. What else goes on moves a single pair by several percent, so there are many, and the standard
error is told. Targets: 2 % of the rate, and 1 %.
"""

from __future__ import annotations

import math
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from orchestrator.loop import Orchestrator
from worker.arrivals import Finished
from worker.engine import Engine
from worker.settings import Settings
from worker.stages import Stages
from worker.transitions import Transitions
from workflows import App, Client, WorkflowEntrypoint
from workflows.dev.embedded import EmbeddedRedis
from workflows.storage.connection import connection
from workflows.storage.store import Store, open_keyspace
from workflows.telemetry.figures import figures

PAIRS = 200
STEPS = 200
TARGETS = {"counting and logging": 0.02, "timing by stages": 0.01}

app = App("counted")


@app.workflow
class Row(WorkflowEntrypoint[int]):
    """Steps one after the other that do nothing."""

    async def run(self, event: Any, step: Any) -> None:
        """See ``WorkflowEntrypoint``."""
        for n in range(event.payload):
            await step.do(f"step {n}", int)


def measure(pairs: int) -> dict[str, list[tuple[float, float]]]:
    """By what is measured, for each pair what the row with it took of the other: time, and processor's time."""
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
                switches = dict(zip(TARGETS, (_telling(engine._transitions), _timing(engine)), strict=True))
                return {
                    what: [_pair(switch, client) for _ in range(pairs + 1)][1:] for what, switch in switches.items()
                }
        finally:
            engine.stop()
            orchestrator.stop()
            tending.join()


class Nobody(Stages):
    """Adds nothing up."""

    def finished(self, item: Finished, now: float) -> None:
        """See ``Stages``."""

    def ran(self, seconds: float) -> None:
        """See ``Stages``."""

    def led(self, began: float, in_redis: float) -> None:
        """See ``Stages``."""


def _telling(transitions: Transitions) -> Callable[[bool], None]:
    all_told = transitions._told
    nobody = dict.fromkeys(all_told, ())

    def switch(is_on: bool) -> None:
        transitions._told = all_told if is_on else nobody

    return switch


def _timing(engine: Engine) -> Callable[[bool], None]:
    mine, nobody = engine.stages, Nobody(figures)

    def switch(is_on: bool) -> None:
        engine.stages = mine if is_on else nobody
        engine._replays._ran = engine.stages.ran

    return switch


def _pair(switch: Callable[[bool], None], client: Client) -> tuple[float, float]:
    took = {}
    for is_on in random.sample((True, False), 2):
        switch(is_on)
        clock, processor = time.perf_counter(), time.process_time()
        client.workflow("row").create(params=STEPS).result(timeout="5 minutes")
        took[is_on] = time.perf_counter() - clock, time.process_time() - processor
    switch(True)
    return took[True][0] / took[False][0] - 1, took[True][1] / took[False][1] - 1


def main() -> None:
    """Measure and print."""
    measured = measure(int(sys.argv[1]) if len(sys.argv) > 1 else PAIRS)
    for what, pairs in measured.items():
        for of, shares in zip(("time", "processor's time"), zip(*pairs, strict=True), strict=True):
            error = statistics.stdev(shares) / math.sqrt(len(shares))
            print(
                f"{what} takes {statistics.median(shares):+.1%} of {of} (median of {len(shares)} pairs; "
                f"mean {statistics.fmean(shares):+.1%}, standard error {error:.1%}; target {TARGETS[what]:.0%})"
            )


if __name__ == "__main__":
    main()
