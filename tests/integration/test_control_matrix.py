"""Every verb on an instance in every status, whatever it has open: what comes of it is what a small model says.

The model knows no scripts. After each move everything that can be seen of the instance is compared with it: its
status, its journal, what is open, its mail, and what the shard knows of it. A move that is refused, or comes too late,
changes no key at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import orchestrator
from orchestrator import timers
from tests.driving import SETTLE, HandClock, HandWorker, PublishedApp, dump, sleep, step, store_of, undo, wait
from workflows.client import Client, WorkflowInstance
from workflows.errors import InstanceEnded, InstanceError, InstanceNotFound, InvalidTransition
from workflows.storage import journal, nonces
from workflows.storage.intake import CreateItem
from workflows.storage.manifest import publish_manifest
from workflows.storage.messages import InvokeChild
from workflows.storage.records import Asked, End, OpenStep, Settlement
from workflows.storage.status import FINAL, Status
from workflows.storage.store import call_one, script
from workflows.values import codec, failure

_CHILD_ENDED = script(Path(orchestrator.__file__).with_name("child_ended.lua"))

OPEN = ("held", "back", "sleep", "wait", "child")
"""A step that a worker runs, one that waits for its next attempt, and what else there is."""
UNDO = ("undo held", "undo back")
"""It is being rolled back: a handler that a worker runs, and one that waits for its next attempt."""
HOW = ("going", "paused", "complete", "errored", "terminated")
SITUATIONS = [
    ("", "queued"),
    *((open, how) for open in OPEN for how in (*HOW, "cancelling")),
    *((open, how) for open in UNDO for how in HOW if how != "complete"),
]
VERBS = ("pause", "resume", "cancel", "terminate", "roll_back", "restart", "restart_from", "delete", "send_event")
OTHERS = ("settle", "time", "child_ends")
KIND = {"held": "do", "back": "do", "sleep": "sleep", "wait": "waitForEvent", "child": "child"}
SHOWN = {**KIND, "wait": "wait"}
NOTHING = "nothing happens"


@dataclass
class Model:
    """One instance. It has done a step, and then asked for one more, ``it``.

    Attributes:
        open: how ``it`` stands, '' when it was not asked for or has been answered.
        journal: the kinds of its entries.
        undecided: somebody is to decide what follows from the last entries.
        has_it: ``it`` is in its history.
        is_known: what a worker, a timer or a child remembers of ``it`` belongs to this life.
        steps: the kinds of what its history shows.
        asked: it was asked to end, and has some minutes for that.
        rolling: it is being rolled back; then a handler is open in the place of ``it``.
        rollback: how that ended.
    """

    open: str = ""
    begun: bool = True
    journal: str = "0S"
    undecided: bool = False
    ended: str = ""
    wanted: bool = False
    mail: int = 0
    there: bool = True
    has_it: bool = True
    is_known: bool = True
    steps: tuple[str, ...] = ()
    asked: bool = False
    rolling: bool = False
    rollback: str = ""

    @classmethod
    def of(cls, open: str, how: str) -> Model:
        if how == "queued":
            return cls(begun=False, journal="0", undecided=True, has_it=False, is_known=False)
        if open in UNDO:
            steps = ("do", "do", "rollback")
            match how:
                case "going" | "paused":
                    return cls(open[5:], journal="0SWR", wanted=how == "paused", steps=steps, rolling=True)
                case "terminated":
                    return cls(journal="0SWRW", ended=how, steps=steps, rollback="failed")
            rollback = "failed" if open == "undo back" else "complete"
            return cls(journal="0SSWRB", ended=how, steps=("do", *steps), rollback=rollback)
        steps = ("do", SHOWN[open])
        match how:
            case "going":
                return cls(open, steps=steps)
            case "paused":
                return cls(open, wanted=True, steps=steps)
            case "cancelling":
                return cls(open, journal="0SK", undecided=True, asked=True, steps=steps)
            case "terminated":
                return cls(journal="0SW", ended=how, steps=steps)
        # It ended after a third step, without waiting for this one.
        return cls(journal="0SSW", ended=how, steps=(*steps, "do"))

    @property
    def status(self) -> str:
        if self.ended:
            return self.ended
        if self.wanted:
            return "waitingForPause" if self.open == "held" else "paused"
        if not self.begun:
            return "queued"
        return "running" if self.undecided or self.open in ("held", "ready") else "waiting"

    @property
    def is_timed(self) -> bool:
        return not self.wanted and self.open in ("back", "sleep", "wait")

    def seen(self) -> dict[str, Any]:
        """What is to be seen of it."""
        if not self.there:
            return {}
        return {
            "status": self.status,
            "journal": self.journal,
            "open": "due" if self.open == "ready" and self.wanted else self.open,
            "mail": self.mail,
            "timers": int(self.is_timed) + int(self.asked and not self.wanted),
            "held": int(self.open == "held"),
            "attempts": int(self.open == "ready" and not self.wanted),
            "turns": int(self.undecided and not self.wanted and not self.ended),
            "retired": int(bool(self.ended)),
            "index": [self.status],
            "steps": self.steps,
            "asked": self.asked,
            "rolling": self.rolling,
            "rollback": self.rollback,
        }

    def move(self, name: str) -> Any:
        """Returns: the answer, an error's class, or ``NOTHING``."""
        if name in VERBS and not self.there:
            return InstanceNotFound
        return getattr(self, name)()

    def pause(self) -> Any:
        if self.wanted or self.ended:
            return NOTHING
        self.wanted = True
        return None

    def resume(self) -> Any:
        if not self.wanted:
            return NOTHING
        self.wanted = False
        return None

    def cancel(self) -> Any:
        if self.ended:
            return InvalidTransition
        if self.asked or self.rolling:
            return False
        if self.journal == "0":  # nothing has begun
            self.terminate()
            return True
        self.journal += "K"
        self.asked = self.undecided = True
        self.wanted = False
        return True

    def terminate(self) -> Any:
        if self.ended:
            return InvalidTransition
        self.stop()
        self.ended = "terminated"
        self.rolling, self.rollback = False, "failed" if self.rolling else ""
        return None

    def roll_back(self) -> Any:
        if self.ended or self.journal == "0":
            return self.terminate()  # nothing has begun
        if self.rolling:
            self.wanted = False
            return None
        self.begin_to_undo()
        return None

    def begin_to_undo(self) -> None:
        self.stop()
        self.journal += "R"
        self.rolling = self.undecided = True

    def stop(self) -> None:
        self.journal += "W" if self.open else ""
        self.open, self.mail, self.wanted, self.asked = "", 0, False, False

    def restart(self, journal: str = "0", steps: tuple[str, ...] = ()) -> Any:
        self.begun, self.undecided, self.journal, self.open, self.mail = False, True, journal, "", 0
        self.ended, self.wanted, self.has_it, self.is_known = "", False, False, False
        self.steps, self.asked, self.rolling, self.rollback = steps, False, False, ""
        return None

    def restart_from(self) -> Any:
        return self.restart(self.journal, ("do",)) if self.has_it else InstanceError

    def delete(self) -> Any:
        self.there, self.is_known = False, False
        return None

    def send_event(self) -> Any:
        if self.ended:
            return InstanceEnded
        if self.open == "wait":
            self.answer("E")
            return "delivered"
        self.mail += 1
        return "buffered"

    def settle(self) -> Any:
        return self.answer("B" if self.rolling else "S") if self.is_known and self.open == "held" else NOTHING

    def child_ends(self) -> Any:
        return self.answer("C") if self.is_known and self.open == "child" else NOTHING

    def time(self) -> Any:
        if not self.there or self.wanted or not (self.is_timed or self.asked):
            return NOTHING
        if self.open == "back":
            self.open = "ready"
        elif self.is_timed:
            self.answer("T" if self.open == "sleep" else "X")
        if self.asked:
            self.begin_to_undo()
        return None

    def answer(self, kind: str) -> None:
        self.journal += kind
        self.open, self.undecided = "", True


