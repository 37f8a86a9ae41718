"""How what there is goes away again: scripts with more than one caller, producers and the sweep among them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workflows.storage import keys
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.store import Call, Script, call_one, script

_DELETE = script(Path(__file__).with_name("delete.lua"))
_RESTART = script(Path(__file__).with_name("restart.lua"))
_UNRING = script(Path(__file__).with_name("unring.lua"))


def delete_call(keyspace: Keyspace, instance: Instance, arguments: Mapping[str, Any]) -> Call:
    """A call of ``delete.lua``."""
    return _ending(keyspace, _DELETE, instance, arguments)


def restart_call(keyspace: Keyspace, instance: Instance, arguments: Mapping[str, Any]) -> Call:
    """A call of ``restart.lua``."""
    return _ending(keyspace, _RESTART, instance, arguments)


def _ending(keyspace: Keyspace, which: Script, instance: Instance, arguments: Mapping[str, Any]) -> Call:
    """A call that may have to put open records aside."""
    token = secrets.token_hex(6)
    call = call_one(keyspace, which, instance, {**arguments, "remains": token})
    return Call(which, [*call.keys, keyspace.remains(instance, token)], call.arguments)


def unring_calls(keyspace: Keyspace, shard: int, doorbells: Iterable[tuple[str, str]]) -> list[Call]:
    """Calls that take doorbells off their queues, given as (queue, intent nonce)."""
    by_queue: dict[str, list[str]] = {}
    for queue, nonce in doorbells:
        by_queue.setdefault(queue, []).append(f"{shard:02d}-{nonce}")
    return [
        Call(
            _UNRING,
            [keys.rq_queue(keyspace.queue(queue)), *(keys.rq_job_prefix() + id for id in ids)],
            {"ids": ids},
        )
        for queue, ids in by_queue.items()
    ]
