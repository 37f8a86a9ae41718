"""Scripts called one at a time, with a clock that stands still: no threads, no processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis as redis_py

import orchestrator
import worker
import workflows
from tests.driving import PAGE, HandClock, decided, dump
from workflows.storage import journal
from workflows.storage.intake import CreateItem, create_call, event_call, new_event
from workflows.storage.keys import Instance, Intent, Keyspace, Timer
from workflows.storage.messages import InvokeChild
from workflows.storage.records import Asked, Decision, End, Settlement, open_record
from workflows.storage.removal import delete_call, restart_call
from workflows.storage.store import Call, Script, Store, call_on, script, unpackb
from workflows.values import codec, failure

_FOLDERS = [Path(package.__path__[0]) for package in (workflows, worker, orchestrator)]

LEASE_MS = 600_000
FAR = 86_400_000
BROKEN = failure.make("RuntimeError", "broken")
POISON = failure.make("PoisonError", "poison")
LOST = failure.make("PoisonError", "ten workers were lost")
STALLED = failure.make("StalledError", "stalled")
STOPPED = failure.make("InstanceTerminated", "stopped")


def load(name: str) -> Script:
    (path,) = [path for folder in _FOLDERS for path in folder.rglob(f"{name}.lua")]
    return script(path)


class World:
    """One shard with one instance ``a`` of the workflow ``job``, and workers ``w1`` and ``w2``."""

    def __init__(self, client: redis_py.Redis) -> None:
        self.client: Any = client
        self.clock = HandClock()
        self.keys = Keyspace("test", 1)
        self.store = Store(client, self.keys, self.clock)
        self.a = self.keys.instance("job", "a")
        self.tokens = 0
        for name in ("w1", "w2"):
            self.renew(name, born=True)
        assert self.create(self.a) == "created"

    # Calling

    def call(self, name: str, instances: Sequence[Instance] = (), /, **arguments: Any) -> Any:
        """A script on the shard and some instances."""
        return self.store.call(call_on(self.keys, load(name), 0, instances, arguments))

    def plain(self, name: str, keys: Sequence[str], /, **arguments: Any) -> Any:
        """A script without the shared pump, on the keys it is given."""
        return self.store.call(Call(load(name), keys, arguments))

    def create(self, instance: Instance) -> str:
        params, generation = codec.encode({}, what="params"), f"g-{instance.id}"
        item = CreateItem(instance.workflow, instance.id, generation, params, "default", 1000, 2000)
        answer: bytes = self.store.call(create_call(self.keys, item))[0]
        return answer.decode()

    def control(self, name: str, /, **arguments: Any) -> Any:
        makers = {"delete": delete_call, "restart": restart_call}
        if name in makers:
            return self.store.call(makers[name](self.keys, self.a, arguments))
        return self.call(name, [self.a], **arguments)

    def send(self, event: str, type: str = "e") -> str:
        answer: bytes = self.store.call(event_call(self.keys, self.a, new_event(type, event, id=event)))[0]
        return answer.decode()

    def renew(self, name: str, **more: Any) -> list[Any]:
        answer: list[Any] = self.call("renew", w=name, ttl=LEASE_MS, **{"held": [], **more})
        return answer[1:]

    def expire(self, name: str) -> None:
        self.client.zadd(self.key("workers"), {name: 3})

    def lose(self, name: str) -> None:
        self.expire(name)
        self.reap(name)

    def member(self, kind: str, seq: int = 0) -> str:
        """The unclaimed intent for a turn (``t``) or an attempt (``a``)."""
        (found,) = [m for m in self.intents() if m.startswith(f"{kind}|job|a|") and m.split("|")[4] == str(seq)]
        return found

    def claim_item(self, member: str) -> dict[str, Any]:
        self.tokens += 1
        intent = Intent.parse(member)
        item: dict[str, Any] = {"i": 1, "k": intent.kind, "g": intent.generation, "s": intent.seq, "n": intent.nonce}
        return item | {"m": member, "t": f"token{self.tokens}", "h": 0, "hn": ""}

    def claim(self, member: str, name: str = "w1") -> tuple[Any, str]:
        """The answer, and the token it was asked with."""
        item = self.claim_item(member)
        answer = self.call("claim", [self.a], w=name, items=[item], **PAGE)
        return answer[0], item["t"]

    def held(self, kind: str = "t", seq: int = 0, name: str = "w1") -> str:
        """Claim, successfully; the token."""
        answer, token = self.claim(self.member(kind, seq), name)
        assert answer not in (0, b"no-lease")
        return token

    def commit(self, token: str, name: str = "w1", **item: Any) -> int:
        blobs = self.journal()
        item = {
            "i": 1,
            "g": self.header("gen"),
            "t": token,
            "b": int(self.header("pos") or 0),
            "f": len(blobs),
            "n": journal.nonce_of(blobs[-1]),
            **item,
        }
        item["d"] = decided(blobs[: item["f"]], item["b"], item.get("d") or Decision())
        code: int = self.call("commit", [self.a], w=name, items=[item])[0][0]
        return code

    def open(self, *specs: Asked) -> None:
        """A turn that asks for these."""
        assert self.commit(self.held(), d=Decision(opened=list(specs))) == 1

    def settle_item(self, seq: int, token: str, **more: Any) -> dict[str, Any]:
        entry = journal.encode_settled(
            nonce="12345678",
            seq=seq,
            name="A",
            count=1,
            at_ms=self.clock.ms,
            started_at_ms=self.clock.ms,
            attempts=1,
            value=codec.encode(1, what="a result"),
        )
        decided = {"base": more.pop("b", 0), "decision": more.pop("d", None), "eager": more.pop("ea", "")}
        return {"i": 1, **Settlement(self.header("gen"), seq, token, entry, **decided).wire(), **more}

    def settle(self, seq: int, token: str, name: str = "w1", **more: Any) -> int:
        code: int = self.call("settle", [self.a], w=name, items=[self.settle_item(seq, token, **more)])[0][0]
        return code

    def fail(self, seq: int, token: str, delay_ms: int, name: str = "w1") -> int:
        """Settle with a failure that is tried again."""
        item = {"i": 1, **Settlement(self.header("gen"), seq, token, retry=(delay_ms, [1, 0, 0, BROKEN])).wire()}
        code: int = self.call("settle", [self.a], w=name, items=[item])[0][0]
        return code

    def release(self, kind: str, seq: int, token: str, how: str = "back", name: str = "w1", **more: Any) -> int:
        item = {"i": 1, "k": kind, "g": self.header("gen"), "s": seq, "t": token, "how": how, "reason": "why", **more}
        code: int = self.call("release", [self.a], w=name, x=STALLED, items=[item])[0]
        return code

    def fire(self, *members: str) -> int:
        items = [
            {"i": 1, "m": member, "k": timer.kind, "g": timer.generation, "s": timer.seq}
            for member, timer in ((member, Timer.parse(member)) for member in members)
        ]
        fired: int = self.call("fire", [self.a], items=items)
        return fired

    def reap(self, name: str, members: Sequence[str] | None = None) -> int:
        found = [m for m in self.all_held() if m.startswith(f"{name}|")] if members is None else members
        items = []
        for member in found:
            _, kind, _, _, generation, seq, token = member.split("|")
            items.append({"i": 1, "m": member, "k": kind, "g": generation, "s": int(seq), "t": token})
        left: int = self.call("reap", [self.a], w=name, items=items, poison=POISON, lost=LOST, stalled=STALLED)
        return left

    def bury(self, name: str, how: str) -> int:
        ended: int = self.call("bury", [], workers=[name], how=how)
        return ended

    def complete(self) -> None:
        end = End("complete", codec.encode(None, what="the output"), asked=[])
        assert self.commit(self.held(), d=Decision(end=end)) == 2

    # Looking

    def key(self, name: str) -> str:
        return self.keys.shard_key(0, name)

    def header(self, field: str) -> str:
        value = self.client.hget(self.keys.header(self.a), field)
        return value.decode() if isinstance(value, bytes) else ""

    def journal(self) -> list[bytes]:
        found: list[bytes] = self.client.lrange(self.keys.journal(self.a), 0, -1)
        return found

    def kinds(self) -> str:
        """The kinds of the journal's entries in order, ``0`` being the start."""
        return b"".join(blob[1:2] for blob in self.journal()).decode()

    def record(self, seq: int) -> Any:
        """An open record; None when there is none."""
        blob = self.client.hget(self.keys.of_instance(self.a)[2], str(seq))
        return open_record(unpackb(blob)) if isinstance(blob, bytes) else None

    def _members(self, name: str) -> list[str]:
        return [member.decode() for member in self.client.zrange(self.key(name), 0, -1)]

    def mailbox(self) -> set[bytes]:
        return set(self.client.hkeys(self.keys.of_instance(self.a)[3]))

    def queues(self) -> list[str]:
        return [member.decode() for member in self.client.zrange(self.keys.of_instance(self.a)[5], 0, -1)]

    def intents(self) -> list[str]:
        return self._members("intents")

    def timers(self) -> list[str]:
        return self._members("timers")

    def all_held(self) -> list[str]:
        return self._members("held")

    def relayed(self) -> dict[str, Any]:
        return {id.decode(): unpackb(blob) for id, blob in self.client.hgetall(self.key("relay")).items()}

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Whatever is called inside writes nothing."""
        before = dump(self.client)
        yield
        after = dump(self.client)
        assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} == set()


def do(seq: int = 1, queue: str = "default", config: bytes = b"config") -> Asked:
    return Asked(["do", seq, "A", seq, False, False, queue, 600_000, config])


def wait(seq: int = 1, ms: int = FAR) -> Asked:
    return Asked(["wait", seq, f"w{seq}", 1, False, False, ms, "e"])


def sleep(seq: int = 1, ms: int = FAR) -> Asked:
    return Asked(["sleep", seq, f"s{seq}", 1, False, False, ms, False])


def child(seq: int = 1, *policy: str) -> Asked:
    asked = InvokeChild(CreateItem("job", "child", "gc", codec.encode({}, what="params"), "default", 1, 1))
    return Asked(["child", seq, "c", 1, False, "job", "child", *policy], asked.wire())
