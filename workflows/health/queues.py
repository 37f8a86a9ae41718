"""What waits on each queue and who serves it: the same for doctors, pages, metrics and whoever starts more workers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from workflows.storage import doorbell
from workflows.storage.keys import Intent, Keyspace, rq_job_prefix, rq_queue
from workflows.storage.processes import SLOTS, SLOTS_FREE
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


def queue_states(store: Store, queues: Iterable[str], now_ms: int) -> dict[str, QueueState]:
    """The state of these queues, given without the namespace, and of every other one that has unclaimed work.

    Two round trips, whose cost depends on the number of queues and workers and hardly on what waits.

    Args:
        now_ms: the server's time.
    """
    unclaimed, overdue, seen = _unclaimed(store, now_ms)
    names = sorted({*queues, *unclaimed})
    workers, bells = _registered(store, names)
    records, waiting = _looked_up(store, workers, bells)
    found = {}
    for name in names:
        loads = {key.rpartition(b":")[2].decode(errors="replace"): records[key] for key in workers[name]}
        alive = {worker: load for worker, load in loads.items() if load is not None}
        age = max((_age(waiting[bell], store.keys, seen, now_ms) for bell in bells[name]), default=0)
        found[name] = QueueState(
            unclaimed=unclaimed.get(name, 0),
            # One that has never been rung is due since it was written.
            oldest_ms=max(age, overdue.get(name, 0), 0) if name in unclaimed else 0,
            overdue_ms=overdue.get(name, 0),
            workers=tuple(alive),
            slots=sum(slots for slots, _ in alive.values()),
            slots_free=sum(free for _, free in alive.values()),
        )
    return found


def _ask(store: Store, commands: Sequence[Sequence[Any]]) -> list[Any]:
    """Answers in one round trip; None where a key holds what does not belong there (I11)."""
    if not commands:
        return []
    with store.redis.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        answers = pipeline.execute(raise_on_error=False)
    return [None if isinstance(answer, Exception) else answer for answer in answers]


def _unclaimed(store: Store, now_ms: int) -> tuple[dict[str, int], dict[str, int], set[str]]:
    """By queue how many there are and for how long one is overdue; and the members that were seen."""
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
    overdue: dict[str, int] = {}
    seen: set[str] = set()
    for total, members in zip(answers, answers, strict=True):
        here: Counter[str] = Counter()
        for member, due_ms in members or ():
            with suppress(ValueError):  # an orchestrator sets it aside
                intent = Intent.parse(member)
                here[intent.queue] += 1
                seen.add(intent.member)
                late = now_ms - int(max(-1e15, min(float(due_ms), 1e15)))
                overdue[intent.queue] = max(overdue.get(intent.queue, late), late)
        share = max(1.0, (total or 0) / INTENTS_PER_SHARD)
        for queue, count in here.items():
            counts[queue] += count * share
    return {queue: round(count) for queue, count in counts.items()}, overdue, seen


def _registered(store: Store, names: Sequence[str]) -> tuple[dict[str, list[bytes]], dict[str, list[bytes]]]:
    """By queue the keys of the records of its workers, and the first doorbells in it."""
    commands: list[list[Any]] = []
    for name in names:
        rq = store.keys.queue(name)
        commands += [["SMEMBERS", WORKERS_BY_QUEUE_KEY % rq], ["LRANGE", rq_queue(rq), 0, DOORBELLS_LOOKED_AT - 1]]
    answers = _ask(store, commands)
    workers = {name: sorted(answers[2 * n] or ()) for n, name in enumerate(names)}
    return workers, {name: list(answers[2 * n + 1] or ()) for n, name in enumerate(names)}


def _looked_up(
    store: Store, workers: Mapping[str, Sequence[bytes]], bells: Mapping[str, Sequence[bytes]]
) -> tuple[dict[bytes, tuple[int, int] | None], dict[bytes, Any]]:
    """By key of a worker its slots and the free ones, None where there is no such worker any more; and by doorbell what
    it stands for and when it was rung."""
    records = sorted({key for keys in workers.values() for key in keys})
    jobs = sorted({bell for found in bells.values() for bell in found})
    prefix = rq_job_prefix().encode()
    commands: list[list[Any]] = [["EXISTS", key] for key in records]
    commands += [["HMGET", key, SLOTS, SLOTS_FREE] for key in records]
    commands += [["HMGET", prefix + job, "data", "rung"] for job in jobs]
    answers = _ask(store, commands)
    there, said = answers[: len(records)], answers[len(records) : 2 * len(records)]
    loads = {
        key: (_number(load[0]), _number(load[1])) if is_there and load else None
        for key, is_there, load in zip(records, there, said, strict=True)
    }
    return loads, dict(zip(jobs, answers[2 * len(records) :], strict=True))


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
