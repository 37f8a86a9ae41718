"""Finds lost work and applies retention.

The sweep visits every live instance of a shard and rebuilds what can be derived (M8). It runs when a shard comes into
hand, after every reconnect, and slowly all the time; on a healthy shard it finds nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from workflows import failure
from workflows.keys import Instance
from workflows.scripts import delete_call, unring_calls
from workflows.status import LIVE
from workflows.store import Store, call_on, script

_SWEEP = script(Path(__file__).with_name("sweep.lua"))
_log = logging.getLogger("workflows.orchestrator")
BATCH = 50


def live_instances(store: Store, shard: int) -> Iterator[list[Instance]]:
    """The shard's live instances, in pages."""
    index = store.keys.shard_key(shard, "index")
    beginnings: dict[str, str | None] = {f"{status}|": None for status in LIVE}
    while beginnings:
        pages = store.pages(index, beginnings, most=BATCH)
        for page in filter(None, pages.values()):
            yield [_instance(store, member) for member in page]
        beginnings = {prefix: page[-1] for prefix, page in pages.items() if len(page) == BATCH}


def _instance(store: Store, member: str) -> Instance:
    _, workflow, _, id = member.split("|")
    return store.keys.instance(workflow, id)


def pages(store: Store, shard: int) -> Iterator[int]:
    """Repair a shard, page by page. Gives for each call in how many instances something was missing."""
    for page in live_instances(store, shard):
        waiting = [(instance, "0") for instance in page]
        while waiting:
            items = [{"i": place, "c": cursor} for place, (_, cursor) in enumerate(waiting, 1)]
            call = call_on(store.keys, _SWEEP, shard, [instance for instance, _ in waiting], {"items": items})
            answers = store.call(call)
            repaired = sum(fixed for fixed, _ in answers)
            if repaired:
                _log.warning("repaired", extra={"shard": shard, "instances": repaired})
            waiting = [
                (instance, cursor.decode())
                for (instance, _), (_, cursor) in zip(waiting, answers, strict=True)
                if cursor
            ]
            yield repaired


def retire(store: Store, shard: int, members: Sequence[str]) -> int:
    """Delete instances whose retention is over (F55, F56). Returns: how many are gone."""
    gone = 0
    for member in members:
        workflow, id, generation = member.split("|")
        instance = store.keys.instance(workflow, id)
        arguments = {
            "gen": generation,
            "retire": member,
            "x": failure.make("InstanceNotFound", f"instance {id!r} of {workflow!r} is gone"),
        }
        answer = store.call(delete_call(store.keys, instance, arguments))
        if answer[0] == b"deleted":
            store.execute(unring_calls(store.keys, shard, ((q.decode(), n.decode()) for q, n in answer[1:])))
            gone += 1
    return gone
