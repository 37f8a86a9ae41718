"""Takes doorbells off a queue and claims what they stand for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflows import limits
from workflows.storage import doorbell, journal, keys, nonces
from workflows.storage.aside import readable
from workflows.storage.batches import numbered
from workflows.storage.keys import Held, Instance, Intent, Keyspace
from workflows.storage.records import OpenStep
from workflows.storage.store import Call, Store, call_on, call_one, script, unpackb

_POP = script(Path(__file__).with_name("pop.lua"))
_CLAIM = script(Path(__file__).with_name("claim.lua"))
_DECLINE = script(Path(__file__).with_name("decline.lua"))

# Entries sent along with the claims of one call. What is more is read in pages, so that no reply is unbounded (F50).
PAGE = 256
# The same with the turn that is claimed together with its doorbell. That call does not know what the worker has of the
# journal already, so it is for short ones.
PAGE_ALONE = 32
BYTES_ALONE = 65_536
# Ids taken off a queue by one pop, beyond those that are doorbells: the rest waits for the next one.
JUNK_PER_POP = 200
DECLINE_MS = 2_000
# A machine that goes away takes everything with it, once; what was there both times may be the cause.
SUSPICIOUS_LOSSES = 2


class LeaseLost(Exception):
    """The worker's lease ran out; come back under a new worker id."""


@dataclass(frozen=True, slots=True)
class Known:
    """How far a worker has replayed an instance: ``position`` entries, the last of which has ``nonce``."""

    generation: str
    position: int
    nonce: str


@dataclass(slots=True)
class Task:
    """One claimed attempt or turn.

    Attributes:
        kind: ``a`` attempt, ``t`` turn.
        start: position of the first of ``blobs``; 0 unless the worker knew more.
        upto: how many entries to feed.
        position: how many entries are decided; the base of a turn.
        blobs: entries from ``start`` on, up to ``upto`` where that is not too much.
        record: the open record of an attempt.
        deaths, losses: processes that were seen to end, and workers that were found gone, while they had it.
        nonce: nonce of entry ``upto - 1``.
        hinted: the claim said what this worker knew of the instance; if ``start`` is 0 all the same, that was of
            another timeline.
    """

    kind: str
    instance: Instance
    generation: str
    seq: int
    token: str
    worker: str
    start: int
    upto: int
    position: int
    blobs: list[bytes]
    record: OpenStep | None
    deaths: int
    losses: int
    nonce: str
    hinted: bool

    @property
    def held(self) -> Held:
        """Under what Redis knows that this worker holds it."""
        instance = self.instance
        return Held(self.worker, self.kind, instance.workflow, instance.id, self.generation, self.seq, self.token)

    @property
    def is_suspect(self) -> bool:
        """Whether it may be what killed a worker: it had part in a death that was seen, or in several others (F22)."""
        return self.deaths >= 1 or self.losses >= SUSPICIOUS_LOSSES


@dataclass(frozen=True, slots=True)
class Popped:
    """What a pop has taken off a queue.

    Attributes:
        intents: what is still to be claimed.
        task: the turn that came alone and was claimed at once, if that was so.
        forged: ids of jobs that are none of ours.
        waited_ms: how long each doorbell had been ringing.
    """

    intents: list[Intent]
    task: Task | None
    forged: list[str]
    waited_ms: list[int]


def pop_call(keyspace: Keyspace, queue_name: str, most: int, at_once: Collection[str], worker: str, token: str) -> Call:
    """A call that takes up to ``most`` doorbells off an RQ queue.

    Args:
        at_once: workflows of which a turn that comes alone is claimed by the same call, under ``token``.
    """
    head, tail = doorbell.envelope(keyspace.namespace)
    declared = [keys.rq_queue(queue_name), keys.rq_handover(queue_name), keys.rq_failed(queue_name)]
    arguments = {
        "n": most,
        "looks": most + JUNK_PER_POP,
        "prefix": keys.rq_job_prefix(),
        "envelope": head,
        "tail": tail,
        "keep": limits.FORGED_KEPT_SECONDS,
        "w": worker,
        "t": token,
        "known": f" {' '.join(at_once)} ",
        "keys": keyspace.pattern,
        "shards": keyspace.shards,
        "page": PAGE_ALONE,
        "bytes": BYTES_ALONE,
        "turn": limits.TURN_ENTRIES,
    }
    return Call(_POP, declared, arguments)


def popped(store: Store, answer: Any, worker: str, token: str, known: Callable[[Instance], Known | None]) -> Popped:
    """What such a call has answered. A text that is no intent is dropped: nothing will answer to it."""
    members, forged, waited, reply = answer
    intents, task = [], None
    for member in members:
        try:
            intents.append(Intent.parse(member))
        except ValueError:
            continue
    if reply != b"":
        for intent in intents:
            task = _task_alone(store, intent, worker, token, reply, known)
        intents = []
    return Popped(intents, task, [id.decode(errors="backslashreplace") for id in forged], waited)


def _task_alone(
    store: Store, intent: Intent, worker: str, token: str, reply: Any, known: Callable[[Instance], Known | None]
) -> Task | None:
    """The turn that was claimed together with its doorbell, as if the call had said what is known here."""
    if reply == 0:
        return None
    instance = store.keys.instance(intent.workflow, intent.id)
    have = _have(intent, instance, known)
    now, _, upto, blobs, *rest = reply
    store.clock.observe(int(now))
    start = _agreed(have, blobs)
    item = {"k": intent.kind, "g": intent.generation, "s": intent.seq, "t": token, "h": have.position if have else 0}
    return _task(worker, instance, item, [now, start, upto, blobs[start:], *rest])


