"""What counting for ``/metrics`` and logging cost at each step: ``python -m benchmarks.counting [rounds]``.

One worker engine in this process goes through rows of steps, and what it tells its listeners is kept. Then those who
count and log are told the same once more. Compared is the processor's time of both, each in turn and on one thread: the
difference of two whole rows would drown in what else goes on. Of everything that a step costs (callbacks,
Redis, the other threads) the share is smaller still. Target: 2 %.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from typing import Any

from orchestrator.loop import Orchestrator
from worker.attempt import Attempt, Outcome
from worker.counting import Counting
from worker.engine import Engine
from worker.reports import Reports
from worker.settings import Settings
from worker.transitions import Committed, Listener, Transitions
from workflows import App, Client, WorkflowEntrypoint
from workflows.dev.embedded import EmbeddedRedis
from workflows.storage.connection import connection
from workflows.storage.store import Store, open_keyspace
from workflows.telemetry.figures import Figures

ROUNDS = 10
STEPS = 1_000
TARGET = 0.02

app = App("counted")


@app.workflow
class Row(WorkflowEntrypoint[int]):
    """Steps one after the other that do nothing."""

    async def run(self, event: Any, step: Any) -> None:
        """See ``WorkflowEntrypoint``."""
        for n in range(event.payload):
            await step.do(f"step {n}", int)


class Recorder(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.attempts: list[tuple[Attempt, Outcome, int]] = []
        self.turns: list[Committed] = []

    def attempt_ended(self, attempt: Attempt, outcome: Outcome, ended_ms: int) -> None:
        """See ``Listener``."""
        self.attempts.append((attempt, outcome, ended_ms))

    def turn_committed(self, turn: Committed) -> None:
        """See ``Listener``."""
        self.turns.append(turn)


def measure(rounds: int) -> list[float]:
    """For each round which part of a row's time counting and logging take."""
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
                return [_share(engine, client) for _ in range(rounds + 1)][1:]
        finally:
            engine.stop()
            orchestrator.stop()
            tending.join()


def _share(engine: Engine, client: Client) -> float:
    ident = engine.thread.ident
    assert ident is not None
    clock, recorder = time.pthread_getcpuclockid(ident), Recorder()
    engine._transitions._listeners = (recorder,)
    before = time.clock_gettime(clock)
    client.workflow("row").create(params=STEPS).result(timeout="5 minutes")
    row = time.clock_gettime(clock) - before
    counting = Transitions([Counting(Figures()), Reports()])
    before = time.thread_time()
    for told in recorder.attempts:
        counting.attempt_ended(*told)
    for turn in recorder.turns:
        counting.turn_committed(turn)
    return (time.thread_time() - before) / row


def main() -> None:
    """Measure and print."""
    shares = measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
    middle, (low, _, high) = statistics.median(shares), statistics.quantiles(shares, n=4)
    print(
        f"counting and logging take {middle:.1%} of the engine's thread "
        f"(half of {len(shares)} rounds within {low:.1%} … {high:.1%}; target {TARGET:.0%})"
    )


if __name__ == "__main__":
    main()
