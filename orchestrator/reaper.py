"""Takes back what dead workers held, so that others can run it (M5)."""

from __future__ import annotations

import logging
from pathlib import Path

from workflows import failure
from workflows.batches import numbered
from workflows.errors import StalledError
from workflows.keys import Held
from workflows.store import Store, call_on, script

_REAP = script(Path(__file__).with_name("reap.lua"))
_log = logging.getLogger("workflows.orchestrator")
BATCH = 100


def reap(store: Store, shard: int, worker: str) -> int:
    """Release everything an expired worker holds in one shard.

    Returns: how many attempts and turns were released.
    """
    poison = failure.make(
        "PoisonError",
        "the step was abandoned because three worker processes died while running it, the last two with nothing else "
        "in them; look for a crash, or for memory use",
    )
    lost = failure.make(
        "PoisonError",
        "the step was abandoned because ten workers were lost while running it, with the machines they ran on perhaps; "
        "look for memory use that ends a whole container, or for a step that is too long for machines that come and go",
    )
    stalled = failure.make("StalledError", StalledError.__doc__ or "")
    held = store.keys.shard_key(shard, "held")
    released = 0
    while True:
        members = store.members(held, f"{worker}|", most=BATCH)
        parsed = [Held.parse(member) for member in members]
        instances, places = numbered(store.keys.instance(one.workflow, one.id) for one in parsed)
        items = [
            {"i": place, "m": member, "k": one.kind, "g": one.generation, "s": one.seq, "t": one.token}
            for place, member, one in zip(places, members, parsed, strict=True)
        ]
        arguments = {"w": worker, "items": items, "poison": poison, "lost": lost, "stalled": stalled}
        left = store.call(call_on(store.keys, _REAP, shard, instances, arguments))
        if left < 0:
            return released
        released += len(members)
        if left == 0:
            _log.warning("worker lost", extra={"worker": worker, "shard": shard, "released": released})
            return released