class Real:
    """The same instance on a real Redis. Worker, time and child are played by hand."""

    def __init__(self, redis: redis_py.Redis, client: Client, clock: HandClock, open: str, how: str) -> None:
        self.redis, self.store, self.clock = redis, client.store, clock
        self.keys, self.worker = client.store.keys, HandWorker(client.store)
        self.instance: WorkflowInstance = client.workflow("order").create("a1")
        self.where, self.open = self.instance._instance, open
        self.generation = self.token = "none"
        self.seq = 2
        if open in UNDO:
            self._begin_to_undo(how)
        elif how != "queued":
            self._begin(how)

    def _begin(self, how: str) -> None:
        worker, where = self.worker, self.where
        worker.turn(where, opened=[step(1, "done")])
        assert worker.settle(where, 1, "done", worker.claim(where, "a", 1), value=1) == 1
        it = {
            "sleep": sleep(2, "it", 5_000),
            "wait": wait(2, "it", "go", 60_000),
            "child": Asked(["child", 2, "it", 1, False, "job", "kid"], _child()),
        }.get(self.open, step(2, "it"))
        worker.turn(where, opened=[it, *([step(3, "last")] if how in ("complete", "errored") else [])])
        self.generation = worker.header(where, "gen")
        if self.open in ("held", "back"):
            self.token = worker.claim(where, "a", 2)
        if self.open == "back":
            assert worker.settle(where, 2, "it", self.token, retry=(60_000, ValueError("bad"))) == 1
        if how in ("complete", "errored"):
            assert worker.settle(where, 3, "last", worker.claim(where, "a", 3), value=1) == 1
            asked = [f"2|{it.kind}|1|it"]
            error = failure.capture(ValueError("bad")) if how == "errored" else None
            assert worker.turn(where, end=End(how, error=error, asked=asked)) == 2
        elif how != "going":
            getattr(self.instance, {"paused": "pause", "terminated": "terminate", "cancelling": "cancel"}[how])()

    def _begin_to_undo(self, how: str) -> None:
        """``it`` has a handler and is under way. What it does is withdrawn, then the handler is held or backs off."""
        worker, where = self.worker, self.where
        worker.turn(where, opened=[step(1, "done")])
        assert worker.settle(where, 1, "done", worker.claim(where, "a", 1), value=1) == 1
        last = [step(3, "last")] if how == "errored" else []
        worker.turn(where, opened=[step(2, "it", handled=True), *last])
        worker.claim(where, "a", 2)
        bad = failure.capture(ValueError("bad"))
        if how == "errored":
            assert worker.settle(where, 3, "last", worker.claim(where, "a", 3), value=1) == 1
            begin = End("errored", error=bad, asked=["2|do|1|it"], rollback="begin")
            assert worker.turn(where, end=begin) == 1
        else:
            self.instance.terminate(rollback=True)
        self.seq = 4 if how == "errored" else 3
        worker.turn(where, opened=[undo(self.seq, "it")])
        self.generation = worker.header(where, "gen")
        self.token = worker.claim(where, "a", self.seq)
        if how == "errored":
            fails = self.open == "undo back"
            came: dict[str, Any] = {"error": ValueError("bad")} if fails else {"value": None}
            assert worker.settle(where, self.seq, "it", self.token, **came) == 1
            end = End("errored", error=bad, asked=[], rollback=bad if fails else "complete")
            assert worker.turn(where, end=end) == 2
            return
        if self.open == "undo back":
            assert worker.settle(where, self.seq, "it", self.token, retry=(60_000, ValueError("bad"))) == 1
        if how != "going":
            getattr(self.instance, {"paused": "pause", "terminated": "terminate"}[how])()

    def move(self, name: str) -> Any:
        match name:
            case "roll_back":
                return self.instance.terminate(rollback=True)
            case "restart_from":
                return self.instance.restart(from_={"name": "it", "type": KIND.get(self.open, "do")})
            case "send_event":
                return self.instance.send_event("go")
            case "settle" | "time" | "child_ends":
                return getattr(self, f"_{name}")()
        return getattr(self.instance, name)()

    def _settle(self) -> Any:
        key: dict[str, Any] = {
            "seq": self.seq,
            "name": "it",
            "kind": "rb" if self.open in UNDO else "do",
            "count": 1,
            "at_ms": self.clock.ms,
            "started_at_ms": self.clock.ms,
        }
        entry = journal.encode_settled(nonce=nonces.entry(), attempts=1, value=codec.encode(2, what="x"), **key)
        item = {"i": 1, **Settlement(self.generation, self.seq, self.token, entry).wire()}
        ((code, _),) = self.store.call(
            call_one(self.keys, SETTLE, self.where, {"w": self.worker.name, "items": [item]})
        )
        return None if code else NOTHING

    def _time(self) -> Any:
        self.clock.ms += 3_600_000
        shard = self.where.shard
        fired = timers.fire(self.store, shard, self.redis.zrange(self.keys.shard_key(shard, "timers"), 0, -1))
        return None if fired else NOTHING

    def _child_ends(self) -> Any:
        arguments = {"g": self.generation, "s": 2, "wf": "job", "id": "kid", "v": codec.encode(5, what="x")}
        return None if self.store.call(call_one(self.keys, _CHILD_ENDED, self.where, arguments)) else NOTHING

    def seen(self) -> dict[str, Any]:
        h, j, _, m, *_ = self.keys.of_instance(self.where)
        if not self.redis.exists(h):
            return {}
        shown = self.instance.status()
        status = str(shown.status)
        kinds = [blob[1:2].decode() for blob in self.redis.lrange(j, 0, -1)]
        records = list(self.store.open_records(self.where))
        intents = [member[0] for member in self.worker.intents(self.where)]
        return {
            "status": status,
            "journal": "".join(kinds[:-1] if status in FINAL else kinds),
            "open": "".join(one.state if isinstance(one, OpenStep) else one.kind for one in records),
            "mail": sum(name.startswith(b"e:") for name in self.redis.hkeys(m)),
            "timers": self._in_shard("timers"),
            "held": self._in_shard("held"),
            "attempts": intents.count("a"),
            "turns": intents.count("t"),
            "retired": self._in_shard("retire"),
            "index": [
                member.partition(b"|")[0].decode()
                for member in self.redis.zrange(self.keys.shard_key(self.where.shard, "index"), 0, -1)
            ],
            "steps": tuple(one.kind for one in shown.steps),
            "asked": shown.cancelling is not None,
            "rolling": shown.is_rolling_back,
            "rollback": shown.rollback.outcome if shown.rollback else "",
        }

    def _in_shard(self, name: str) -> int:
        return int(self.redis.zcard(self.keys.shard_key(self.where.shard, name)))


