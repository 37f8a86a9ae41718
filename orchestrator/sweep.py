"""Finds lost work and applies retention.

The sweep visits every live instance of a shard and rebuilds what can be derived (M8). It runs when a shard comes into
hand, after every reconnect, and slowly all the time; on a healthy shard it finds nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator import slots
from workflows.storage.aside import call_apart, readable
from workflows.storage.batches import numbered
from workflows.storage.concurrency import NO_LIMITS, Limits
from workflows.storage.keys import TAGS, Instance, Retiring, index_line
from workflows.storage.removal import delete_call, unring_calls
from workflows.storage.status import LIVE
from workflows.storage.store import Call, Store, call_on, script
from workflows.values import failure

_SWEEP = script(Path(__file__).with_name("sweep.lua"))
_log = logging.getLogger("workflows.orchestrator")
BATCH = 50
# Keys of the whole server looked at in one go, where a shard's instances are found without its index.
SCANNED = 1_000


def live_instances(store: Store, shard: int) -> Iterator[list[tuple[bytes, Instance]]]:
    """The shard's live instances, in pages, each with its line of the index; and all that are found by tags, with each
    line for one.
    """
    index = store.keys.shard_key(shard, "index")
    beginnings: dict[str, bytes | None] = {**{f"{status}|": None for status in LIVE}, TAGS.decode(): None}
    while beginnings:
        pages = store.pages(index, beginnings, most=BATCH)
        for page in filter(None, pages.values()):
            found = readable(store, shard, "index", index_line, page)
            yield [(member, store.keys.instance(line.workflow, line.id)) for member, line in found]
        beginnings = {prefix: page[-1] for prefix, page in pages.items() if len(page) == BATCH}


def all_instances(store: Store, shard: int) -> Iterator[list[tuple[bytes, Instance]]]:
    """Those that have a header, in pages, whatever the index says; without a line of it."""
    pattern = store.keys.headers_of(shard)
    cursor = 0
    while True:
        cursor, found = store.command("SCAN", cursor, "MATCH", pattern, "COUNT", SCANNED)
        named = [store.keys.instance_of_header(key) for key in found]
        place = [(b"", instance) for instance in named if instance is not None and instance.shard == shard]
        for at in range(0, len(place), BATCH):
            yield place[at : at + BATCH]
        if not place:
            yield []
        if int(cursor) == 0:
            return


@dataclass(frozen=True, slots=True)
class _Visit:
    """An instance of a page, and where among its open records the look at it goes on."""

    workflow: str
    id: str
    cursor: str = "0"


def pages(store: Store, shard: int, limits: Limits | None = NO_LIMITS, *, everything: bool = False) -> Iterator[int]:
    """Repair a shard, page by page. Gives for each call in how many instances something was missing.

    Args:
        limits: those in force; None: not known yet, and slots are left alone.
        everything: one of the shard's keys was lost: look at every header there is.
    """

    def call(page: Sequence[tuple[bytes, _Visit]]) -> Call:
        instances, places = numbered(store.keys.instance(one.workflow, one.id) for _, one in page)
        items: list[dict[str, Any]] = []
        for place, (member, one) in zip(places, page, strict=True):
            items.append({"i": place, "c": one.cursor} | ({"m": member} if member else {}))
            if member.startswith(TAGS):
                items[-1]["tagged"] = True
        arguments: dict[str, Any] = {"items": items}
        if everything:
            arguments["all"] = True
        return call_on(store.keys, _SWEEP, shard, instances, arguments)

    for page in (all_instances if everything else live_instances)(store, shard):
        waiting = [(member, _Visit(instance.workflow, instance.id)) for member, instance in page]
        while waiting:
            repaired, left = 0, []
            limited: list[tuple[Instance, bytes, bytes]] = []
            # One that makes the script fail leaves the index, and is noted there.
            for looked, answers in call_apart(store, shard, "index", waiting, call):
                for (member, one), (fixed, cursor, *slot) in zip(looked, answers, strict=True):
                    repaired += fixed
                    if slot or (limits and limits.get(one.workflow) is not None):
                        generation, text = slot or (b"", b"")
                        limited.append((store.keys.instance(one.workflow, one.id), generation, text))
                    if cursor:
                        left.append((member, replace(one, cursor=cursor.decode())))
            if repaired:
                _log.warning("repaired", extra={"shard": shard, "instances": repaired})
            if limited and limits is not None:
                slots.look_after(store, shard, limited, limits)
            waiting = left
            yield repaired
        if not page:
            yield 0
    if limits is not None and slots.is_used(limits):
        yield from (0 for _ in slots.take_back(store, shard, limits))
        slots.grant(store, shard, limits)


def _same(call: Call, _: object) -> Call:
    return call


def retire(store: Store, shard: int, members: Sequence[bytes]) -> int:
    """Delete instances whose retention is over (F55, F56). Returns: how many are gone."""
    gone = 0
    for member, retiring in readable(store, shard, "retire", Retiring.parse, members):
        workflow, id, generation = retiring
        arguments = {
            "gen": generation,
            "retire": member,
            "x": failure.make("InstanceNotFound", f"instance {id!r} of {workflow!r} is gone"),
        }
        delete = delete_call(store.keys, store.keys.instance(workflow, id), arguments)
        answers = call_apart(store, shard, "retire", [(member, retiring)], partial(_same, delete))
        if answers and answers[0][1][0] == b"deleted":
            store.execute(unring_calls(store.keys, shard, ((q.decode(), n.decode()) for q, n in answers[0][1][1:])))
            gone += 1
    return gone