def _agreed(have: Known | None, blobs: Sequence[bytes]) -> int:
    """Up to where a journal is the one that is known; 0 where it is of another timeline (F42)."""
    if have is None or have.position > len(blobs):
        return 0
    return have.position if journal.nonce_of(blobs[have.position - 1]) == have.nonce else 0


def _have(intent: Intent, instance: Instance, known: Callable[[Instance], Known | None]) -> Known | None:
    have = known(instance)
    return have if have is not None and have.generation == intent.generation else None


def decline(store: Store, intents: Sequence[Intent]) -> None:
    """Put intents of workflows this worker does not know back for a while."""
    by_shard: dict[int, list[tuple[Instance, str]]] = defaultdict(list)
    for intent in intents:
        instance = store.keys.instance(intent.workflow, intent.id)
        by_shard[instance.shard].append((instance, intent.member))
    calls = []
    for shard, group in by_shard.items():
        instances, places = numbered(instance for instance, _ in group)
        items = [{"i": place, "m": member} for place, (_, member) in zip(places, group, strict=True)]
        calls.append(call_on(store.keys, _DECLINE, shard, instances, {"items": items, "delay": DECLINE_MS}))
    store.execute(calls)


def claim(
    store: Store, worker: str, intents: Sequence[Intent], known: Callable[[Instance], Known | None]
) -> list[Task]:
    """Claim intents; those that are gone are left out.

    Raises:
        LeaseLost: the worker has no lease in one of the shards; what was claimed in others comes back by reconcile.
    """
    tasks: list[Task] = []
    left = intents
    while left:
        claimed, left = _claim_some(store, worker, left, known)
        tasks += claimed
    return tasks


def _claim_some(
    store: Store, worker: str, intents: Sequence[Intent], known: Callable[[Instance], Known | None]
) -> tuple[list[Task], list[Intent]]:
    """Claim what one call per shard bears. Returns: the tasks, and what is to be asked for again."""
    by_shard: dict[int, list[tuple[Intent, Instance]]] = defaultdict(list)
    for intent in intents:
        instance = store.keys.instance(intent.workflow, intent.id)
        by_shard[instance.shard].append((intent, instance))
    calls, asked = [], []
    for shard, group in by_shard.items():
        instances, places = numbered(instance for _, instance in group)
        items: list[dict[str, Any]] = []
        for (intent, instance), place in zip(group, places, strict=True):
            have = _have(intent, instance, known)
            items.append(
                {
                    "i": place,
                    "k": intent.kind,
                    "g": intent.generation,
                    "s": intent.seq,
                    "n": intent.nonce,
                    "m": intent.member,
                    "t": nonces.token(),
                    "h": have.position if have else 0,
                    "hn": have.nonce if have else "",
                }
            )
        asked.append((group, items))
        calls.append(
            call_on(
                store.keys,
                _CLAIM,
                shard,
                instances,
                _arguments(worker, items),
            )
        )
    tasks, left = [], []
    for (group, items), answer in zip(asked, store.call_all(calls), strict=True):
        if answer and answer[0] == b"no-lease":
            raise LeaseLost(worker)
        for (intent, instance), item, reply in zip(group, items, answer, strict=True):
            if reply == 1:
                left.append(intent)
            elif reply != 0:
                store.clock.observe(int(reply[0]))
                tasks.append(_task(worker, instance, item, reply))
    return tasks, left


def take_over(store: Store, worker: str, held: Held) -> Task | None:
    """Take what another worker has claimed, before it has begun with it. Returns: None when it is not there any more.

    Raises:
        LeaseLost: see ``claim``.
    """
    instance = store.keys.instance(held.workflow, held.id)
    item = {
        "i": 1,
        "k": held.kind,
        "g": held.generation,
        "s": held.seq,
        "fw": held.worker,
        "ft": held.token,
        "t": nonces.token(),
        "h": 0,
        "hn": "",
    }
    answer = store.call(call_one(store.keys, _CLAIM, instance, _arguments(worker, [item])))
    if answer[0] == b"no-lease":
        raise LeaseLost(worker)
    return None if answer[0] == 0 else _task(worker, instance, item, answer[0])


def _arguments(worker: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"w": worker, "items": items, "page": PAGE, "bytes": limits.SCRIPT_BYTES, "turn": limits.TURN_ENTRIES}


def _task(worker: str, instance: Instance, item: dict[str, Any], reply: list[Any]) -> Task:
    _, start, upto, blobs, blob, nonce, position, strikes, lost = reply
    record = OpenStep.of(unpackb(blob)) if blob else None
    return Task(
        kind=item["k"],
        instance=instance,
        generation=item["g"],
        seq=item["s"],
        token=item["t"],
        worker=worker,
        start=int(start),
        upto=int(upto),
        position=int(position),
        blobs=blobs,
        record=record,
        deaths=int(strikes) if record is None else record.deaths,
        losses=int(lost) if record is None else record.losses,
        # Of garbage it is anything; whoever reads the entry itself says so (I11).
        nonce=nonce.decode(errors="replace"),
        hinted=item["h"] > 0,
    )


def held_by(store: Store, shard: int, worker: str) -> list[Held]:
    """Everything a worker holds in one shard."""
    members = store.members(store.keys.shard_key(shard, "held"), f"{worker}|")
    return [held for _, held in readable(store, shard, "held", Held.parse, members)]
