"""Has anything moved? For those who look again and again, and read the whole only when the answer differs.

A look costs one call of a script per shard, or one for an instance, and none of them reads values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from workflows import limits
from workflows.client.requests import READ, check_known
from workflows.storage.keys import Instance
from workflows.storage.outage import server_errors
from workflows.storage.status import Status
from workflows.storage.store import Store, call_on, call_one, packb, script

INSTANCES, QUEUES, PROCESSES = "instances", "queues", "processes"
"""Of what a look at a namespace tells apart whether it has moved."""

_GLANCE = script(Path(__file__).with_name("glance.lua"))
_NEWEST: Final = 100
_LATE_MS: Final = 10_000
_FIELDS: Final = (
    *("st", "gen", "want", "turn", "pos", "strikes", "declined", "reason", "started", "ended", "paused_at", "slot"),
    "rb",
)
_BEHIND_ALL: Final = 10**9
_MAIL_TYPES: Final = 20
# While somebody else has to act, what there is to say changes with time alone.
_BEAT_MS: Final = 15_000


def glance(store: Store, *, workflow: str | None = None, statuses: Iterable[str] = tuple(Status)) -> dict[str, str]:
    """A look at a namespace, or at the instances of a workflow: texts, of which one differs when that has moved.

    What moves and moves back between two looks is not seen; nor is it where as many of two workflows change places.

    Raises: ServerUnavailable.
    """
    arguments: dict[str, Any] = {"statuses": [str(one) for one in statuses], "newest": _NEWEST, "late": _LATE_MS}
    if workflow is not None:
        arguments["workflow"] = workflow
    keys = store.keys
    calls = [call_on(keys, _GLANCE, shard, [], arguments) for shard in range(keys.shards)]
    with server_errors(store.redis):
        answers = store.call_all(calls)
    aspects = (INSTANCES,) if workflow is not None else (INSTANCES, QUEUES, PROCESSES)
    return {name: _digest([answer[at] for answer in answers]) for at, name in enumerate(aspects)}


def glance_at(store: Store, instance: Instance) -> dict[str, str]:
    """A look at one instance. Where it waits for a worker, it differs now and then all the same.

    Raises: InstanceNotFound, InstanceError, ServerUnavailable.
    """
    arguments = {
        "fields": _FIELDS,
        "from": _BEHIND_ALL,
        "page": 0,
        "bytes": limits.SLICE_BYTES,
        "cursor": "0",
        "mail": _MAIL_TYPES,
    }
    arguments |= {"records": limits.SCRIPT_ELEMENTS}
    with server_errors(store.redis):
        answer = store.call(call_one(store.keys, READ, instance, arguments))
    check_known(instance, answer)
    now, values, length, _, records, starting, _, mail = answer
    is_waited_for = values[0] in (Status.QUEUED.encode(), Status.RUNNING.encode())
    beat = int(now) // _BEAT_MS if is_waited_for else 0
    return {INSTANCES: _digest([values, length, sorted(records), sorted(starting), mail, beat])}


def _digest(seen: object) -> str:
    return hashlib.sha1(packb(seen), usedforsecurity=False).hexdigest()
