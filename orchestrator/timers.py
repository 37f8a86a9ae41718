"""Fires sleeps, wait timeouts and retry back-offs that are due."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from workflows.batches import numbered
from workflows.keys import Timer
from workflows.store import Store, call_on, script

_FIRE = script(Path(__file__).with_name("fire.lua"))

# Instances per script call: keeps the longest script in the range of a few milliseconds (F33).
BATCH = 100


def fire(store: Store, shard: int, members: Sequence[str]) -> int:
    """Fire the timers of one shard that are due by the server's clock; others are left alone.

    Returns: how many moved an instance.
    """
    fired = 0
    for at in range(0, len(members), BATCH):
        batch = members[at : at + BATCH]
        timers = [Timer.parse(member) for member in batch]
        instances, places = numbered(store.keys.instance(timer.workflow, timer.id) for timer in timers)
        items = [
            {"i": place, "m": member, "k": timer.kind, "g": timer.generation, "s": timer.seq}
            for place, member, timer in zip(places, batch, timers, strict=True)
        ]
        fired += store.call(call_on(store.keys, _FIRE, shard, instances, {"items": items}))
    return fired
