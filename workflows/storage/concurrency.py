"""Which limits on running instances are in force: what apps declare, and what a person has set instead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from workflows.errors import ConfigError
from workflows.storage.manifest import Manifest, read_manifest
from workflows.storage.store import Call, Store, script
from workflows.values.concurrency import Concurrency

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


def in_force(store: Store) -> InForce:
    """Read it, in one round trip."""
    published, kept = store.commands([["HGETALL", store.keys.manifest], ["HGETALL", store.keys.limits]])
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


def set_limit(store: Store, workflow: str, limit: int, key: str | None = None) -> None:
    """Limit a workflow, whatever its app says; orchestrators see it within a second.

    Args:
        key: see ``Concurrency``; None: the one that the app declares, if it does.
    Raises: ConfigError.
    """
    told: dict[str, Any] = Concurrency(limit, key).as_dict()
    store.call(Call(_SET_LIMIT, [store.keys.limits], {"wf": workflow, "json": json.dumps(told)}))


def clear_limit(store: Store, workflow: str) -> bool:
    """Let count again what the app declares. Returns: whether anything was set."""
    return bool(store.call(Call(_SET_LIMIT, [store.keys.limits], {"wf": workflow})))
