"""Carries messages between shards: start or watch another instance, and tell its outcome (docs/protocol.md).

A message is written by the transition that causes it, delivered at least once, and removed only after the target has
answered. Every target is idempotent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workflows import limits
from workflows.storage.aside import is_about_data, set_aside
from workflows.storage.keys import checked_name, relay_parent
from workflows.storage.removal import CREATE
from workflows.storage.store import Call, Store, call_on, script, unpackb
from workflows.values import failure

_RELAY = script(Path(__file__).with_name("relay.lua"))
_CHILD_ENDED = script(Path(__file__).with_name("child_ended.lua"))
_WATCH = script(Path(__file__).with_name("watch.lua"))
_ACKNOWLEDGE = script(Path(__file__).with_name("acknowledge.lua"))

BATCH = 100


def deliver(store: Store, shard: int) -> int:
    """Deliver some of the shard's messages. Returns: how many are gone.

    One that cannot be read or delivered is set aside, and the step that waits for it fails, so that its instance does
    not wait for ever (I11). When the server refuses, messages stay for the next time.
    """
    relay = store.keys.shard_key(shard, "relay")
    messages = _some(store, relay)
    calls: dict[bytes, Call] = {}
    bad: dict[bytes, str] = {}
    for id, blob in messages.items():
        try:
            calls[id] = _call(store, unpackb(blob))
        except Exception as error:  # msgpack has no common root of what it raises
            bad[id] = f"cannot be read: {type(error).__name__}"
    done = []
    for id, answer in zip(calls, store.execute(list(calls.values())), strict=True):
        if not isinstance(answer, Exception):
            done.append(id)
        elif is_about_data(answer):
            bad[id] = f"cannot be delivered: {str(answer)[:200]}"
    if done:
        store.call(Call(_ACKNOWLEDGE, [relay], {"ids": done, "blobs": [messages[id] for id in done]}))
    if bad:
        for id, why in bad.items():
            _give_up(store, id, why)
        set_aside(store, shard, "relay", bad)
    return len(done) + len(bad)


def _some(store: Store, relay: str) -> dict[bytes, bytes]:
    """As many messages as one reply may hold: each may have a megabyte, and each is sent on and sent back once more."""
    ids, blobs = store.call(Call(_RELAY, [relay], {"n": BATCH, "bytes": limits.SCRIPT_BYTES}))
    return dict(zip(ids, blobs, strict=True))


def _give_up(store: Store, id: bytes, why: str) -> None:
    try:
        waiting = relay_parent(id)
    except ValueError:
        return
    parent = store.keys.instance(waiting.workflow, waiting.id)
    lost = failure.make("CorruptPayload", f"the message about this child {why}")
    arguments = {"g": waiting.generation, "s": waiting.seq, "wf": waiting.workflow, "id": waiting.id, "x": lost}
    answer = store.execute([call_on(store.keys, _CHILD_ENDED, parent.shard, [parent], arguments)])[0]
    if isinstance(answer, Exception) and not is_about_data(answer):
        raise answer


def _call(store: Store, message: dict[bytes, Any]) -> Call:
    operation = message[b"op"].decode()
    workflow, id = _name(message, b"wf"), _name(message, b"id")
    target = store.keys.instance(workflow, id)
    if operation == "outcome":
        arguments: dict[str, Any] = {
            "g": _name(message, b"gen"),
            "s": _number(message, b"seq"),
            "wf": _name(message, b"cwf"),
            "id": _name(message, b"cid"),
        }
        for field in ("v", "x"):
            if field.encode() in message:
                arguments[field] = _blob(message, field.encode())
        return call_on(store.keys, _CHILD_ENDED, target.shard, [target], arguments)
    parent_workflow, parent_id = _name(message, b"pwf"), _name(message, b"pid")
    parent = {
        "sh": store.keys.instance(parent_workflow, parent_id).shard,
        "wf": parent_workflow,
        "id": parent_id,
        "gen": _name(message, b"pgen"),
        "seq": _number(message, b"pseq"),
    }
    if operation == "watch":
        arguments = {
            "wf": workflow,
            "id": id,
            "parent": parent,
            "missing": failure.make("InstanceNotFound", f"there is no instance {id!r} of {workflow!r} to wait for"),
            "stopped": failure.make("InstanceTerminated", f"instance {id!r} of {workflow!r} was terminated"),
            "most": limits.WATCHERS,
            "full": failure.make(
                "InstanceError", f"{limits.WATCHERS} instances wait for {id!r} of {workflow!r} already"
            ),
        }
        return call_on(store.keys, _WATCH, target.shard, [target], arguments)
    if operation != "invoke":
        raise ValueError(operation)
    taken = failure.make(
        "InstanceAlreadyExists",
        f'(instance.already_exists) Workflow instance with id "{id}" already exists',
    )
    item = {
        "i": 1,
        "wf": workflow,
        "id": id,
        "gen": _name(message, b"gen"),
        "p": _blob(message, b"p"),
        "qu": _name(message, b"qu"),
        "ok": _number(message, b"ok"),
        "err": _number(message, b"err"),
        "parent": parent,
        "taken": taken,
    }
    return call_on(store.keys, CREATE, target.shard, [target], {"items": [item]})


def _name(message: dict[bytes, Any], field: bytes) -> str:
    return checked_name(message[field])


def _number(message: dict[bytes, Any], field: bytes) -> int:
    value = message[field]
    # Lua has floats only, and writes whole ones as integers.
    if not isinstance(value, (int, float)) or not 0 <= value < 1e15:
        raise ValueError(f"{field!r} is {value!r:.100}")
    return int(value)


def _blob(message: dict[bytes, Any], field: bytes) -> bytes:
    value = message[field]
    if not isinstance(value, bytes):
        raise TypeError(f"{field!r} is {value!r:.100}")
    return value
