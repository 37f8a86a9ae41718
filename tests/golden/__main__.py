"""Makes a golden set: instances in every state, left by real processes that were killed, written to ``format-N.json``.

``python -m tests.golden`` makes the one of the present format anew; those of former formats are never made again, for
what wrote them is gone. What they hold is continued by ``tests/acceptance/test_golden.py``.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import redis as redis_py

from tests.acceptance.processes import Cluster
from workflows.client import Client
from workflows.storage.keys import FORMAT

FOLDER = Path(__file__).parent


def make(folder: Path) -> dict[str, Any]:
    """Let instances come into their states, kill everything, and take down what stands in Redis."""
    with Cluster(folder, "tests.golden.apps:app") as cluster:
        orchestrator, worker = cluster.orchestrator(), cluster.worker()
        cluster.ready(worker)
        made: dict[str, Any] = {}

        def create(workflow: str, id: str, params: Any = None) -> Any:
            made[id] = cluster.create(workflow, id, params)
            return made[id]

        def statuses(id: str) -> list[str]:
            return [step.status for step in made[id].status().steps]

        for id in ("waiting", "mail", "paused", "terminated", "restarted"):
            create("order", id, {"amount": 3})
        for id in ("held", "pausing"):
            create("gated", id, id)
        create("elsewhere", "ready")
        create("retried", "back")
        create("parent", "parent", {"gated": False, "child": "child"})
        create("race", "detached")
        create("crowd", "unfinished")
        create("fails", "errored")
        create("nap", "complete", 0)
        with Client("golden", cluster.redis_server.url) as untyped:
            made["parked"] = untyped.workflow("parcel").create("parked", {"road": "none"})
        for id in ("waiting", "mail", "paused", "terminated", "restarted", "parent", "detached", "unfinished"):
            cluster.wait_for_status(made[id], "waiting")
        for id, status in (("errored", "errored"), ("complete", "complete"), ("parked", "paused")):
            cluster.wait_for_status(made[id], status)
        cluster.wait_until(lambda: all(statuses(id) == ["running"] for id in ("held", "pausing")))
        cluster.wait_until(lambda: statuses("back") == ["retrying"])
        cluster.wait_until(lambda: made["ready"].status().steps, what="a step on a queue of its own")
        made["mail"].send_event("later", {"of": "another type"})
        for id in ("paused", "pausing"):
            made[id].pause()
        made["terminated"].terminate()
        made["restarted"].restart()
        cluster.wait_until(lambda: made["restarted"].status().steps)
        cluster.wait_for_status(made["restarted"], "waiting")
        create("parent", "asking", {"gated": True, "child": "asked-for"})
        cluster.wait_until(lambda: statuses("asking") == ["running"])
        create("nap", "asleep", 20)
        cluster.wait_for_status(made["asleep"], "waiting")
        # Nobody carries messages or goes on with what is left over from here on.
        orchestrator.kill()
        cluster.ledger.open_gate("ask")
        cluster.wait_until(lambda: "starting" in statuses("asking"))
        made["unfinished"].pause()
        create("order", "queued", {"amount": 5})
        cluster.kill_all()
        return contents(cluster.redis)


def contents(client: redis_py.Redis) -> dict[str, Any]:
    """Keys of the namespace with what they hold, as text; members in an order of their own, so that sets compare."""
    found = {}
    for key in sorted(client.keys("*golden*")):
        kind = client.type(key).decode()
        if kind == "hash":
            value: Any = sorted([text(name), text(blob)] for name, blob in client.hgetall(key).items())
        elif kind == "list":
            value = [text(blob) for blob in client.lrange(key, 0, -1)]
        elif kind == "zset":
            value = [[text(member), score] for member, score in client.zrange(key, 0, -1, withscores=True)]
        else:
            continue
        found[text(key)] = [kind, value]
    return found


def text(blob: bytes) -> str:
    return base64.b64encode(blob).decode()


def load(client: redis_py.Redis, path: Path) -> None:
    """Put a set into an empty Redis."""
    bytes_of = base64.b64decode
    for name, (kind, value) in json.loads(path.read_text(encoding="utf-8")).items():
        key = bytes_of(name)
        if kind == "hash":
            client.hset(key, mapping={bytes_of(field): bytes_of(blob) for field, blob in value})
        elif kind == "list":
            client.rpush(key, *map(bytes_of, value))
        else:
            client.zadd(key, {bytes_of(member): score for member, score in value})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = make(Path(folder))
    path = FOLDER / f"format-{FORMAT}.json"
    path.write_text(json.dumps(made, indent=0) + "\n", encoding="utf-8")
    sys.stdout.write(f"{path.name}: {len(made)} keys\n")
