"""saq: two worker processes of its command line, with uvloop, which is the faster loop.

``concurrency`` is how many jobs a process has at a time (https://saq-py.readthedocs.io, "Worker"); 20 is as
many as its queue has calls under way at a time (``max_concurrent_ops``). Its timer for scheduled jobs has its shortest
interval, a second. saq has no
chains: a step enqueues the next.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import uvloop
from redis import asyncio as redis
from saq.queue.redis import RedisQueue

from benchmarks.drivers.driver import URL, WORKERS, Answer, serve, started

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
# ``Queue.from_url`` knows no unix sockets; 100 connections, its own bound, are too few.
queue = RedisQueue(redis.from_url(URL, max_connections=1_000))


async def nothing(_: Any) -> None:
    """A step."""


async def row(context: Any, *, steps: int, play: str, number: int) -> None:
    """A step, and those after it; the last one says of which row it is that has ended."""
    if steps > 1:
        await context["worker"].queue.enqueue("row", steps=steps - 1, play=play, number=number)
    else:
        await context["worker"].queue.redis.sadd(play, number)


async def moment(context: Any) -> None:
    """A step that says when it ran."""
    await context["worker"].queue.redis.rpush("moments", time.time())


settings = {"queue": queue, "functions": [nothing, row, moment], "concurrency": 20, "timers": {"schedule": 1}}


async def many(instances: int, steps: int) -> Answer:
    """Rows of jobs. What ends is counted by name: a job that is tried again ends twice."""
    play = f"ended {time.time()}"
    begun = time.perf_counter()
    await asyncio.gather(*[queue.enqueue("row", steps=steps, play=play, number=n) for n in range(instances)])
    while await queue.redis.scard(play) < instances:
        await asyncio.sleep(0.005)
    return {"seconds": time.perf_counter() - begun}


async def fan_out(steps: int) -> Answer:
    """``map`` is its fan-out."""
    begun = time.perf_counter()
    await queue.map("nothing", [{}] * steps, poll_interval=0.02)
    return {"seconds": time.perf_counter() - begun}


async def one_step(times: int) -> Answer:
    """See ``driver``."""
    samples = []
    for _ in range(times):
        begun = time.perf_counter()
        await queue.apply("nothing", poll_interval=0.0005)
        samples.append(time.perf_counter() - begun)
    return {"samples": samples}


async def sleepers(count: int, seconds: float) -> Answer:
    """Jobs for later, by the whole second; saq has no sleep in the middle of one."""
    await queue.redis.delete("moments")
    begun = time.time()

    async def later() -> float:
        due = time.time() + seconds
        await queue.enqueue("moment", scheduled=round(due))
        return due

    due = await asyncio.gather(*[later() for _ in range(count)])
    while await queue.redis.llen("moments") < count:
        await asyncio.sleep(0.005)
    # Nobody knows whose moment is whose; in their order they are late by the same in sum.
    ran = sorted(map(float, await queue.redis.lrange("moments", 0, -1)))
    samples = [max(0.0, at - when) for at, when in zip(ran, sorted(due), strict=True)]
    return {"seconds": ran[-1] - begun, "samples": samples}


def main() -> None:
    """Serve."""
    command = [sys.executable, "-m", "saq", "benchmarks.drivers.with_saq.settings", "--workers", str(WORKERS), "-q"]
    with started(command) as workers, asyncio.Runner() as runner:
        runner.run(many(8, 10))
        runner.run(one_step(20))
        serve(
            {
                one.__name__: lambda one=one, **arguments: runner.run(one(**arguments))
                for one in (many, fan_out, one_step, sleepers)
            },
            absent={"event": "no such concept"},
            roles={"workers": workers},
        )


if __name__ == "__main__":
    main()
