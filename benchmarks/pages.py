"""What pages cost where there are a million instances: ``python -m benchmarks.pages [instances]``.

Every page is asked for with a thousand instances in the namespace and again with all of them, one visitor at a time.
Most of them are complete; there are failed, parked, waiting and queued ones, with their timers and intents, and the
newest of each status are there as a whole, the others as lines of the index, which is all that a page reads of them.
*ms* is processor time, of the page's process and of the thread of Redis that runs commands, the least of seven: it is
good also on a machine that is busy. *Round trips* are writes to Redis that are waited for; *commands* are what Redis
ran for them, inside scripts too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from starlette.testclient import TestClient

from tests.driving import HandWorker, PublishedApp, sleep, step
from workflows.client import Client
from workflows.dev.embedded import EmbeddedRedis
from workflows.health.glance import glance
from workflows.storage.keys import Instance
from workflows.storage.manifest import publish_manifest
from workflows.storage.store import Store
from workflows.telemetry import state
from workflows.ui import Access
from workflows.ui.application import Dashboard

INSTANCES = 1_000_000
FEW = 1_000
REPEATS = 7
SHARES = {"complete": 0.9, "errored": 0.05, "waiting": 0.03, "queued": 0.015, "paused": 0.005}
# The most that any page reads of one status, over all shards, and some more.
WHOLE = 1_200
AT_ONCE = 10_000
LIST = "/workflows/order/instances"
PAGES = (
    *("/", "/workflows/order", LIST, f"{LIST}?status=complete", f"{LIST}?status=errored&status=paused"),
    *(f"{LIST}?order=oldest", f"{LIST}?created_from=2026-11-01T00:00", f"{LIST}?doing=parked"),
    *(f"{LIST}/waiting-1", "/find?id=waiting-1", "/failed", "/schedules", "/workers", "/doctor"),
    *("/api/workflows", "/api/queues", "/api/metrics"),
)


class Stage:
    """A namespace that grows."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._store = client.store
        self._sources = self._templates()
        self._made = dict.fromkeys(SHARES, 0)

    def _templates(self) -> dict[str, Instance]:
        """One instance in each status, made as instances are."""
        orders, hand = self._client.workflow("order"), HandWorker(self._store)
        made = {status: orders.create(f"template-{status}", {"total": 12})._instance for status in SHARES}
        for status in ("complete", "errored", "waiting"):
            hand.turn(made[status], opened=[step(1, "charge card")])
            token = hand.claim(made[status], "a", 1)
            hand.settle(made[status], 1, "charge card", token, value={"receipt": "r-1"})
        hand.turn(made["waiting"], opened=[sleep(2, "nap", 86_400_000)])
        hand.complete(made["complete"], {"shipped": True})
        hand.fail(made["errored"], ValueError("the van is full"))
        hand.park(made["paused"], "the code has changed")
        return made

    def grow(self, total: int) -> None:
        """Until there are so many. Those that are added are older than those before."""
        for status, share in SHARES.items():
            source, done = self._sources[status], self._made[status]
            keys = self._store.keys.of_instance(source)
            dumps = [self._store.redis.dump(key) for key in keys]
            created = int(self._store.redis.hget(keys[0], "created") or 0)
            around = [(name, self._of(source, name)) for name in ("timers", "intents")]
            for begin in range(done, round(total * share), AT_ONCE):
                numbers = range(begin, min(begin + AT_ONCE, round(total * share)))
                with self._store.redis.pipeline(transaction=False) as pipeline:
                    for n in numbers:
                        self._put(pipeline, status, n, created - 1 - n * 1_000, dumps if n < WHOLE else [], around)
                    pipeline.execute()
            self._made[status] = round(total * share)

    def _of(self, source: Instance, name: str) -> list[tuple[bytes, float]]:
        found: Any = self._store.redis.zrange(self._store.keys.shard_key(source.shard, name), 0, -1, withscores=True)
        return [(member, score) for member, score in found if source.id.encode() in member]

    def _put(
        self, pipeline: Any, status: str, n: int, created: int, dumps: list[Any], around: list[tuple[str, Any]]
    ) -> None:
        keys, id = self._store.keys, f"{status}-{n}"
        instance = keys.instance("order", id)
        pipeline.zadd(keys.shard_key(instance.shard, "index"), {f"{status}|order|{created:013}|{id}": 0})
        for name, members in around:
            for member, score in members:
                own = member.replace(self._sources[status].id.encode(), id.encode())
                pipeline.zadd(keys.shard_key(instance.shard, name), {own: score + n})
        for key, dump in zip(keys.of_instance(instance), dumps, strict=False):
            if dump is not None:
                pipeline.restore(key, 0, dump)
        if dumps:
            pipeline.hset(keys.header(instance), "created", created)


