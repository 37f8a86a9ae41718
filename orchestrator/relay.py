"""Carries messages between shards: start or watch another instance, and tell its outcome (protocol: across shards).

A message is written by the transition that causes it, delivered at least once, and removed only after the target has
answered. Every target is idempotent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workflows import failure
from workflows.scripts import CREATE
from workflows.store import Call, Store, call_on, script, unpackb

_CHILD_ENDED = script(Path(__file__).with_name("child_ended.lua"))
_WATCH = script(Path(__file__).with_name("watch.lua"))
_ACKNOWLEDGE = script(Path(__file__).with_name("acknowledge.lua"), pump=False)


def deliver(store: Store, shard: int) -> int:
    """Deliver the shard's messages. Returns: how many."""
    relay = store.keys.shard_key(shard, "relay")
    messages = store.fields(relay)
    if not messages:
        return 0
    ids = list(messages)
    calls = [_call(store, unpackb(messages[id])) for id in ids]
    done = [id for id, answer in zip(ids, store.execute(calls), strict=True) if not isinstance(answer, Exception)]
    store.call(Call(_ACKNOWLEDGE, [relay], {"ids": done, "blobs": [messages[id] for id in done]}))
    return len(done)


def _call(store: Store, message: dict[bytes, Any]) -> Call:
    operation = message[b"op"].decode()
    workflow, id = message[b"wf"].decode(), message[b"id"].decode()
    target = store.keys.instance(workflow, id)
    if operation == "outcome":
        arguments: dict[str, Any] = {
            "g": message[b"gen"],
            "s": message[b"seq"],
            "wf": message[b"cwf"],
            "id": message[b"cid"],
        }
        for field in ("v", "x"):
            if field.encode() in message:
                arguments[field] = message[field.encode()]
        return call_on(store.keys, _CHILD_ENDED, target.shard, [target], arguments)
    parent_workflow, parent_id = message[b"pwf"].decode(), message[b"pid"].decode()
    parent = {
        "sh": store.keys.instance(parent_workflow, parent_id).shard,
        "wf": parent_workflow,
        "id": parent_id,
        "gen": message[b"pgen"],
        "seq": message[b"pseq"],
    }
    if operation == "watch":
        arguments = {
            "wf": workflow,
            "id": id,
            "parent": parent,
            "missing": failure.make("InstanceNotFound", f"there is no instance {id!r} of {workflow!r} to wait for"),
            "stopped": failure.make("InstanceTerminated", f"instance {id!r} of {workflow!r} was terminated"),
        }
        return call_on(store.keys, _WATCH, target.shard, [target], arguments)
    taken = failure.make(
        "InstanceAlreadyExists",
        f'(instance.already_exists) Workflow instance with id "{id}" already exists',
    )
    item = {
        "i": 1,
        "wf": workflow,
        "id": id,
        "gen": message[b"gen"],
        "p": message[b"p"],
        "qu": message[b"qu"],
        "ok": message[b"ok"],
        "err": message[b"err"],
        "parent": parent,
        "taken": taken,
    }
    return call_on(store.keys, CREATE, target.shard, [target], {"items": [item]})
