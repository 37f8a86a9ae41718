"""Scripts with more than one caller: producers, the inbox and the relay between shards."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from workflows import keys
from workflows.keys import Keyspace
from workflows.store import Call, script

CREATE = script(Path(__file__).with_name("create.lua"))
DELETE = script(Path(__file__).with_name("delete.lua"))
SEND_EVENT = script(Path(__file__).with_name("send_event.lua"))
_UNRING = script(Path(__file__).with_name("unring.lua"), pump=False)


def unring_calls(keyspace: Keyspace, shard: int, doorbells: Iterable[tuple[str, str]]) -> list[Call]:
    """Calls that take doorbells off their queues, given as (queue, intent nonce)."""
    by_queue: dict[str, list[str]] = {}
    for queue, nonce in doorbells:
        by_queue.setdefault(queue, []).append(f"{shard:02d}-{nonce}")
    return [
        Call(
            _UNRING,
            [keys.rq_queue(keyspace.queue(queue)), *(keys.rq_job_prefix() + id for id in ids)],
            {"ids": ids},
        )
        for queue, ids in by_queue.items()
    ]
