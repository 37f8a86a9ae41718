"""Where what cannot be read is put: out of the way, and with the reason, so that a person finds it (I11).

Anybody who reaches Redis can write anything anywhere. Scripts set aside what they meet themselves (``aside.lua``); this
is for what the processes read. Each shard keeps the newest thousand notes for thirty days; ``workflows doctor`` counts
and shows them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import redis

from workflows.storage.keys import SHARD_KEY_NAMES, Keyspace
from workflows.storage.outage import unavailable
from workflows.storage.store import Call, Store, call_on, script, unpackb

_SET_ASIDE = script(Path(__file__).with_name("set_aside.lua"))
_log = logging.getLogger("workflows.aside")


class Named(Protocol):
    """A member that names an instance."""

    @property
    def workflow(self) -> str: ...

    @property
    def id(self) -> str: ...


Member = TypeVar("Member", bound=Named)

BATCH: Final = 100
# What concerns no shard is noted in this one.
NAMESPACE_SHARD: Final = 0


@dataclass(frozen=True, slots=True)
class Note:
    """Something that could not be read.

    Attributes:
        key: where it stood; member: which part of it, shortened and escaped, '' for all of it.
        why: what was wrong with it.
        at_ms: when it was found, the last time.
    """

    key: str
    member: str
    why: str
    at_ms: int

    def __str__(self) -> str:
        return f"{self.key}{self.member and ' '}{self.member}: {self.why}"


def set_aside(store: Store, shard: int, name: str, members: Mapping[bytes, str]) -> None:
    """Take members (fields) out of one of a shard's keys, given with what is wrong with each."""
    place = SHARD_KEY_NAMES.index(name) + 1
    items = [{"k": place, "m": member, "why": why} for member, why in members.items()]
    for at in range(0, len(items), BATCH):
        arguments = {"items": items[at : at + BATCH], "notes": []}
        store.call(call_on(store.keys, _SET_ASIDE, shard, [], arguments))
        why = items[at]["why"]
        _log.error("set aside", extra={"key": store.keys.shard_key(shard, name), "count": len(items), "reason": why})


def readable(
    store: Store, shard: int, name: str, parse: Callable[[bytes], Member], members: Iterable[bytes]
) -> list[tuple[bytes, Member]]:
    """Members of one of a shard's keys as they are and as they read; what is none is set aside."""
    found, bad = [], {}
    for member in members:
        try:
            parsed = parse(member)
        except ValueError as error:
            bad[member] = str(error).partition(":")[0]
            continue
        # Called with another shard's keys, the scripts would write into the wrong places.
        if store.keys.instance(parsed.workflow, parsed.id).shard == shard:
            found.append((member, parsed))
        else:
            bad[member] = "belongs to another shard"
    if bad:
        set_aside(store, shard, name, bad)
    return found


def call_apart(
    store: Store,
    shard: int,
    name: str,
    found: Sequence[tuple[bytes, Member]],
    call: Callable[[Sequence[tuple[bytes, Member]]], Call],
) -> list[tuple[Sequence[tuple[bytes, Member]], Any]]:
    """Call a script with members of one of a shard's keys. If it fails because of one of them, that one is found and
    set aside, and the others have their turn (I11).

    Returns: the answers, each with the members that it is about.
    """
    if not found:
        return []
    try:
        return [(found, store.call(call(found)))]
    except redis.ResponseError as error:
        if not is_about_data(error):
            raise
        if len(found) == 1:
            set_aside(store, shard, name, {found[0][0]: f"fails: {str(error)[:200]}"})
            return []
    half = len(found) // 2
    return [*call_apart(store, shard, name, found[:half], call), *call_apart(store, shard, name, found[half:], call)]


def note(store: Store, key: str, why: str, member: bytes = b"") -> None:
    """Say of something outside the shards that it could not be read; it has been removed, or is passed over."""
    found = {"items": [], "notes": [[key, member, why]]}
    if store.call(call_on(store.keys, _SET_ASIDE, NAMESPACE_SHARD, [], found)):
        _log.error("set aside", extra={"key": key, "reason": why})


def displace(store: Store, types: Mapping[str, str]) -> list[str]:
    """Remove those of these keys that are of another type than they should be.

    Args:
        types: key -> ``hash``, ``zset``, ``list``, ``set`` or ``stream``.
    Returns: what was removed.
    """
    found = store.commands([["TYPE", key] for key in types])
    wrong = []
    for (key, wanted), answer in zip(types.items(), found, strict=True):
        kind = answer.decode() if isinstance(answer, bytes) else str(answer)
        if kind not in ("none", wanted):
            store.command("UNLINK", key)
            note(store, key, f"was a {kind} and has been removed")
            wrong.append(key)
    return wrong


