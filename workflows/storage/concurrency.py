"""Which limits on running instances are in force: what apps declare, and what a person has set instead."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from workflows.errors import ConfigError
from workflows.storage.manifest import Manifest, read_manifest
from workflows.storage.store import Call, Store, script
from workflows.values.concurrency import Concurrency, shown_key

_SET_LIMIT = script(Path(__file__).with_name("set_limit.lua"))

Limits = Mapping[str, Concurrency | None]
"""By workflow, None for one that has no limit. Of one that is not there nobody knows: it was not published yet."""
NO_LIMITS: Final[Limits] = {}


@dataclass(frozen=True, slots=True)
class InForce:
    """What is in force now.

    Attributes:
        limits: by workflow.
        set: those of them that a person has set.
        whole: whether all manifests could be read. Otherwise a limit that is missing may be among the others.
    """

    limits: Limits
    set: frozenset[str]
    whole: bool = True


Stored = Sequence[Mapping[bytes, bytes]]
"""Manifests by app, and what a person has set by workflow, as they are stored."""


def stored(store: Store) -> Stored:
    """Read what follows from it, in one round trip."""
    found: Stored = store.commands([["HGETALL", store.keys.manifest], ["HGETALL", store.keys.limits]])
    return found


def in_force(store: Store) -> InForce:
    """Read what is in force now."""
    published, kept = stored(store)
    return combined(read_manifest(published), kept)


def combined(manifest: Manifest, kept: Mapping[bytes, bytes]) -> InForce:
    """What a person has set counts in place of what the app declares; without a key of its own, by the app's."""
    found: dict[str, Concurrency | None] = {name: known.concurrency for name, known in manifest.workflows.items()}
    by_hand = set()
    for member, text in kept.items():
        name = member.decode(errors="backslashreplace")
        try:
            told = json.loads(text)
            declared = found.get(name)
            found[name] = Concurrency(told["limit"], told.get("key", None if declared is None else declared.key))
        except (ValueError, KeyError, TypeError, RecursionError, ConfigError):
            continue
        by_hand.add(name)
    return InForce(found, frozenset(by_hand), not manifest.unreadable)


def set_limit(store: Store, workflow: str, limit: Concurrency) -> None:
    """Limit a workflow, whatever its app says; orchestrators see it within a second. Without a key, those instances
    count together that do so by what the app declares.
    """
    store.call(Call(_SET_LIMIT, [store.keys.limits], {"wf": workflow, "json": json.dumps(limit.as_dict())}))


def clear_limit(store: Store, workflow: str) -> bool:
    """Let count again what the app declares. Returns: whether anything was set."""
    return bool(store.call(Call(_SET_LIMIT, [store.keys.limits], {"wf": workflow})))


@dataclass(frozen=True, slots=True)
class Taken:
    """How full a limit is.

    Attributes:
        key: for which value of the key; None: for all together, or for those without the key.
        running: how many have a slot.
        queued: how many wait for one.
    """

    key: str | None
    running: int
    queued: int


def taken(store: Store, workflow: str, most: int) -> list[Taken]:
    """How full the limit of a workflow is, for each key of which some instance runs or waits, up to so many."""
    found: list[Taken] = []
    for shard in range(store.keys.shards):
        after = f"[{workflow}|"
        while len(found) < most:
            end = f"({workflow}}}"  # the character behind the bar
            heads = store.commands([["ZRANGEBYLEX", key, after, end, "LIMIT", 0, 1] for key in store.keys.slots(shard)])
            members = [head[0].decode(errors="replace") for head in heads if head]
            if not members:
                break
            group = "|".join(min(members).split("|")[:2])
            running, queued = store.commands(
                [["ZLEXCOUNT", key, f"[{group}|", f"({group}}}"] for key in store.keys.slots(shard)]
            )
            found.append(Taken(shown_key(group.partition("|")[2]), running, queued))
            after = f"[{group}}}"
    return found
