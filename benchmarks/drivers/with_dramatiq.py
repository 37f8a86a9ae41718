"""dramatiq: two processes of eight threads, which is its default on two cores; results in the same Redis.

See https://dramatiq.io/guide.html, "Workers". Steps in a row are a ``pipeline``, at once a ``group``. A pipeline of
1,000 carries all of it in its message, deeper than JSON can be written, so there the step sends the next.
"""

from __future__ import annotations

import sys
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.drivers.driver import URL, WORKERS, Answer, serve, started, timed, until

PIPED = 100
"""Longer rows are no pipelines."""
WAIT_MS = 120_000
HERE = "benchmarks.drivers.with_dramatiq"

broker = RedisBroker(url=URL)
broker.add_middleware(Results(backend=RedisBackend(url=URL)))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def nothing() -> int:
    """A step."""
    return 0


@dramatiq.actor
def row(steps: int) -> None:
    """A step, and those after it; the last one says that it has ended."""
    if steps > 1:
        row.send(steps - 1)
    else:
        broker.client.incr("ended")


@dramatiq.actor(store_results=True)
def moment() -> float:
    """A step that says when it ran."""
    return time.time()


def many(instances: int, steps: int) -> Answer:
    """Pipelines."""

    def play() -> None:
        if steps > PIPED:
            before = int(broker.client.get("ended") or 0)
            row.send(steps)
            until(lambda: int(broker.client.get("ended") or 0) > before)
            return
        for made in [dramatiq.pipeline(_messages(steps)).run() for _ in range(instances)]:
            made.get_result(block=True, timeout=WAIT_MS)

    return {"seconds": timed(play)}


def _messages(steps: int) -> list[dramatiq.Message[int]]:
    return [nothing.message_with_options(pipe_ignore=True) for _ in range(steps)]


def fan_out(steps: int) -> Answer:
    """A group."""

    def play() -> None:
        dramatiq.group([nothing.message() for _ in range(steps)]).run().wait(timeout=WAIT_MS)

    return {"seconds": timed(play)}


def one_step(times: int) -> Answer:
    """See ``driver``."""
    return {"samples": [timed(lambda: nothing.send().get_result(block=True, timeout=WAIT_MS)) for _ in range(times)]}


def sleepers(count: int, seconds: float) -> Answer:
    """Messages for later; dramatiq has no sleep in the middle of one."""
    begun = time.time()
    made = [(time.time() + seconds, moment.send_with_options(delay=int(seconds * 1000))) for _ in range(count)]
    ran = [(due, message.get_result(block=True, timeout=WAIT_MS)) for due, message in made]
    return {"seconds": max(at for _, at in ran) - begun, "samples": [at - due for due, at in ran]}


def main() -> None:
    """Serve."""
    command = [sys.executable, "-m", "dramatiq", HERE, "--processes", str(WORKERS)]
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
