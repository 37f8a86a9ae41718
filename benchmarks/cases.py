"""What is asked of our own system, one function per case. Each gives figures of one round."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from benchmarks.figures import Figures, latencies, medians, per_unit
from benchmarks.stage import Stage
from workflows.client import WorkflowInstance

BATCH = 100
"""Most instances that ``create_batch`` takes."""
NAP_MS = 50


@dataclass(frozen=True)
class Size:
    """How much of everything one round does.

    Attributes:
        repeats: how often the short cases are played in a round, which then counts their median.
        instances, steps: of the first case; ``chain`` and ``branches`` are the steps of one instance one after the
            other and all at once; ``singles`` instances of one step; ``naps`` of one short sleep; ``sleepers`` created
            in batches.
        jobs, single_jobs, loops: of the yardsticks.
    """

    repeats: int = 3
    instances: int = 200
    steps: int = 10
    chain: int = 1_000
    branches: int = 1_000
    singles: int = 200
    naps: int = 30
    sleepers: int = 2_000
    jobs: int = 500
    single_jobs: int = 200
    loops: int = 3_000


QUICK = Size(repeats=1, chain=300, singles=50, naps=10, sleepers=1_000, jobs=250, single_jobs=50, loops=1_000)


def many(stage: Stage, size: Size) -> Figures:
    """Many instances with a few steps each."""
    params = {"steps": size.steps}
    return _repeated(size, lambda: _play(stage, "many", "chain", params, size.instances, size.steps)[0])


def sequential(stage: Stage, size: Size) -> Figures:
    """One instance with many steps, and whether the last of them are slower than the first."""

    def once() -> Figures:
        figures, instances = _play(stage, "sequential", "chain", {"steps": size.chain}, 1, size.chain)
        moments: list[float] = instances[0].result()
        edge = min(100, size.chain // 3)
        first, last = moments[edge] - moments[0], moments[-1] - moments[-1 - edge]
        return {**figures, "sequential.growth": last / first}

    return _repeated(size, once)


def fan_out(stage: Stage, size: Size) -> Figures:
    """One instance with many steps at once."""
    params = {"steps": size.branches}
    return _repeated(size, lambda: _play(stage, "fan-out", "fan-out", params, 1, size.branches)[0])


def one_step(stage: Stage, size: Size) -> Figures:
    """From before ``create`` until ``result`` has come back, one instance after the other."""
    workflow = stage.client.workflow("one-step")
    seconds = []
    meter = stage.meter()
    for _ in range(size.singles):
        begun = time.perf_counter()
        workflow.create().result()
        seconds.append(time.perf_counter() - begun)
    return {**latencies("one-step", seconds), **per_unit("one-step", meter.read(), size.singles)}


def nap(stage: Stage, size: Size) -> Figures:
    """How much longer than its sleep an instance takes that does nothing else, while nothing else goes on."""
    workflow = stage.client.workflow("nap")
    seconds = []
    for _ in range(size.naps):
        begun = time.perf_counter()
        workflow.create(params={"ms": NAP_MS}).result()
        seconds.append(time.perf_counter() - begun - NAP_MS / 1000)
    return latencies("nap", seconds)


def create(stage: Stage, size: Size) -> Figures:
    """How fast instances are taken in while the workers already work on them, and what a waiting one occupies."""
    workflow = stage.client.workflow("sleeper")
    waiting = stage.count("index", "waiting|")
    before = _bytes_of_data(stage)
    meter = stage.meter()
    for at in range(0, size.sleepers, BATCH):
        workflow.create_batch([{} for _ in range(min(BATCH, size.sleepers - at))])
    created = meter.read().seconds
    stage.wait_until(lambda: stage.count("index", "waiting|") - waiting == size.sleepers)
    usage = meter.read()
    return {
        "create.rate": size.sleepers / created,
        "create.asleep": size.sleepers / usage.seconds,
        "create.bytes": (_bytes_of_data(stage) - before) / size.sleepers,
        **per_unit("create", usage, size.sleepers),
    }


CASES: dict[str, Callable[[Stage, Size], Figures]] = {
    "many": many,
    "sequential": sequential,
    "one-step": one_step,
    "nap": nap,
    "fan-out": fan_out,
    "create": create,
}


def _repeated(size: Size, once: Callable[[], Figures]) -> Figures:
    return medians([once() for _ in range(size.repeats)])


def _play(
    stage: Stage, case: str, workflow: str, params: dict[str, Any], instances: int, steps: int
) -> tuple[Figures, Sequence[WorkflowInstance]]:
    """Create instances and wait for the end of all.

    The time is the server's, from the first creation to the last end: looking for the end every 10 ms costs precision
    of CPU time only.
    """
    handle = stage.client.workflow(workflow)
    ended = stage.count("retire")
    made: list[WorkflowInstance] = []
    meter = stage.meter()
    for at in range(0, instances, BATCH):
        made += handle.create_batch([{"params": params} for _ in range(min(BATCH, instances - at))])
    stage.wait_until(lambda: stage.count("retire") - ended == instances)
    usage = meter.read()
    seconds = _seconds(made)
    total = instances * steps
    return {f"{case}.rate": total / seconds, **per_unit(case, usage, total)}, made


def _seconds(instances: Sequence[WorkflowInstance]) -> float:
    begun: list[datetime] = []
    ended: list[datetime] = []
    for instance in instances:
        status = instance.status()
        if status.status != "complete" or status.ended_at is None:
            raise RuntimeError(f"{instance!r} is {status.status}: {status.error}")
        begun.append(status.created_at)
        ended.append(status.ended_at)
    # Milliseconds is what the server's stamps have; half of one is what is lost on average.
    return max((max(ended) - min(begun)).total_seconds(), 0.0005)


def _bytes_of_data(stage: Stage) -> int:
    """Memory in use without the buffers of connections and of the append-only file, which come and go."""
    found: dict[str, int] = stage.client.store.redis.info("memory")
    return found["used_memory"] - found["mem_clients_normal"] - found["mem_aof_buffer"]
