"""Limits on running instances: who is counted, who has a slot, who waits for one (decision 0020).

The slots of a workflow and key lie in one shard, wherever its instances are; both sides talk by messages between
shards. Nothing is asked or written for instances of workflows without a limit.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import redis

from workflows.errors import CorruptPayload
from workflows.storage.aside import is_about_data, readable
from workflows.storage.concurrency import Limits, Stored, combined, stored
from workflows.storage.intake import new_slot
from workflows.storage.journal import decode_start
from workflows.storage.keys import Holder, Instance, Intent
from workflows.storage.manifest import read_manifest
from workflows.storage.messages import SlotGranted, SlotMessage
from workflows.storage.records import Slot
from workflows.storage.store import Call, Store, call_on, call_one, script

_SLOTS = script(Path(__file__).with_name("slots.lua"))
_GRANT = script(Path(__file__).with_name("grant.lua"))
_LIMIT = script(Path(__file__).with_name("limit.lua"))
_log = logging.getLogger("workflows.orchestrator")

NONE = 0
"""How ``slots.lua`` is told that a workflow has no limit."""
BATCH = 50
"""Instances that are looked at in one round trip."""


class LimitsInForce:
    """Limits as they were when this process last looked.

    Attributes:
        now: None before the first look, and then nothing may be concluded from a limit that is missing.
    """

    def __init__(self) -> None:
        self.now: Limits | None = None
        self._stored: Stored = ()

    def look(self, store: Store) -> bool:
        """Read them. Returns: whether anything has changed since the last look."""
        read = stored(store)
        if read == self._stored:
            return False  # so it is nearly always, and manifests are long
        self._stored = read
        published, kept = read
        found = combined(read_manifest(published), kept)
        # Of an app whose manifest cannot be read, what was known still counts.
        now = found.limits if found.whole else {**(self.now or {}), **found.limits}
        before, self.now = self.now, now
        if before is not None and before != now:
            for name in sorted(before.keys() | now.keys()):
                if before.get(name) != now.get(name):
                    limit = now.get(name)
                    _log.info("limit", extra={"workflow": name, "limit": limit and limit.limit})
        return is_used(now) if before is None else before != now


def is_used(limits: Limits | None) -> bool:
    """Whether any workflow has a limit. Where none has, nothing is looked at."""
    return limits is not None and any(limits.values())


# Messages


def told(store: Store, messages: Mapping[bytes, SlotMessage], limits: Limits) -> list[tuple[list[bytes], Call]]:
    """Calls that tell shards what instances say of their slots, each with the ids of its messages. The answer begins
    with how many of them were taken in; others are to be told again.
    """
    by_home: dict[int, list[tuple[bytes, SlotMessage]]] = defaultdict(list)
    for id, one in messages.items():
        by_home[store.keys.home(one.holder.workflow, one.holder.key)].append((id, one))
    calls = []
    for home, some in by_home.items():
        # Whoever has waited longest is asked for first; what is given back goes to the first of all of them.
        some.sort(key=lambda one: (one[1].state == "-", one[1].order))
        calls.append(([id for id, _ in some], _slots_call(store, home, [one for _, one in some], limits)))
    return calls


def give_back(store: Store, holders: Iterable[SlotMessage], limits: Limits) -> None:
    """Free slots in the name of those who do not need them."""
    calls = []
    for one in holders:
        calls.append(_slots_call(store, store.keys.home(one.holder.workflow, one.holder.key), [one], limits))
    store.call_all(calls)


def grant_call(store: Store, granted: SlotGranted) -> Call:
    """A call that brings an instance its slot; it answers with 0 when that is not wanted."""
    holder = granted.holder
    instance = store.keys.instance(holder.workflow, holder.id)
    return call_one(store.keys, _GRANT, instance, {"g": holder.generation, "n": holder.n})


def _slots_call(
    store: Store, home: int, messages: Iterable[SlotMessage], limits: Limits, after: bytes | None = None
) -> Call:
    items = [one.wire() for one in messages]
    names = limits if after is not None else limits.keys() & {item["wf"] for item in items}
    told = {name: NONE if (limit := limits[name]) is None else limit.limit for name in sorted(names)}
    arguments: dict[str, Any] = {"items": items, "limits": told}
    if after is not None:
        arguments["from"] = after
    return Call(_SLOTS, [*store.keys.shard(home), *store.keys.slots(home)], arguments)


def grant(store: Store, shard: int, limits: Limits) -> None:
    """Give what is free to all who wait: a limit was raised, or is gone."""
    after = b""
    while True:
        _, after = store.call(_slots_call(store, shard, (), limits, after))
        if after is False:
            return


# Who is counted


def admitted(store: Store, shard: int, members: Sequence[bytes], limits: Limits) -> Sequence[bytes]:
    """Intents that may be handed out. An instance of a limited workflow that nobody knows to be one, because the limit
    came later or whoever created it did not know, is put under it before anybody begins with it.
    """
    if not is_used(limits):
        return members
    intents = [(member, intent) for member, intent in readable(store, shard, "intents", Intent.parse, members)]
    limited = {(one.workflow, one.id) for _, one in intents if limits.get(one.workflow) is not None}
    if not limited:
        return members
    instances = [store.keys.instance(workflow, id) for workflow, id in sorted(limited)]
    marked: set[tuple[str, str]] = set()
    for at in range(0, len(instances), BATCH):
        some = instances[at : at + BATCH]
        seen = [(instance, *found) for instance, found in zip(some, _looked_at(store, some), strict=True)]
        marked |= look_after(store, shard, seen, limits)
    return [member for member, one in intents if (one.workflow, one.id) not in marked]


def look_after(
    store: Store, shard: int, found: Iterable[tuple[Instance, bytes, bytes]], limits: Limits
) -> set[tuple[str, str]]:
    """Bring instances of one shard in line with the limits, and the shards of their slots in line with them.

    Args:
        found: each with its generation and the header's field ``slot``.
    Returns: workflow and id of those that were put under a limit.
    """
    items: dict[Instance, dict[str, Any]] = {}
    known: list[tuple[Instance, bytes, Slot]] = []
    marked = set()
    for instance, generation, text in found:
        if instance.workflow not in limits:
            continue
        limit, slot = limits[instance.workflow], _slot(text)
        if limit is None:
            if slot is not None and slot.state != "u":
                items[instance] = {"off": 1}
        elif slot is None or slot.state == "u" or slot.tag != limit.tag:
            new = new_slot(limit, _params_of(store, instance) if limit.key is not None else b"")
            items[instance] = {"tag": new.tag, "key": new.key}
            marked.add((instance.workflow, instance.id))
        elif slot.state != "-":
            known.append((instance, generation, slot))
    for instance in _unknown(store, known):
        items[instance] = {"again": 1}
    if items:
        arguments = [{"i": place, **item} for place, item in enumerate(items.values(), 1)]
        store.call(call_on(store.keys, _LIMIT, shard, list(items), {"items": arguments}))
    return marked


def _looked_at(store: Store, instances: Sequence[Instance]) -> list[tuple[bytes, bytes]]:
    """Generation and ``slot`` of each; empty where there is none, or it cannot be read."""
    by_shard: dict[int, list[Instance]] = defaultdict(list)
    for instance in dict.fromkeys(instances):
        by_shard[instance.shard].append(instance)
    calls = [
        call_on(store.keys, _LIMIT, shard, some, {"items": [{"i": place} for place in range(1, len(some) + 1)]})
        for shard, some in by_shard.items()
    ]
    found: dict[Instance, tuple[bytes, bytes]] = {}
    for some, answers in zip(by_shard.values(), store.call_all(calls), strict=True):
        found |= zip(some, map(tuple, answers), strict=True)
    return [found[instance] for instance in instances]


def _params_of(store: Store, instance: Instance) -> bytes:
    """Empty where they cannot be read."""
    try:
        return decode_start(store.entries(instance, 0, 1)[0]).params
    except (CorruptPayload, IndexError):
        return b""
    except redis.ResponseError as error:
        if not is_about_data(error):
            raise
        return b""


def _slot(text: bytes) -> Slot | None:
    try:
        return Slot.parse(text) if text else None
    except ValueError:
        return None  # the next script that loads it parks it


def _unknown(store: Store, known: Sequence[tuple[Instance, bytes, Slot]]) -> Iterator[Instance]:
    """Those that have a slot or have asked for one, and the shard of their slots does not know it."""
    commands = []
    for instance, generation, slot in known:
        slots, slotq = store.keys.slots(store.keys.home(instance.workflow, slot.key))
        who = f"{instance.id}|{generation.decode()}|{slot.n}"
        commands.append(["ZSCORE", slots, f"{instance.workflow}|{slot.key}|{who}"])
        commands.append(["ZSCORE", slotq, f"{instance.workflow}|{slot.key}|{slot.order}|{who}"])
    answers = store.commands(commands) if commands else []
    for (instance, _, slot), has, waits in zip(known, answers[::2], answers[1::2], strict=True):
        # One that asks and is given already may have to be told once more.
        if (has if slot.state == "h" else waits) is None:
            yield instance


# Who has a slot


def take_back(store: Store, shard: int, limits: Limits) -> Iterator[None]:
    """Free slots of instances that are gone or need none, page by page."""
    slots, _ = store.keys.slots(shard)
    after: bytes | None = None
    while True:
        page = store.pages(slots, {"": after}, most=BATCH)[""]
        if not page:
            return
        after = page[-1]
        holders = []
        for member in page:
            try:
                holders.append(Holder.parse(member))
            except ValueError:
                store.command("ZREM", slots, member)
        give_back(store, [SlotMessage(one, "", "-") for one in _without_need(store, holders)], limits)
        yield
        if len(page) < BATCH:
            return


def _without_need(store: Store, holders: Collection[Holder]) -> Iterator[Holder]:
    instances = [store.keys.instance(one.workflow, one.id) for one in holders]
    for holder, (generation, text) in zip(holders, _looked_at(store, instances), strict=True):
        slot = _slot(text)
        is_needed = slot is not None and slot.state in "ah" and (slot.n, slot.key) == (holder.n, holder.key)
        if not is_needed or generation != holder.generation.encode():
            yield holder