def _child() -> dict[str, Any]:
    return InvokeChild(CreateItem("job", "kid", "gk", b"", "default", 1, 1)).wire()


def both_move(model: Model, real: Real, name: str) -> None:
    before = dump(real.redis)
    expected = model.move(name)
    if isinstance(expected, type):
        with pytest.raises(expected):
            real.move(name)
    else:
        found = real.move(name)
        # What has no effect has no answer of its own either.
        assert found == expected or (found is None and expected is NOTHING)
    if isinstance(expected, type) or expected is NOTHING:
        assert dump(real.redis) == before, f"{name} was refused and left a trace"
    assert real.seen() == model.seen(), f"after {name} of {asdict(model)}"


Begin = Callable[[str, str], tuple[Model, Real]]


@pytest.fixture
def begin(redis: redis_py.Redis) -> Iterator[Begin]:
    with ExitStack() as opened:

        def begin(open: str, how: str) -> tuple[Model, Real]:
            redis.flushall()
            clock = HandClock()
            publish_manifest(store_of(redis, shards=1, clock=clock), PublishedApp())
            client = opened.enter_context(Client("shop", connection=redis, clock=clock))
            model, real = Model.of(open, how), Real(redis, client, clock, open, how)
            assert real.seen() == model.seen()
            return model, real

        yield begin


def test_the_situations_have_every_status() -> None:
    assert {Model.of(open, how).status for open, how in SITUATIONS} == {str(status) for status in Status}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("open", "how"), SITUATIONS)
def test_a_verb_does_what_the_model_says(begin: Begin, open: str, how: str, verb: str) -> None:
    """And what comes late afterwards, from a worker, a timer or a child, counts if the verb has left it open."""
    model, real = begin(open, how)
    both_move(model, real, verb)
    for late in OTHERS:
        both_move(model, real, late)


@example(situation=("held", "going"), moves=["restart_from", "roll_back", "restart_from"])
@example(situation=("undo held", "errored"), moves=["restart_from", "roll_back", "pause", "roll_back"])
@example(situation=("held", "going"), moves=["cancel", "pause", "time", "resume", "time", "cancel"])
@given(situation=st.sampled_from(SITUATIONS), moves=st.lists(st.sampled_from(VERBS + OTHERS), min_size=2, max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[*HealthCheck])
def test_so_does_any_row_of_them(begin: Begin, situation: tuple[str, str], moves: list[str]) -> None:
    model, real = begin(*situation)
    for name in moves:
        both_move(model, real, name)
