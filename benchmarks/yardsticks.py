"""What the machine can do without us: RQ's own jobs, and two processes that pass one token through Redis."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rq import Queue

from benchmarks import partners
from benchmarks.figures import Figures, latencies, per_unit
from benchmarks.machine import Meter
from benchmarks.stage import POLL_SECONDS, WAIT_SECONDS, StageBroken, quiet_redis, spawn, stop
from workflows.dev.embedded import EmbeddedRedis

WARM_UP_JOBS = 20


@contextmanager
def _partner(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = spawn(["benchmarks.partners", *arguments], output=subprocess.PIPE, pipe=True)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise StageBroken(f"{' '.join(arguments)} did not start")
        yield process
    finally:
        stop([process])
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()


def measure(jobs: int, single_jobs: int, loops: int) -> Figures:
    """One round of all yardsticks, on a Redis of their own.

    Args:
        jobs: how many RQ jobs are done in a row.
        single_jobs: how many are done one by one, each enqueued when the one before has its result.
        loops: how often the token goes there and back.
    """
    with quiet_redis() as (server, line):
        figures = _ping_pong(server, loops)
        line.flushall()
        queue = partners.queue(server.url)
        with _partner("work", server.url) as worker:
            _go(worker)
            _rq_single(queue, WARM_UP_JOBS)
            figures |= _rq_single(queue, single_jobs)
            figures |= _rq_burst(server, queue, worker, jobs)
    return figures


def _rq_burst(server: EmbeddedRedis, queue: Queue, worker: subprocess.Popen[bytes], jobs: int) -> Figures:
    assert server.pid is not None

    def finished() -> int:
        # Without the cleaning up, which changes what it counts.
        return int(queue.finished_job_registry.get_job_count(cleanup=False))

    goal = finished() + jobs
    # One transaction. The clock starts after it: only the worker's side counts, which favours RQ.
    queue.enqueue_many([queue.prepare_data(partners.nothing) for _ in range(jobs)])
    jobs = goal - finished()
    meter = Meter({"Redis": [server.pid], "workers": [worker.pid]})
    until = time.monotonic() + WAIT_SECONDS
    while finished() < goal:
        if worker.poll() is not None or time.monotonic() > until:
            raise StageBroken("the RQ worker did not do its jobs")
        time.sleep(POLL_SECONDS)
    usage = meter.read()
    return {"rq.rate": jobs / usage.seconds, **per_unit("rq", usage, jobs)}


def _rq_single(queue: Queue, jobs: int) -> Figures:
    seconds = []
    for _ in range(jobs):
        begun = time.perf_counter()
        result = queue.enqueue(partners.nothing).latest_result(timeout=30)
        if result is None:
            raise StageBroken("no result of an RQ job within 30 seconds")
        seconds.append(time.perf_counter() - begun)
    return latencies("rq", seconds)


def _ping_pong(server: EmbeddedRedis, loops: int) -> Figures:
    with _partner("pong", server.url, str(loops)) as other:
        assert server.pid is not None
        line = partners.Line(server.url)
        _go(other)
        meter = Meter({"Redis": [server.pid], "workers": [other.pid], "client": [os.getpid()]})
        for _ in range(loops):
            partners.hop(line, partners.THERE, partners.BACK)
        usage = meter.read()
    return {"ping.rate": loops / usage.seconds, **per_unit("ping", usage, loops)}
