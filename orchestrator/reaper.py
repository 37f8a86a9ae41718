"""Takes back what dead workers held, so that others can run it (M5)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from workflows.errors import StalledError
from workflows.storage.aside import call_apart, readable, set_aside
from workflows.storage.batches import numbered
from workflows.storage.keys import Held, checked_name
from workflows.storage.store import Call, Store, call_on, script
from workflows.telemetry import metrics
from workflows.telemetry.figures import figures
from workflows.values import failure

_REAP = script(Path(__file__).with_name("reap.lua"))
_log = logging.getLogger("workflows.orchestrator")
BATCH = 100
# Then others have their turn: nobody holds so much, but anybody can write that he does.
BATCHES = 20


def reap(store: Store, shard: int, worker: str) -> int | None:
    """Release everything an expired worker holds in one shard.

    Returns: how many attempts and turns were released; if it held very many, the next call goes on. None: it
        lives, or there is nothing to take that can be taken.
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

    def call(batch: Sequence[tuple[bytes, Held]]) -> Call:
        instances, places = numbered(store.keys.instance(one.workflow, one.id) for _, one in batch)
        items = [
            {"i": place, "m": member, "k": one.kind, "g": one.generation, "s": one.seq, "t": one.token}
            for place, (member, one) in zip(places, batch, strict=True)
        ]
        arguments = {"w": worker, "items": items, "poison": poison, "lost": lost, "stalled": stalled}
        return call_on(store.keys, _REAP, shard, instances, arguments)

    held = store.keys.shard_key(shard, "held")
    released = 0
    for _ in range(BATCHES):
        found = readable(store, shard, "held", Held.parse, store.members(held, f"{worker}|", most=BATCH))
        # Without anything held the call takes the worker off the list.
        answers = call_apart(store, shard, "held", found, call) if found else [([], store.call(call([])))]
        left = min((answer for _, answer in answers), default=1)
        if left < 0:
            return released or None
        released += len(found)
        if left == 0:
            return released
    return released or None


def reap_all(store: Store, shard: int, workers: Iterable[bytes], lost: Counter[str]) -> None:
    """The same for several, added up in ``lost``; what cannot be a worker's name is set aside."""
    bad = {}
    for member in workers:
        try:
            worker = checked_name(member)
        except ValueError:
            bad[member] = "not a worker"
        else:
            released = reap(store, shard, worker)
            if released is not None:
                lost[worker] += released
    if bad:
        set_aside(store, shard, "workers", bad)


def tell(lost: Counter[str]) -> None:
    """Log what was taken back from each worker, and forget it."""
    while lost:
        worker, released = lost.popitem()
        figures.count(metrics.WORKERS_LOST)
        _log.warning("worker lost", extra={"worker": worker, "released": released})
