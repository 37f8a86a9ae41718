"""Looks what there is to do in a shard, and hands out attempts and turns: rings their doorbells on RQ queues.

This is the one place that chooses what is handed out next. A ring is a hint; the claim decides (M4).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from workflows.storage import doorbell, keys
from workflows.storage.aside import displace, is_about_data, readable
from workflows.storage.keys import Intent
from workflows.storage.store import Call, Store, call_on, script

HERE = Path(__file__).parent
_LOOK = script(HERE / "dispatch.lua")
_RING = script(HERE / "ring.lua")

# A doorbell that nobody answered is looked for in its queue only when it is this old: the search is linear.
SEARCH_AFTER_MS = 60_000
BATCH = 500


class ShardLook(NamedTuple):
    """What there is to do in a shard.

    Attributes:
        now: when, in ms, by the server's clock.
        intents: which are to be rung for, no more than ``BATCH``.
        due: timers, no more than ``BATCH``.
        following: when the next one is due, in ms; b"" = there is none.
        dead: workers whose lease is over.
        relayed: whether there are messages to other shards.
        retiring: instances whose retention is over.
        ring_in: in how many ms an intent is to be rung for; b"" = there is none.
        mend: when a key of the shard was lost; b"" = none was.
        left: what a call has left unfinished.
    """

    now: int
    intents: list[bytes]
    due: list[bytes]
    following: int | bytes
    dead: list[bytes]
    relayed: int
    retiring: list[bytes]
    ring_in: int | bytes
    mend: bytes
    left: list[bytes]


def look_call(store: Store, shard: int, token: str, unfinished: int, mended: bytes | None) -> Call:
    """A call that looks, for the shard's owner; answered with the fields of a ``ShardLook``, or with ``lost``.

    Args:
        unfinished: most of what is unfinished.
        mended: what ``mend`` was when the shard was mended, once after that.
    """
    arguments: dict[str, Any] = {"t": token, "n": BATCH, "u": unfinished}
    if mended is not None:
        arguments["mended"] = mended
    return call_on(store.keys, _LOOK, shard, [], arguments)


def ring(store: Store, shard: int, members: Iterable[bytes]) -> int:
    """Ring the doorbells of intents.

    Returns: how many were pushed; fewer than given when some still stand in their queue.
    """
    by_queue: dict[str, list[Intent]] = defaultdict(list)
    for _, intent in readable(store, shard, "intents", Intent.parse, members):
        by_queue[intent.queue].append(intent)
    calls = []
    for queue, intents in by_queue.items():
        name = store.keys.queue(queue)
        ids = [doorbell.job_id(shard, intent) for intent in intents]
        items = [
            {
                "id": id,
                "data": doorbell.data(store.keys.namespace, intent.member),
                "what": f"{'turn' if intent.kind == 't' else 'step'} of {intent.workflow}/{intent.id}",
            }
            for id, intent in zip(ids, intents, strict=True)
        ]
        declared = [keys.rq_queue(name), keys.rq_queues(), *(keys.rq_job_prefix() + id for id in ids)]
        arguments = {
            "items": items,
            "queue": name,
            "old": SEARCH_AFTER_MS,
        }
        calls.append(Call(_RING, declared, arguments))
    pushed = 0
    for call, answer in zip(calls, store.execute(calls), strict=True):
        if isinstance(answer, Exception):
            if not is_about_data(answer):
                raise answer
            queue_key, queues, *jobs = call.keys
            displace(store, {queue_key: "list", queues: "set", **dict.fromkeys(jobs, "hash")})
            answer = store.call(call)
        pushed += answer
    return pushed
