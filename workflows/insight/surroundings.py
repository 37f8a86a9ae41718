"""What an instance depends on and does not hold itself: who is there to move it, and what stands in the way.

``look`` says what to ask Redis, in one or two round trips, and makes the facts of the answers; the clients send it. Its
cost depends on how many instances, queues and workers it is about, and not on how many instances there are.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from workflows.insight.standing import Standing
from workflows.storage import concurrency
from workflows.storage.concurrency import InForce
from workflows.storage.keys import Keyspace, rq_queue
from workflows.storage.manifest import Manifest, read_manifest
from workflows.storage.processes import SLOTS, SLOTS_FREE
from workflows.storage.records import OpenStep

Looking: TypeAlias = Generator[list[list[Any]], Any, "Surroundings"]
"""Yields commands for one round trip, is sent an answer for each, which may be an exception, and returns the facts."""

ORCHESTRATORS_LOOKED_AT: Final = 1_000
WORKERS_LOOKED_AT: Final = 1_000


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue, for those who wait on it.

    Attributes:
        workers: names of the RQ workers that serve it and still have their record.
        doorbells: how many ring and have not been answered; None: they cannot be counted.
        slots: how many attempts the workers may run at once, and ``slots_free``: how many more they could now, as those
            who say so said a few seconds ago; None: none does.
    """

    workers: tuple[str, ...] = ()
    doorbells: int | None = 0
    slots: int | None = None
    slots_free: int | None = None


