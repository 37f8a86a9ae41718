"""Carries messages between shards: start or watch another instance, and tell its outcome; ask for slots and give them
(docs/protocol.md).

A message is written by the transition that causes it, delivered at least once, and removed only after the target has
answered. Every target is idempotent.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator import slots
from workflows import limits as bounds
from workflows.errors import CorruptPayload
from workflows.storage.aside import is_about_data, set_aside
from workflows.storage.concurrency import NO_LIMITS, Limits
from workflows.storage.intake import create_call
from workflows.storage.keys import relay_parent
from workflows.storage.messages import (
    ChildOutcome,
    InvokeChild,
    SlotGranted,
    SlotMessage,
    StopChild,
    WatchChild,
    message,
)
from workflows.storage.store import Call, Store, call_on, call_one, script
from workflows.values import failure

_RELAY = script(Path(__file__).with_name("relay.lua"))
_CHILD_ENDED = script(Path(__file__).with_name("child_ended.lua"))
_WATCH = script(Path(__file__).with_name("watch.lua"))
_END_CHILD = script(Path(__file__).with_name("end_child.lua"))
_ACKNOWLEDGE = script(Path(__file__).with_name("acknowledge.lua"))

BATCH = 100


def deliver(store: Store, shard: int, limits: Limits | None = NO_LIMITS) -> int:
    """Deliver some of the shard's messages. Returns: how many are gone.

    One that cannot be read or delivered is set aside, and the step that waits for it fails, so that its instance does
    not wait for ever (I11). When the server refuses, messages stay for the next time.

    Args:
        limits: those in force; None: not known yet, and what is about slots stays for the next time.
    """
    relay = store.keys.shard_key(shard, "relay")
    messages = _some(store, relay)
    calls: list[tuple[list[bytes], Call]] = []
    said: dict[bytes, SlotMessage] = {}
    granted: dict[bytes, SlotGranted] = {}
    parted: dict[bytes, InvokeChild] = {}
    bad: dict[bytes, str] = {}
    for id, blob in messages.items():
        try:
            sent = message(blob)
        except CorruptPayload as error:
            bad[id] = f"cannot be read: {str(error)[:200]}"
            continue
        match sent:
            case SlotMessage():
                said[id] = sent
            case SlotGranted():
                granted[id] = sent
                calls.append(([id], slots.grant_call(store, sent)))
            case _:
                if isinstance(sent, InvokeChild) and sent.stop:
                    parted[id] = sent
                calls.append(([id], _call(store, sent)))
    if limits is not None:
        calls += slots.told(store, said, limits)
    done, refused, created = [], [], []
    for (ids, _), answer in zip(calls, store.execute([call for _, call in calls]), strict=True):
        if isinstance(answer, Exception):
            if is_about_data(answer):
                bad |= dict.fromkeys(ids, f"cannot be delivered: {str(answer)[:200]}")
        elif ids[0] in said:
            done += ids[: answer[0]]
        elif ids[0] in granted and not answer:
            refused.append(ids[0])
        elif ids[0] in parted:
            created.append(ids[0])
        else:
            done += ids
    # Only now, for it is there by now, whoever created it.
    ended = store.execute([_stop(store, StopChild.after(parted[id])) for id in created])
    for id, answer in zip(created, ended, strict=True):
        if not isinstance(answer, Exception):
            done.append(id)
        elif is_about_data(answer):
            bad[id] = f"cannot be delivered: {str(answer)[:200]}"
    if refused and limits is not None:
        slots.give_back(store, [granted[id].refused() for id in refused], limits)
        done += refused
    if done:
        store.call(Call(_ACKNOWLEDGE, [relay], {"ids": done, "blobs": [messages[id] for id in done]}))
    if bad:
        for id, why in bad.items():
            _give_up(store, id, why)
        set_aside(store, shard, "relay", bad)
    return len(done) + len(bad)


def _some(store: Store, relay: str) -> dict[bytes, bytes]:
    """As many messages as one reply may hold: each may have a megabyte, and each is sent on and sent back once more."""
    ids, blobs = store.call(Call(_RELAY, [relay], {"n": BATCH, "bytes": bounds.SCRIPT_BYTES}))
    return dict(zip(ids, blobs, strict=True))


def _give_up(store: Store, id: bytes, why: str) -> None:
    try:
        waiting = relay_parent(id)
    except ValueError:
        return
    if waiting is None:
        return  # the sweep asks once more
    parent = store.keys.instance(waiting.workflow, waiting.id)
    lost = failure.make("CorruptPayload", f"the message about this child {why}")
    arguments = {"g": waiting.generation, "s": waiting.seq, "wf": waiting.workflow, "id": waiting.id, "x": lost}
    answer = store.execute([call_on(store.keys, _CHILD_ENDED, parent.shard, [parent], arguments)])[0]
    if isinstance(answer, Exception) and not is_about_data(answer):
        raise answer


def _call(store: Store, sent: InvokeChild | StopChild | WatchChild | ChildOutcome) -> Call:
    match sent:
        case StopChild():
            return _stop(store, sent)
        case ChildOutcome():
            return _outcome(store, sent)
        case WatchChild():
            return _watch(store, sent)
        case InvokeChild():
            item = sent.item
            taken = failure.make(
                "InstanceAlreadyExists",
                f'(instance.already_exists) Workflow instance with id "{item.id}" already exists',
            )
            return create_call(store.keys, replace(item, parent=sent.parent, taken=taken))


def _outcome(store: Store, sent: ChildOutcome) -> Call:
    target = store.keys.instance(sent.parent.workflow, sent.parent.id)
    arguments: dict[str, Any] = {"g": sent.parent.generation, "s": sent.parent.seq, "wf": sent.workflow, "id": sent.id}
    if sent.value is not None:
        arguments["v"] = sent.value
    if sent.error is not None:
        arguments["x"] = sent.error
    return call_one(store.keys, _CHILD_ENDED, target, arguments)


def _stop(store: Store, sent: StopChild) -> Call:
    parent, workflow, id = sent.parent, sent.workflow, sent.id
    arguments = {
        "parent": parent.wire(),
        "how": sent.stop,
        "why": f'instance "{parent.id}" of workflow "{parent.workflow}", which started it, waits for it no more',
        "ms": bounds.CANCEL_GRACE_MS,
        "x": failure.make("InstanceTerminated", f'instance "{id}" of workflow "{workflow}" was terminated'),
    }
    return call_one(store.keys, _END_CHILD, store.keys.instance(workflow, id), arguments)


def _watch(store: Store, sent: WatchChild) -> Call:
    workflow, id = sent.workflow, sent.id
    assert sent.parent is not None
    arguments = {
        "wf": workflow,
        "id": id,
        "parent": sent.parent.wire(),
        "missing": failure.make("InstanceNotFound", f"there is no instance {id!r} of {workflow!r} to wait for"),
        "stopped": failure.make("InstanceTerminated", f"instance {id!r} of {workflow!r} was terminated"),
        "unreadable": failure.make("CorruptPayload", f"how instance {id!r} of {workflow!r} ended cannot be read"),
        "most": bounds.WATCHERS,
        "full": failure.make("InstanceError", f"{bounds.WATCHERS} instances wait for {id!r} of {workflow!r} already"),
    }
    return call_one(store.keys, _WATCH, store.keys.instance(workflow, id), arguments)
