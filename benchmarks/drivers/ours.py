"""Ours as in production: one orchestrator and two worker processes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any

from benchmarks import recovery
from benchmarks.app import app
from benchmarks.drivers.driver import URL, WORKERS, Answer, serve, started, timed, until
from workflows.client import Client
from workflows.client.explaining import surroundings
from workflows.client.status import InstanceStatus

BATCH = 100
"""Most instances that ``create_batch`` takes."""
EDGE = 100
"""So many of the first steps of a row are compared with as many of the last."""


class Ours:
    """The cases."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def many(self, instances: int, steps: int) -> Answer:
        """See ``driver``; of a single instance also how many times longer one of its last steps took than one of its
        first, each the median of its hundred: now and then one passes through the queue, or another program runs."""
        ended = self._play("chain", {"steps": steps}, instances)
        if instances > 1 or steps < 3 * EDGE:
            return {"seconds": _between(ended)}
        moments: list[float] = ended[0].output
        took = [after - before for before, after in pairwise(moments)]
        growth = median(took[-EDGE:]) / median(took[:EDGE])
        return {"seconds": _between(ended), "figures": {"growth": growth}}

    def fan_out(self, steps: int) -> Answer:
        """See ``driver``."""
        return {"seconds": _between(self._play("fan-out", {"steps": steps}, 1))}

    def one_step(self, times: int) -> Answer:
        """See ``driver``."""
        workflow = self._client.workflow("one-step")
        return {"samples": [timed(lambda: workflow.create().result()) for _ in range(times)]}

    def event(self, times: int) -> Answer:
        """See ``driver``."""

        def once() -> float:
            instance = self._client.workflow("listener").create()
            until(lambda: instance.status().status == "waiting")

            def send() -> None:
                instance.send_event("go")
                instance.result()

            return timed(send)

        return {"samples": [once() for _ in range(times)]}

    def sleepers(self, count: int, seconds: float) -> Answer:
        """See ``driver``; also how fast they were created and fell asleep, and the bytes of Redis each takes then."""
        before, asleep, begun = self._bytes(), self._count("index", "waiting|"), time.perf_counter()
        made = self._create("nap", {"ms": seconds * 1000}, count)
        created = time.perf_counter() - begun
        until(lambda: self._count("index", "waiting|") - asleep == count)
        fell_asleep, grown = time.perf_counter() - begun, self._bytes() - before
        ended = self._ended(made)
        return {
            "seconds": _between(ended),
            "samples": [_seconds(status) - seconds for status in ended],
            "figures": {"created": count / created, "asleep": count / fell_asleep, "bytes": grown / count},
        }

    def recovery(self) -> Answer:
        """Everything that works killed in the middle, on servers of its own, and new ones started."""
        seconds, repeated = recovery.chains()
        return {"seconds": seconds, "figures": {"repeated": repeated}}

    def _play(self, workflow: str, params: dict[str, Any], count: int) -> list[InstanceStatus]:
        return self._ended(self._create(workflow, params, count))

    def _create(self, workflow: str, params: dict[str, Any], count: int) -> _Made:
        handle, before = self._client.workflow(workflow), self._count("retire")
        made: list[Any] = []
        for at in range(0, count, BATCH):
            made += handle.create_batch([{"params": params} for _ in range(min(BATCH, count - at))])
        return made, before

    def _ended(self, made: _Made) -> list[InstanceStatus]:
        instances, before = made
        until(lambda: self._count("retire") - before == len(instances))
        ended = [instance.status() for instance in instances]
        for status in ended:
            if status.status != "complete":
                raise RuntimeError(f"an instance is {status.status}: {status.error}")
        return ended

    def _count(self, key: str, prefix: str = "") -> int:
        """Members of one kind in all shards: of ``retire`` everything that has ended, of ``index`` by status."""
        keys, line = self._client.store.keys, self._client.store.redis
        with line.pipeline(transaction=False) as pipeline:
            for shard in range(keys.shards):
                pipeline.zlexcount(keys.shard_key(shard, key), f"[{prefix}", f"[{prefix}\xff")
            return sum(int(found) for found in pipeline.execute())

    def _bytes(self) -> int:
        """Memory in use without the buffers of connections and of the append-only file, which come and go."""
        found: dict[str, int] = self._client.store.redis.info("memory")
        return found["used_memory"] - found["mem_clients_normal"] - found["mem_aof_buffer"]


_Made = tuple[Sequence[Any], int]


def _seconds(status: InstanceStatus) -> float:
    assert status.ended_at is not None
    return (status.ended_at - status.created_at).total_seconds()


def _between(ended: Sequence[InstanceStatus]) -> float:
    """From the first creation to the last end, by the server's stamps, so that looking for the end costs nothing."""
    last: datetime = max(status.ended_at for status in ended if status.ended_at)
    # Milliseconds is what the stamps have; half of one is what is lost on average.
    return max((last - min(status.created_at for status in ended)).total_seconds(), 0.0005)


def main() -> None:
    """Serve."""
    options = ["--redis-url", URL]
    commands = (
        [sys.executable, "-P", "-m", "orchestrator", *options, "--namespace", app.name],
        [sys.executable, "-P", "-m", "worker", "benchmarks.app:app", *options, "--processes", str(WORKERS)],
    )
    with started(*commands) as (orchestrator, worker), Client(app, URL) as client:
        queue = app.queues[0]
        until(lambda: len(surroundings(client.store, queues=[queue]).queues[queue].workers) == WORKERS)
        ours = Ours(client)
        # Enough of everything that each process has loaded its scripts, connected and started its threads.
        for warm_up in (lambda: ours.many(8, 20), lambda: ours.fan_out(200), lambda: ours.one_step(8)):
            warm_up()
        cases: dict[str, Callable[..., Answer]] = {
            name: getattr(ours, name) for name in ("many", "fan_out", "one_step", "event", "sleepers", "recovery")
        }
        serve(cases, roles={"orchestrator": [orchestrator], "workers": [worker], "client": [os.getpid()]})


if __name__ == "__main__":
    main()