@dataclass(frozen=True, slots=True)
class Crowd:
    """How full a limit on running instances is, for one workflow and key."""

    running: int
    queued: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What there is around some instances at one moment.

    Attributes:
        now_ms: by the server's clock, by which leases, doorbells and owners are counted.
        orchestrators: those alive, and until when they are unless they say more, in ms.
        owners: until when each shard has its owner, in ms, of the shards that were looked at; None: it has none.
        queues: by name without the namespace, those that were asked for and those that the instances wait on.
        leases: until when each worker lives that holds something of the instances, by shard and worker; one that is
            over or not there is not in it.
        places: when intents are to be handed out and timers due, by their member, as far as they are there.
        manifest: what apps have published.
        limits: on running instances, in force.
        taken: how full those limits are that the instances wait for, by workflow and key.
        full: whether Redis refuses what needs memory.
    """

    now_ms: int
    orchestrators: Mapping[str, float] = field(default_factory=dict)
    owners: Mapping[int, float | None] = field(default_factory=dict)
    queues: Mapping[str, Queue] = field(default_factory=dict)
    leases: Mapping[tuple[int, str], float] = field(default_factory=dict)
    places: Mapping[str, float] = field(default_factory=dict)
    manifest: Manifest = field(default_factory=lambda: Manifest({}, {}))
    limits: InForce = field(default_factory=lambda: InForce({}, frozenset()))
    taken: Mapping[tuple[str, str], Crowd] = field(default_factory=dict)
    full: bool = False

    @property
    def owned_shards(self) -> int:
        """How many of the shards that were looked at some orchestrator tends."""
        return sum(1 for end in self.owners.values() if end is not None and end > self.now_ms)


def look(keys: Keyspace, instances: Iterable[Standing] = (), queues: Iterable[str] = ()) -> Looking:
    """Look at what these instances depend on, and at these queues, given without the namespace.

    With neither, it says who is there: orchestrators, the manifest, limits, memory, and the owners of all shards.
    """
    seen = list(instances)
    asked = _Asked()
    clock = asked.ask("TIME")
    alive = asked.ask("ZRANGE", keys.orchestrators, 0, ORCHESTRATORS_LOOKED_AT - 1, "WITHSCORES")
    published, by_hand = asked.ask("HGETALL", keys.manifest), asked.ask("HGETALL", keys.limits)
    memory = asked.ask("INFO", "memory")
    shards = sorted({one.instance.shard for one in seen}) or range(keys.shards)
    owners = {shard: asked.ask("HMGET", keys.shard_key(shard, "owner"), "token", "expiry") for shard in shards}
    wanted = sorted({*queues, *(queue for one in seen for queue in _queues_of(one))})
    names = {queue: asked.ask("SMEMBERS", WORKERS_BY_QUEUE_KEY % keys.queue(queue)) for queue in wanted}
    bells = {queue: asked.ask("LLEN", rq_queue(keys.queue(queue))) for queue in wanted}
    leases = {
        (one.instance.shard, worker): asked.ask("ZSCORE", keys.shard_key(one.instance.shard, "workers"), worker)
        for one in seen
        for worker in _workers_of(one)
    }
    places = {
        member: asked.ask("ZSCORE", keys.shard_key(one.instance.shard, key), member)
        for one in seen
        for key, member in _members_of(one)
    }
    taken = {
        (one.instance.workflow, slot.key): [
            asked.ask("ZLEXCOUNT", key, f"[{group}|", f"({group}}}")
            for key in keys.slots(keys.home(one.instance.workflow, slot.key))
            for group in [f"{one.instance.workflow}|{slot.key}"]
        ]
        for one in seen
        if (slot := one.slot) is not None and slot.state == "a"
    }
    answers = yield asked.commands
    registered = {
        queue: sorted(answers[place])[:WORKERS_LOOKED_AT] if isinstance(answers[place], (set, list)) else []
        for queue, place in names.items()
    }
    records = sorted({key for found in registered.values() for key in found})
    workers: dict[bytes, _Worker] = {}
    if records:
        told = yield [command for key in records for command in (["EXISTS", key], ["HMGET", key, SLOTS, SLOTS_FREE])]
        found = zip(records, told[::2], told[1::2], strict=True)
        workers = {
            key: _Worker(key, *_both(load))
            for key, is_there, load in found
            if is_there == 1 and not isinstance(load, Exception)
        }
    now_ms = _moment(answers[clock])
    kept = _mapping(answers[by_hand])
    manifest = read_manifest(_mapping(answers[published]))
    return Surroundings(
        now_ms=now_ms,
        orchestrators={
            name.decode(errors="backslashreplace"): end for name, end in _scores(answers[alive]) if end > now_ms
        },
        owners={shard: _owner(answers[place]) for shard, place in owners.items()},
        queues={
            queue: _queue([workers[key] for key in registered[queue] if key in workers], answers[bells[queue]])
            for queue in wanted
        },
        leases={
            place: end for place, at in leases.items() if (end := _number(answers[at])) is not None and end > now_ms
        },
        places={member: at for member, place in places.items() if (at := _number(answers[place])) is not None},
        manifest=manifest,
        limits=concurrency.combined(manifest, kept),
        taken={who: Crowd(*(_count(answers[place]) or 0 for place in both)) for who, both in taken.items()},
        full=_is_full(answers[memory]),
    )


class _Worker(NamedTuple):
    key: bytes
    slots: int | None
    free: int | None


def _queue(workers: Sequence[_Worker], doorbells: Any) -> Queue:
    names = tuple(worker.key.decode(errors="backslashreplace").rpartition(":")[2] for worker in workers)
    loads = [(worker.slots, worker.free) for worker in workers]
    told = [(slots, free) for slots, free in loads if slots is not None and free is not None]
    if not told:
        return Queue(names, _count(doorbells))
    return Queue(names, _count(doorbells), sum(slots for slots, _ in told), sum(free for _, free in told))


class _Asked:
    """Commands of one round trip, each with the place of its answer."""

    def __init__(self) -> None:
        self.commands: list[list[Any]] = []

    def ask(self, *command: Any) -> int:
        self.commands.append(list(command))
        return len(self.commands) - 1


def _queues_of(seen: Standing) -> Iterable[str]:
    if not seen.is_live:
        return
    yield seen.queue
    for record in seen.records:
        if isinstance(record, OpenStep):
            yield record.queue


def _workers_of(seen: Standing) -> Iterable[str]:
    if (holder := seen.holder) is not None:
        yield holder
    for record in seen.records:
        if isinstance(record, OpenStep) and record.state == "held":
            yield record.by


def _members_of(seen: Standing) -> Iterable[tuple[str, str]]:
    if (turn := seen.intent(None)) is not None:
        yield "intents", turn
    for record in seen.records:
        if (intent := seen.intent(record)) is not None:
            yield "intents", intent
        if (timer := seen.timer(record)) is not None:
            yield "timers", timer


# Answers may be errors, where a key holds what does not belong there; then it holds nothing (I11).


def _moment(answer: Any) -> int:
    seconds, microseconds = answer
    return int(seconds) * 1000 + int(microseconds) // 1000


def _mapping(answer: Any) -> Mapping[bytes, bytes]:
    return answer if isinstance(answer, dict) else {}


def _both(answer: Any) -> tuple[int | None, int | None]:
    if not isinstance(answer, (list, tuple)):
        return None, None
    slots, free = (_number(value) for value in answer)
    return (None, None) if slots is None or free is None else (int(slots), int(free))


def _count(answer: Any) -> int | None:
    return answer if isinstance(answer, int) else None


def _number(answer: Any) -> float | None:
    if isinstance(answer, Exception) or answer is None:
        return None
    try:
        return float(answer)
    except ValueError:
        return None


def _scores(answer: Any) -> list[tuple[bytes, float]]:
    """Members with their scores, however the client shapes them."""
    if not isinstance(answer, list):
        return []
    pairs: Sequence[Any] = answer
    if pairs and not isinstance(pairs[0], (tuple, list)):
        pairs = list(zip(answer[::2], answer[1::2], strict=True))
    return [(name, float(score)) for name, score in pairs]


def _owner(answer: Any) -> float | None:
    if not isinstance(answer, (list, tuple)) or answer[0] is None:
        return None
    return _number(answer[1])


def _is_full(answer: Any) -> bool:
    if not isinstance(answer, dict):
        return False
    most = int(answer.get("maxmemory") or 0)
    # No key of ours has an expiry by which other policies could choose it.
    keeps = not str(answer.get("maxmemory_policy")).startswith("allkeys")
    return keeps and 0 < most <= int(answer.get("used_memory") or 0)
