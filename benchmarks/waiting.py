"""Bytes of Redis that an instance takes while it waits for an event: ``python -m benchmarks.waiting``.

The instances are created and brought to wait by the scripts, without processes; the figure is what the server's used
memory grows by for each of 4,000, and what it says of the keys of one of them.
"""

from __future__ import annotations

import sys
import uuid
from typing import Any

import redis

from tests.driving import HandWorker, wait
from workflows import App, WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from workflows.client import Client
from workflows.dev.embedded import EmbeddedRedis
from workflows.storage.keys import INSTANCE_KEY_NAMES, Instance

INSTANCES = 4_000
WARM_UP = 200


app = App("media")


@app.workflow
class Order(WorkflowEntrypoint[Any]):
    """Never run here."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> None: ...


def measure(params: object) -> tuple[float, dict[str, int]]:
    """Bytes for each instance in all, and of each key of the last one."""
    with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as probe, Client(app, server.url) as client:
        worker = HandWorker(client.store)

        def make() -> Instance:
            created = client.workflow("order").create(str(uuid.uuid4()), params)
            at = client.store.keys.instance("order", created.id)
            worker.turn(at, opened=[wait(1, "approval", "approved")])
            return at

        for _ in range(WARM_UP):
            make()
        before = probe.info("memory")["used_memory"]
        for _ in range(INSTANCES):
            last = make()
        each = (probe.info("memory")["used_memory"] - before) / INSTANCES
        keys = zip(INSTANCE_KEY_NAMES, client.store.keys.of_instance(last), strict=True)
        return each, {name: size for name, key in keys if (size := probe.memory_usage(key))}


if __name__ == "__main__":
    for said, given in (("no params", None), ("200 bytes of params", {"note": "x" * 190})):
        each, of_keys = measure(given)
        sys.stdout.write(f"{said:<20}{each:8.0f} bytes   {of_keys}\n")
