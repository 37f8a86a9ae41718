"""Hands out attempts and turns: rings their doorbells on RQ queues, in batches.

This is the one place that chooses what is handed out next. A ring is a hint; the claim decides (M4).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from workflows.storage import doorbell, keys
from workflows.storage.aside import displace, is_about_data, readable
from workflows.storage.keys import Intent
from workflows.storage.store import Call, Store, script

HERE = Path(__file__).parent
_RING = script(HERE / "ring.lua")

# A doorbell that nobody answered is looked for in its queue only when it is this old: the search is linear.
SEARCH_AFTER_MS = 60_000


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
