"""A worker and a clock by hand: drives the scripts one call at a time, without any process."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import redis as redis_py

from workflows.clock import Clock
from workflows.replay.decision import events_among, told_by_record
from workflows.storage import journal
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.records import Asked, Decision, End, Settlement, Value, open_record
from workflows.storage.store import Store, call_on, call_one, open_keyspace, script, unpackb
from workflows.values import codec, failure

_WORKER = Path(__file__).parents[1] / "worker"
_ORCHESTRATOR = Path(__file__).parents[1] / "orchestrator"
CLAIM = script(_WORKER / "claim.lua")
COMMIT = script(_WORKER / "commit.lua")
BEAT = script(_WORKER / "beat.lua")
SETTLE = script(_WORKER / "settle.lua")
RELEASE = script(_WORKER / "release.lua")
RENEW = script(_WORKER / "renew.lua")
FIRE = script(_ORCHESTRATOR / "fire.lua")
# What the answer to a claim may hold.
PAGE = {"page": 1_000, "turn": 100_000, "bytes": 10**6}


class HandClock:
    """A clock that moves when told to."""

    def __init__(self, ms: int = 1_800_000_000_000) -> None:
        self.ms = ms

    def argument(self) -> str:
        return str(self.ms)

    def now_ms(self) -> int:
        return self.ms

    def observe(self, server_ms: int) -> None:
        pass


class PublishedApp:
    """An app as far as publishing is concerned."""

    name = "shop"

    def manifest(self) -> dict[str, Any]:
        workflow = {"queue": "default", "retention": {"success_ms": 1_000, "error_ms": 2_000}, "schedules": []}
        return {"code": "v1", "queues": ["default"], "workflows": {"order": workflow}}


def published(first: int = 1, **values: Any) -> dict[str, Value]:
    """Values as a decision has them, in this order; the first is so many-th that is published."""
    encoded = [(name, codec.encode(value, what="a value")) for name, value in values.items()]
    return {name: Value(n, 1_790_000_000_000 + n, blob) for n, (name, blob) in enumerate(encoded, first)}


class HandWorker:
    """Claims, decides and settles what a test tells it to."""

    def __init__(self, store: Store, name: str = "hand") -> None:
        self.store = store
        self.keys = store.keys
        self.name = name
        for shard in range(self.keys.shards):
            arguments = {"w": name, "ttl": 600_000, "born": 1, "held": []}
            store.call(call_on(self.keys, RENEW, shard, [], arguments))

    def header(self, instance: Instance, field: str) -> str:
        value = self.store.redis.hget(self.keys.header(instance), field)
        return value.decode() if isinstance(value, bytes) else ""

    def intents(self, instance: Instance) -> list[str]:
        members = self.store.redis.zrange(self.keys.shard_key(instance.shard, "intents"), 0, -1)
        return [m.decode() for m in members if f"|{instance.workflow}|{instance.id}|" in m.decode()]

    def record(self, instance: Instance, seq: int) -> Any:
        blob = self.store.redis.hget(self.keys.of_instance(instance)[2], str(seq))
        assert isinstance(blob, bytes)
        return open_record(unpackb(blob))

    def entries(self, instance: Instance) -> list[journal.Entry]:
        blobs = self.store.redis.lrange(self.keys.journal(instance), 0, -1)
        return [journal.decode(blob) for blob in blobs if blob[1:2] != b"Z"]

    def claim(self, instance: Instance, kind: str = "t", seq: int = 0) -> str:
        """Claim the instance's turn, or one attempt; returns the token."""
        (member,) = [m for m in self.intents(instance) if m.startswith(kind + "|") and m.split("|")[4] == str(seq)]
        _, _, _, generation, _, nonce, _ = member.split("|")
        token = secrets.token_hex(6)
        item = {"i": 1, "k": kind, "g": generation, "s": seq, "n": nonce, "m": member, "t": token, "h": 0}
        answer = self.store.call(
            call_one(
                self.keys,
                CLAIM,
                instance,
                {"w": self.name, "items": [item], **PAGE},
            )
        )
        assert answer[0] != 0, "the claim was refused"
        return token

    def commit(self, instance: Instance, token: str, *, fed: int | None = None, **decision: Any) -> int:
        """Commit a turn over the journal or its first entries: ``opened``, ``withdrawn``, ``end``."""
        end = -1 if fed is None else fed - 1
        blobs = self.store.redis.lrange(self.keys.journal(instance), 0, end)
        item = {
            "i": 1,
            "g": self.header(instance, "gen"),
            "t": token,
            "b": int(self.header(instance, "pos") or 0),
            "f": len(blobs),
            "n": journal.nonce_of(blobs[-1]),
            "d": decided(blobs, int(self.header(instance, "pos") or 0), Decision(**decision)),
        }
        code: int = self.store.call(call_one(self.keys, COMMIT, instance, {"w": self.name, "items": [item]}))[0][0]
        return code

    def turn(self, instance: Instance, **decision: Any) -> int:
        return self.commit(instance, self.claim(instance), **decision)

    def complete(self, instance: Instance, output: Any = None, warnings: list[str] | None = None) -> None:
        asked = [told_by_record(record) for record in self.store.open_records(instance)]
        end = End("complete", codec.encode(output, what="the output"), asked=asked)
        if warnings:
            end.warnings = codec.encode(warnings, what="the warnings")
        assert self.turn(instance, end=end) == 2

    def fail(self, instance: Instance, error: BaseException) -> None:
        assert self.turn(instance, end=End("errored", error=failure.capture(error), asked=[])) == 2

    def park(self, instance: Instance, reason: str, fault: str = "mismatch") -> None:
        item = {
            "i": 1,
            "k": "t",
            "g": self.header(instance, "gen"),
            "s": 0,
            "t": self.claim(instance),
            "how": "park",
            "reason": reason,
            "fault": fault,
        }
        assert self.store.call(call_one(self.keys, RELEASE, instance, {"w": self.name, "items": [item]})) == [1]

    def beat(self, instance: Instance, seq: int, token: str, details: Any) -> int:
        """A heartbeat of a held attempt."""
        blob = codec.encode(details, what="details")
        item = {"i": 1, "g": self.header(instance, "gen"), "s": seq, "t": token, "d": blob}
        done: int = self.store.call(call_one(self.keys, BEAT, instance, {"w": self.name, "items": [item]}))[0]
        return done

    def settle(self, instance: Instance, seq: int, name: str, token: str, **outcome: Any) -> int:
        """Settle a held attempt: ``value=``, ``error=`` (final), or ``retry=(delay ms, error)``."""
        record = self.record(instance, seq)
        now = self.store.clock.now_ms()
        settlement = Settlement(self.header(instance, "gen"), seq, token)
        if "retry" in outcome:
            delay_ms, error = outcome["retry"]
            settlement.retry = (delay_ms, [record.attempts, now, now, failure.capture(error)])
        else:
            error = outcome.get("error")
            settlement.entry = journal.encode_settled(
                nonce=secrets.token_hex(4),
                seq=seq,
                name=name,
                count=1,
                at_ms=now,
                started_at_ms=now,
                attempts=record.attempts,
                value=None if error else codec.encode(outcome.get("value"), what="a result"),
                error=failure.capture(error) if error else None,
                failures=list(record.failures),
                kind=record.kind,
                rollback=record.rollback,
            )
        item = {"i": 1, **settlement.wire()}
        code: int = self.store.call(call_one(self.keys, SETTLE, instance, {"w": self.name, "items": [item]}))[0][0]
        return code