class Counted:
    """What has been written to Redis, by anybody in this process."""

    def __init__(self) -> None:
        self.round_trips = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """While it lasts."""
        kind: Any = redis.connection.AbstractConnection
        sent = kind.send_packed_command

        def counted(connection: Any, *arguments: Any, **options: Any) -> Any:
            self.round_trips += 1
            return sent(connection, *arguments, **options)

        kind.send_packed_command = counted
        try:
            yield
        finally:
            kind.send_packed_command = sent


def measured(store: Store, ask: Callable[[], object]) -> tuple[float, int, int]:
    """The least of its times in ms, its round trips, and the commands that Redis ran for it."""

    def used() -> float:
        cpu: Any = store.redis.info("cpu")
        return time.process_time() + cpu["used_cpu_user_main_thread"] + cpu["used_cpu_sys_main_thread"]

    ask()
    store.redis.config_resetstat()
    counted = Counted()
    with counted.counting():
        ask()
    commands: Any = store.redis.info("commandstats")
    times = []
    for _ in range(REPEATS):
        begun = used()
        ask()
        times.append((used() - begun) * 1000)
    return min(times), counted.round_trips, sum(one["calls"] for one in commands.values()) - 1


def measure(client: Client) -> dict[str, tuple[float, int, int]]:
    """All pages, and the look that is taken once a second while somebody has one of them open."""
    dashboard = Dashboard(client, access=lambda _: Access.OPERATE)
    with TestClient(dashboard, base_url="http://localhost", follow_redirects=False) as browser:

        def asking(path: str) -> Callable[[], object]:
            def ask() -> None:
                answer = browser.get(path)
                assert answer.status_code in (200, 303), (path, answer.status_code, answer.text[:1000])

            return ask

        found = {path: measured(client.store, asking(path)) for path in PAGES}
    return found | {"a look whether it has changed": measured(client.store, lambda: glance(client.store))}


def main() -> None:
    """Measure and print."""
    total = int(sys.argv[1]) if len(sys.argv) > 1 else INSTANCES
    setattr(state, "KEPT_SECONDS", 0.0)  # noqa: B010  # each time anew
    with EmbeddedRedis() as server, Client("shop", server.url) as client:
        publish_manifest(client.store, PublishedApp())
        stage = Stage(client)
        stage.grow(FEW)
        few = measure(client)
        print(f"{FEW:,} measured; making {total:,}", file=sys.stderr)
        stage.grow(total)
        many = measure(client)
        memory: Any = client.store.redis.info("memory")
    print(f"| page | {FEW:,}: ms | {total:,}: ms | round trips | commands |")
    print("|---|---:|---:|---:|---:|")
    for path, (ms, round_trips, commands) in many.items():
        before, *cost = few[path]
        was = [
            f" ({old:,} with {FEW:,})" * (old != new) for old, new in zip(cost, (round_trips, commands), strict=True)
        ]
        print(f"| `{path}` | {before:.0f} | {ms:.0f} | {round_trips}{was[0]} | {commands:,}{was[1]} |")
    print(f"\nRedis held {memory['used_memory'] / 2**20:,.0f} MiB.")


if __name__ == "__main__":
    main()
