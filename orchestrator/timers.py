"""Fires sleeps, wait timeouts and retry back-offs that are due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from workflows.storage.aside import call_apart, readable
from workflows.storage.batches import numbered
from workflows.storage.keys import Timer
from workflows.storage.store import Call, Store, call_on, script

_FIRE = script(Path(__file__).with_name("fire.lua"))

# Instances per script call: keeps the longest script in the range of a few milliseconds (F33).
BATCH = 100

Due = tuple[bytes, Timer]


def fire(store: Store, shard: int, members: Sequence[bytes]) -> int:
    """Fire the timers of one shard that are due by the server's clock; others are left alone.

    Returns: how many moved an instance.
    """
    found = readable(store, shard, "timers", Timer.parse, members)
    call = partial(_call, store, shard)
    return sum(answer for batch in _batches(found) for _, answer in call_apart(store, shard, "timers", batch, call))


def fire_together(store: Store, due: Mapping[int, Sequence[bytes]]) -> list[int]:
    """The same of several shards, in one round trip.

    Returns: the shards of which a call has failed. Firing those by themselves finds out because of what.
    """
    calls, of = [], []
    for shard, members in due.items():
        for batch in _batches(readable(store, shard, "timers", Timer.parse, members)):
            calls.append(_call(store, shard, batch))
            of.append(shard)
    answers = store.execute(calls)
    return sorted({shard for shard, answer in zip(of, answers, strict=True) if isinstance(answer, Exception)})


def _batches(found: Sequence[Due]) -> list[Sequence[Due]]:
    return [found[at : at + BATCH] for at in range(0, len(found), BATCH)]


def _call(store: Store, shard: int, batch: Sequence[Due]) -> Call:
    instances, places = numbered(store.keys.instance(timer.workflow, timer.id) for _, timer in batch)
    items = [
        {"i": place, "m": member, "k": timer.kind, "g": timer.generation, "s": timer.seq}
        for place, (member, timer) in zip(places, batch, strict=True)
    ]
    return call_on(store.keys, _FIRE, shard, instances, {"items": items})
