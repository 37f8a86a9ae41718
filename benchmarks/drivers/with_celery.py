"""Celery: a prefork pool of two, JSON, results in the same Redis.

What https://docs.celeryq.dev/en/stable/userguide/optimizing.html says for short tasks: a high prefetch multiplier; and
none of the events, gossip and mingling that a single worker has no use for. Steps in a row are a ``chain``, at once a
``group``. Each message of a chain carries all that is left of it: one of 1,000 took eleven times longer than a step
that sends the next, so there it does.
"""

from __future__ import annotations

import sys
import time

from celery import Celery, chain, group

from benchmarks.drivers.driver import URL, WORKERS, Answer, serve, started, timed

WAIT_SECONDS = 120
CHAINED = 100
"""Longer rows are no chains."""
HERE = "benchmarks.drivers.with_celery"
LAST = "last"

_URL = URL.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
app = Celery("steps", broker=_URL, backend=_URL)
app.conf.update(worker_prefetch_multiplier=128, task_serializer="json", result_serializer="json")


@app.task(name="nothing")
def nothing() -> None:
    """A step."""


@app.task(name="row", ignore_result=True)
def row(steps: int) -> None:
    """A step, and those after it; the result of the last one is waited for."""
    if steps > 2:
        row.delay(steps - 1)
    else:
        nothing.apply_async(task_id=LAST)


@app.task(name="moment")
def moment() -> float:
    """A step that says when it ran."""
    return time.time()


def many(instances: int, steps: int) -> Answer:
    """Chains."""

    def play() -> None:
        if steps > CHAINED:
            app.AsyncResult(LAST).forget()
            row.delay(steps)
            app.AsyncResult(LAST).get(timeout=WAIT_SECONDS)
            return
        made = [chain(*[nothing.si() for _ in range(steps)]).apply_async() for _ in range(instances)]
        for result in made:
            result.get(timeout=WAIT_SECONDS)

    return {"seconds": timed(play)}


def fan_out(steps: int) -> Answer:
    """A group."""
    some = group(nothing.si() for _ in range(steps))
    return {"seconds": timed(lambda: some.apply_async().get(timeout=WAIT_SECONDS))}


def one_step(times: int) -> Answer:
    """See ``driver``."""
    return {"samples": [timed(lambda: nothing.delay().get(timeout=WAIT_SECONDS)) for _ in range(times)]}


def sleepers(count: int, seconds: float) -> Answer:
    """Tasks for later; Celery has no sleep in the middle of one."""
    begun = time.time()
    made = [(time.time() + seconds, moment.apply_async(countdown=seconds)) for _ in range(count)]
    ran = [(due, result.get(timeout=WAIT_SECONDS)) for due, result in made]
    return {"seconds": max(at for _, at in ran) - begun, "samples": [at - due for due, at in ran]}


def main() -> None:
    """Serve."""
    options = ["-P", "prefork", "-c", str(WORKERS), "--without-gossip", "--without-mingle", "--without-heartbeat"]
    command = [sys.executable, "-m", "celery", "-A", HERE, "worker", "-l", "WARNING", *options]
    with started(command) as workers:
        many(8, 10)
        one_step(20)
        serve(
            {"many": many, "fan_out": fan_out, "one_step": one_step, "sleepers": sleepers},
            absent={"event": "no such concept"},
            roles={"workers": workers},
        )


if __name__ == "__main__":
    main()
