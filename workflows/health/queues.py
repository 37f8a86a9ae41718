"""What waits on each queue and who serves it: the same for doctors, pages, metrics and whoever starts more workers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from workflows.client.explaining import surroundings
from workflows.insight.surroundings import Queue, Surroundings
from workflows.storage import doorbell
from workflows.storage.keys import Intent, Keyspace, rq_job_prefix, rq_queue
from workflows.storage.store import Store

# Looked at per shard; of a longer backlog the rest is shared out among its queues as these are.
INTENTS_PER_SHARD: Final = 1000
# Doorbells looked at from the front of a queue, for the first whose work is still unclaimed.
DOORBELLS_LOOKED_AT: Final = 10


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue at one moment.

    Attributes:
        unclaimed: attempts and turns that no worker has taken yet. Exact up to 1,000 in each shard, an estimate above.
        oldest_ms: how long the oldest of them has been waiting since it was handed out, or should have been.
        overdue_ms: how long one of them is overdue to be handed out; negative: none is.
        workers: names of the RQ workers that serve it.
        slots: how many attempts these may run at once, and ``slots_free``: how many more they could now, as they said
            a few seconds ago. A worker of several queues counts in each.
    """

    unclaimed: int = 0
    oldest_ms: int = 0
    overdue_ms: int = 0
    workers: tuple[str, ...] = ()
    slots: int = 0
    slots_free: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For machines: ``unclaimed``, ``oldest_seconds``, ``workers``, ``slots``, ``slots_free``, all numbers."""
        return {
            "unclaimed": self.unclaimed,
            "oldest_seconds": round(self.oldest_ms / 1000, 3),
            "workers": len(self.workers),
            "slots": self.slots,
            "slots_free": self.slots_free,
        }


@dataclass(frozen=True, slots=True)
class Service:
    """Who is at work at one moment, and what waits for them.

    Attributes:
        around: orchestrators, owners of shards and the server's time.
        queues: those that were asked for and every other one that has unclaimed work, without the namespace.
    """

    around: Surroundings
    queues: Mapping[str, QueueState]


def service(store: Store, queues: Iterable[str]) -> Service:
    """Look at a namespace and at these queues, given without it, in five round trips, whose cost depends on the number
    of queues, workers and shards and hardly on what waits.

    Raises: ServerUnavailable.
    """
    unclaimed, due, seen = _unclaimed(store)
    names = sorted({*queues, *unclaimed})
    around = surroundings(store, queues=names)
    bells = _doorbells(store, names)
    found = {}
    for name in names:
        there = around.queues.get(name, Queue())
        overdue_ms = around.now_ms - due[name] if name in due else 0
        age = max((_age(bell, store.keys, seen, around.now_ms) for bell in bells[name]), default=0)
        found[name] = QueueState(
            unclaimed=unclaimed.get(name, 0),
            # One that has never been rung is due since it was written.
            oldest_ms=max(age, overdue_ms, 0) if name in unclaimed else 0,
            overdue_ms=overdue_ms,
            workers=there.workers,
            slots=there.slots or 0,
            slots_free=there.slots_free or 0,
        )
    return Service(around, found)


def _ask(store: Store, commands: Sequence[Sequence[Any]]) -> list[Any]:
    """Answers in one round trip; None where a key holds what does not belong there (I11)."""
    if not commands:
        return []
    with store.redis.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        answers = pipeline.execute(raise_on_error=False)
    return [None if isinstance(answer, Exception) else answer for answer in answers]


def _unclaimed(store: Store) -> tuple[dict[str, int], dict[str, int], set[str]]:
    """By queue how many there are and when the first is due to be handed out; and the members that were seen."""
    shards = [store.keys.shard_key(shard, "intents") for shard in range(store.keys.shards)]
    answers = iter(
        _ask(
            store,
            [
                command
                for key in shards
                for command in (["ZCARD", key], ["ZRANGE", key, 0, INTENTS_PER_SHARD - 1, "WITHSCORES"])
            ],
        )
    )
    counts: dict[str, float] = defaultdict(float)
    due: dict[str, int] = {}
    seen: set[str] = set()
    for total, members in zip(answers, answers, strict=True):
        here: Counter[str] = Counter()
        for member, due_ms in members or ():
            with suppress(ValueError):  # an orchestrator sets it aside
                intent = Intent.parse(member)
                here[intent.queue] += 1
                seen.add(intent.member)
                at = int(max(-1e15, min(float(due_ms), 1e15)))
                due[intent.queue] = min(due.get(intent.queue, at), at)
        share = max(1.0, (total or 0) / INTENTS_PER_SHARD)
        for queue, count in here.items():
            counts[queue] += count * share
    return {queue: round(count) for queue, count in counts.items()}, due, seen


def _doorbells(store: Store, names: Sequence[str]) -> dict[str, list[Any]]:
    """By queue what its first doorbells stand for, and when they were rung."""
    rung = _ask(store, [["LRANGE", rq_queue(store.keys.queue(name)), 0, DOORBELLS_LOOKED_AT - 1] for name in names])
    prefix = rq_job_prefix().encode()
    answers = iter(_ask(store, [["HMGET", prefix + job, "data", "rung"] for found in rung for job in found or ()]))
    return {name: [next(answers) for _ in found or ()] for name, found in zip(names, rung, strict=True)}


def _age(job: Any, keys: Keyspace, seen: set[str], now_ms: int) -> int:
    """For how long a doorbell has been ringing in vain; 0 if its work is not unclaimed any more."""
    data, rung = job or (None, None)
    head, tail = doorbell.envelope(keys.namespace)
    text = (data or b"").decode(errors="replace")
    if not text.startswith(head) or text[len(head) : -len(tail)] not in seen:
        return 0
    return max(0, now_ms - _number(rung)) if rung else 0


def _number(text: bytes | None) -> int:
    with suppress(ValueError, OverflowError):
        return int(float(text or 0))
    return 0
