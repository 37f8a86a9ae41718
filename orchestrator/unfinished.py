"""Goes on with what was too much for one call of a script, a slice each time (I12).

A call that finds more than its share does a part and writes down how far it has come; its instance then stands among
the unfinished of its shard. The same goes for the open records of a life that was restarted or deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from workflows.storage import aside
from workflows.storage.keys import Unfinished
from workflows.storage.removal import unring_calls
from workflows.storage.store import Call, Store, call_one, script
from workflows.values import failure

_CONTINUE = script(Path(__file__).with_name("continue.lua"))
_CLEAN = script(Path(__file__).with_name("clean.lua"))

BATCH = 10
"""Slices that one look at a shard goes on with."""


def go_on(store: Store, shard: int, members: Sequence[bytes]) -> None:
    """One slice of each, in one round trip. What cannot be gone on with is set aside."""
    found = aside.readable(store, shard, "unfinished", Unfinished.parse, members)
    bad: dict[bytes, str] = {}
    bells: list[tuple[str, str]] = []
    answers = store.execute([_call(store, shard, member, one) for member, one in found])
    for (member, one), answer in zip(found, answers, strict=True):
        if isinstance(answer, Exception):
            if not aside.is_about_data(answer):
                raise answer
            bad[member] = str(answer)
        elif one.kind == "x":
            bells += [(queue.decode(), nonce.decode()) for queue, nonce in answer]
    aside.set_aside(store, shard, "unfinished", bad)
    store.execute(unring_calls(store.keys, shard, bells))


def _call(store: Store, shard: int, member: bytes, one: Unfinished) -> Call:
    instance = store.keys.instance(one.workflow, one.id)
    if one.kind == "i":
        who = f"instance {one.id!r} of {one.workflow!r}"
        arguments = {
            "m": member,
            "g": one.generation,
            "stopped": failure.make("InstanceTerminated", f"{who} was terminated"),
            "unreadable": failure.make("CorruptPayload", f"how {who} ended cannot be read"),
        }
        return call_one(store.keys, _CONTINUE, instance, arguments)
    declared = [*store.keys.shard(shard), store.keys.remains(instance, one.token)]
    return Call(_CLEAN, declared, {"m": member, "wf": one.workflow, "id": one.id, "g": one.generation})
