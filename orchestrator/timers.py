"""Fires sleeps, wait timeouts and retry back-offs that are due."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from workflows.storage.aside import call_apart, readable
from workflows.storage.batches import numbered
from workflows.storage.keys import Timer
from workflows.storage.store import Call, Store, call_on, script

_FIRE = script(Path(__file__).with_name("fire.lua"))

# Instances per script call: keeps the longest script in the range of a few milliseconds (F33).
BATCH = 100


def fire(store: Store, shard: int, members: Sequence[bytes]) -> int:
    """Fire the timers of one shard that are due by the server's clock; others are left alone.

    Returns: how many moved an instance.
    """

    def call(batch: Sequence[tuple[bytes, Timer]]) -> Call:
        instances, places = numbered(store.keys.instance(timer.workflow, timer.id) for _, timer in batch)
        items = [
            {"i": place, "m": member, "k": timer.kind, "g": timer.generation, "s": timer.seq}
            for place, (member, timer) in zip(places, batch, strict=True)
        ]
        return call_on(store.keys, _FIRE, shard, instances, {"items": items})

    found = readable(store, shard, "timers", Timer.parse, members)
    return sum(
        answer
        for at in range(0, len(found), BATCH)
        for _, answer in call_apart(store, shard, "timers", found[at : at + BATCH], call)
    )
