"""Plain RQ: two stock SimpleWorkers, which do not fork, so this is RQ at its fastest.

They are what https://python-rq.org/docs/workers/#performance-notes suggests; the serializer is RQ's JSON one, as ours
uses it and the faster one for such a job. Steps in a row are jobs each of which enqueues the next: faster here than
``depends_on``, which keeps a registry of dependents. Its scheduler looks once a second.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

import redis
from rq import Queue, SimpleWorker, get_current_job
from rq.serializers import JSONSerializer

from benchmarks.drivers.driver import URL, WORKERS, Answer, serve, started, timed, until

NAME = "steps"
HERE = "benchmarks.drivers.with_rq"
"""Where workers find the functions."""


def queue() -> Queue:
    """The queue."""
    return Queue(NAME, connection=redis.Redis.from_url(URL), serializer=JSONSerializer)


def nothing() -> None:
    """A step."""


def row(steps: int) -> None:
    """A step, and those after it."""
    if steps > 1:
        job = get_current_job()
        assert job is not None
        Queue(NAME, connection=job.connection, serializer=JSONSerializer).enqueue(f"{HERE}.row", steps - 1)


def moment() -> float:
    """A step that says when it ran."""
    return time.time()


class Cases:
    """See ``driver``."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def _finished(self) -> int:
        # Without the cleaning up, which changes what it counts.
        return int(self._queue.finished_job_registry.get_job_count(cleanup=False))

    def _play(self, jobs: list[object], total: int) -> Answer:
        goal = self._finished() + total

        def play() -> None:
            self._queue.enqueue_many(jobs)
            until(lambda: self._finished() >= goal)

        return {"seconds": timed(play)}

    def many(self, instances: int, steps: int) -> Answer:
        """Rows of jobs."""
        return self._play([Queue.prepare_data(f"{HERE}.row", (steps,)) for _ in range(instances)], instances * steps)

    def fan_out(self, steps: int) -> Answer:
        """Jobs; nothing says that all have ended but a look."""
        return self._play([Queue.prepare_data(f"{HERE}.nothing") for _ in range(steps)], steps)

    def one_step(self, times: int) -> Answer:
        """Until a blocking ``latest_result`` has it."""
        return {
            "samples": [
                timed(lambda: self._queue.enqueue(f"{HERE}.nothing").latest_result(timeout=30)) for _ in range(times)
            ]
        }

    def sleepers(self, count: int, seconds: float) -> Answer:
        """Jobs for later; RQ has no sleep in the middle of one."""
        goal, begun, due = self._finished() + count, time.time(), []
        jobs = []
        for _ in range(count):
            due.append(time.time() + seconds)
            jobs.append(self._queue.enqueue_at(datetime.fromtimestamp(due[-1], UTC), f"{HERE}.moment"))
        until(lambda: self._finished() >= goal)
        ran = [job.return_value() for job in jobs]
        return {"seconds": max(ran) - begun, "samples": [at - when for at, when in zip(ran, due, strict=True)]}


def work() -> None:
    """One worker."""
    jobs = queue()
    worker = SimpleWorker([jobs], connection=jobs.connection, serializer=JSONSerializer)
    # RQ writes three lines for each job otherwise.
    worker.work(logging_level="WARNING", with_scheduler=True)


def main() -> None:
    """Serve."""
    command = [sys.executable, "-P", "-m", "benchmarks.drivers.with_rq", "work"]
    with started(*[command] * WORKERS) as workers:
        cases = Cases(queue())
        cases.many(8, 10)
        cases.one_step(20)
        serve(
            {name: getattr(cases, name) for name in ("many", "fan_out", "one_step", "sleepers")},
            absent={"event": "no such concept"},
            roles={"workers": workers},
        )


if __name__ == "__main__":
    work() if sys.argv[1:] else main()