def step(
    seq: int, name: str, *, count: int = 1, queue: str = "default", config: bytes = b"", handled: bool = False
) -> Asked:
    """What a decision says of a ``do`` step to open; ``handled``: a handler undoes it."""
    values = ["do", seq, name, count, False, False, queue, 600_000, config]
    return Asked([*values, *[False] * 10, True] if handled else values)


def undo(seq: int, name: str) -> Asked:
    """The same of the handler that undoes the step of this name."""
    return Asked(["rb", *step(seq, name).values[1:]])


def wait(seq: int, name: str, type: str, ms: int = 86_400_000) -> Asked:
    return Asked(["wait", seq, name, 1, False, False, ms, type])


def sleep(seq: int, name: str, ms: int) -> Asked:
    return Asked(["sleep", seq, name, 1, False, False, ms, False])


def decided(blobs: list[bytes], base: int, decision: Decision) -> dict[str, Any]:
    """A decision over these entries, as a worker sends it."""
    decision.events = events_among(blobs[base:], base, decision)
    return decision.wire()


def store_of(
    client: redis_py.Redis, namespace: str = "shop", *, shards: int | None = None, clock: Clock | None = None
) -> Store:
    return Store(client, open_keyspace(client, namespace, shards), clock)


def end_waits(client: redis_py.Redis) -> None:
    """Whoever waits for work looks up, and sees that it has been told to end, which it would after a second."""
    for one in client.client_list():
        if "b" in one["flags"]:
            client.client_unblock(int(one["id"]))


def dump(client: redis_py.Redis) -> dict[bytes, tuple[bytes, Any]]:
    """Everything there is, to compare before and after."""
    return {key: (client.dump(key) or b"", client.type(key)) for key in client.keys("*")}


def keys_of(client: redis_py.Redis, keys: Keyspace, instance: Instance) -> list[str]:
    """Which of the instance's own keys exist."""
    return [key for key in keys.of_instance(instance) if client.exists(key)]
