"""How many there are of what a namespace has, from its indexes and timers: bounded looks, however many instances."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from workflows.storage.keys import Timer, index_prefix
from workflows.storage.status import Status
from workflows.storage.store import Store

# The first of each shard, in the order in which they are due.
TIMERS_PER_SHARD: Final = 1000
# Workflows counted by one round trip; each is one look per status and shard.
WORKFLOWS_AT_ONCE: Final = 10


def count_by_workflow(store: Store, workflows: Iterable[str]) -> dict[str, dict[str, int]]:
    """How many instances there are in each status, of each of these workflows."""
    names = list(workflows)
    found: dict[str, dict[str, int]] = {}
    for at in range(0, len(names), WORKFLOWS_AT_ONCE):
        some = names[at : at + WORKFLOWS_AT_ONCE]
        found.update(zip(some, counted(store, some), strict=True))
    return found


def counted(store: Store, workflows: Sequence[str | None]) -> list[dict[str, int]]:
    """The same in one round trip; None: of all workflows together."""
    with store.redis.pipeline(transaction=False) as pipeline:
        for workflow in workflows:
            for status in Status:
                prefix = f"{status}|" if workflow is None else index_prefix(status, workflow)
                for shard in range(store.keys.shards):
                    # Names are ASCII, so the highest byte ends every prefix.
                    end = b"(" + prefix.encode() + b"\xff"
                    pipeline.zlexcount(store.keys.shard_key(shard, "index"), f"[{prefix}", end)
        counts = iter(pipeline.execute())
    shards = range(store.keys.shards)
    return [{str(status): sum(next(counts) for _ in shards) for status in Status} for _ in workflows]


def count_retrying(store: Store) -> Counter[str]:
    """By workflow the instances with a failed step that waits for its next attempt: at least those among the first
    thousand timers of each shard."""
    with store.redis.pipeline(transaction=False) as pipeline:
        for shard in range(store.keys.shards):
            pipeline.zrange(store.keys.shard_key(shard, "timers"), 0, TIMERS_PER_SHARD - 1)
        members = [member for found in pipeline.execute() for member in found]
    waiting: dict[str, set[str]] = defaultdict(set)
    for member in members:
        if member.startswith(b"b|"):
            with suppress(ValueError):  # an orchestrator sets it aside
                timer = Timer.parse(member)
                waiting[timer.workflow].add(timer.id)
    return Counter({workflow: len(ids) for workflow, ids in waiting.items()})


def timers_late_ms(store: Store, now_ms: int) -> int:
    """For how long the oldest timer of all shards has been due; 0: none is."""
    with store.redis.pipeline(transaction=False) as pipeline:
        for shard in range(store.keys.shards):
            pipeline.zrange(store.keys.shard_key(shard, "timers"), 0, 0, withscores=True)
        found: Any = pipeline.execute()
    dues = [max(0.0, due) for first in found for _, due in first]
    return max(0, now_ms - int(min(dues))) if dues and min(dues) < now_ms else 0