def _namespace_types(keys: Keyspace) -> dict[str, str]:
    return {
        keys.meta: "hash",
        keys.manifest: "hash",
        keys.versions: "hash",
        keys.processes: "hash",
        keys.schedules: "hash",
        keys.limits: "hash",
        keys.orchestrators: "zset",
        keys.inbox: "stream",
        keys.inbox_refused: "stream",
    }


def types(keys: Keyspace) -> dict[str, str]:
    """Of which type the keys of the namespace and its shards are, those of instances left out."""
    odd = {"wake": "list", "relay": "hash", "owner": "hash"}
    shards = {
        keys.shard_key(shard, name): odd.get(name, "zset") for shard in range(keys.shards) for name in SHARD_KEY_NAMES
    }
    others = {key: "zset" for shard in range(keys.shards) for key in (*keys.slots(shard), keys.keyed(shard))}
    return {**_namespace_types(keys), **shards, **others}


def check_namespace(store: Store) -> None:
    """Put right what stands in the keys of the whole namespace, as far as a process at work knows it."""
    keys = store.keys
    asides = {keys.shard_key(shard, "aside"): "zset" for shard in range(keys.shards)}
    keyed = {keys.keyed(shard): shard for shard in range(keys.shards)}
    for key in displace(store, {**_namespace_types(keys), **asides, **dict.fromkeys(keyed, "zset")}):
        if key in keyed:
            # As `aside.lua` does: it is derived anew from the waits.
            store.command("HSET", keys.shard_key(keyed[key], "owner"), "mend", store.clock.now_ms())
    _straighten(store, [*keyed, *(key for shard in range(keys.shards) for key in keys.slots(shard))])
    (shards,) = store.command("HMGET", keys.meta, "shards")
    if shards == str(keys.shards).encode():
        return
    if shards is not None and shards.isdigit() and len(shards) < 6:
        note(store, keys.meta, f"says that there are {shown(shards)} shards; those at work know of {keys.shards}")
        return
    # Without the number nobody could come in, and with another one instances would be looked for in the wrong place.
    store.command("HSET", keys.meta, "shards", keys.shards)
    if shards is not None:
        note(store, keys.meta, f"said that there are {shown(shards, 40)} shards and has been corrected", b"shards")


def _straighten(store: Store, places: Sequence[str]) -> None:
    """Reading by prefix depends on equal scores: one member with another score may hide all others. What each look of
    an orchestrator reads is put right by that look (``dispatch.lua``)."""
    ranges = [(key, *ends) for key in places for ends in (("-inf", "(0"), ("(0", "+inf"))]
    answers = store.answers([["ZRANGEBYSCORE", *one, "LIMIT", 0, 100] for one in ranges])
    for (key, *_), found in zip(ranges, answers, strict=True):
        for member in found if isinstance(found, list) else ():  # of another type, whoever meets it removes it
            store.command("ZADD", key, "XX", 0, member)
            note(store, key, "was out of order and has been put in its place", member)


def is_about_data(error: Exception) -> bool:
    """Whether a call failed because of what it met, so that it would fail again, and others would not."""
    if not isinstance(error, redis.ResponseError) or unavailable(error) is not None:
        return False
    return "WRONGTYPE" in str(error) or "user_script" in str(error)


def notes(store: Store, shard: int, most: int) -> tuple[int, Sequence[Note]]:
    """How many notes a shard has, and its newest ones."""
    key = store.keys.shard_key(shard, "aside")
    try:
        count, found = store.commands([["ZCARD", key], ["ZRANGE", key, 0, most - 1, "REV", "WITHSCORES"]])
    except redis.ResponseError:
        return 1, [Note(key, "", "is of another type: delete it", 0)]
    return int(count), [_note(entry, score) for entry, score in _pairs(found)]


def _pairs(found: Iterable[Any]) -> Iterable[tuple[bytes, float]]:
    found = list(found)
    if found and not isinstance(found[0], (bytes, str)):
        return [(entry, float(score)) for entry, score in found]
    return [(entry, float(score)) for entry, score in zip(found[::2], found[1::2], strict=True)]


def _note(entry: bytes, score: float) -> Note:
    at_ms = int(score) if abs(score) < 1e15 else 0
    try:
        key, member, why = (shown(part) for part in unpackb(entry))
    except Exception:  # whatever msgpack raises: this place, too, is one that anybody can write to
        return Note("", shown(entry), "a note that cannot be read", at_ms)
    return Note(key, member, why, at_ms)


def shown(data: bytes, most: int = 240) -> str:
    """Bytes of unknown origin as a line of text that no terminal takes for a command."""
    text = data.decode(errors="backslashreplace")
    plain = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return plain if len(plain) <= most else plain[:most] + "…"
