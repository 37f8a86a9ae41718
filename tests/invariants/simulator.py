"""A seeded world in which the real scripts, the real engine and the real orchestrator parts meet every fault.

One thread, no processes, one real Redis. Each step of a run is one thing that could happen next: a worker claims, works
off what arrived, ends an attempt; time jumps, timers fire; a client sends, pauses, restarts; a worker dies, loses its
lease, or gets no reply; Redis forgets its last second. After each step everything in Redis is read and compared with
what a replay of the journal says must be there. At the end nothing fails any more, and every instance must end.

The engine is the product's own: only its threads are missing, the simulator calls what they would call. Faults enter
where every call passes, ``Store._send``. A run depends on its seed alone.
"""

from __future__ import annotations

import dataclasses
import logging
import random
import secrets
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

import redis as redis_py

import workflows.client
from orchestrator import dispatch, reaper, relay, shards, sweep, timers, unfinished
from orchestrator.loop import BATCH, RING_AGAIN_MS, RING_AGAIN_MS_MAX, RINGS_PER_SECOND
from tests.invariants import programs
from tests.invariants.programs import EVENT_TYPES, FLAKY, HANGS, app
from worker import claim, slots, suspects
from worker import engine as engine_module
from worker.arrivals import Arrival, Arrivals, Compare, Contradicted, Drain, Finished
from worker.attempt import Attempt, Outcome
from worker.claim import Task
from worker.engine import Engine
from worker.settings import Settings
from workflows import limits
from workflows.authoring import retries
from workflows.authoring.commands import Command
from workflows.authoring.env import LazyEnv
from workflows.authoring.event import WorkflowEvent, moment
from workflows.errors import NonDeterminismError
from workflows.replay.replay import Raised, Replay, Returned
from workflows.storage import aside, journal, nonces, processes
from workflows.storage.keys import INSTANCE_KEY_NAMES, Held, Instance, Intent, Keyspace, Timer, Unfinished
from workflows.storage.records import Open, OpenChild, OpenSleep, OpenStep, OpenWait, open_record
from workflows.storage.removal import CREATE, SEND_EVENT, restart_call
from workflows.storage.status import FINAL, TRANSITIONS, Status
from workflows.storage.store import Call, Script, Store, call_on, call_one, script, unpackb
from workflows.values import codec, failure

_CLIENT = Path(workflows.client.__file__).parent
_PAUSE = script(_CLIENT / "pause.lua")
_RESUME = script(_CLIENT / "resume.lua")
_TERMINATE = script(_CLIENT / "terminate.lua")
_OWN = script(dispatch.HERE / "own.lua")
_DISPATCH = script(dispatch.HERE / "dispatch.lua")

LEASE_MS = 600_000
START_MS = 1_800_000_000_000
# Scores of leases that are over; see pump.lua. The last is any moment that has passed.
FOUND_GONE, LAPSED = 2, 3
STOPPED = failure.make("InstanceTerminated", "stopped")
GONE = failure.make("InstanceAlreadyExists", "taken")

# What may have happened to an instance in one step of each sort; `status.TRANSITIONS` says where that may lead.
HAPPENINGS = {
    "claim": ("begin",),
    "work": ("decide", "settle", "pause", "stall"),
    "drain": ("decide", "settle", "pause", "stall"),
    "fire": ("wake",),
    "relay": ("wake", "begin"),
    "event": ("wake",),
    "alone": ("decide", "settle", "pause", "stall"),
    "crash": ("stall", "settle"),
    "reap": ("stall", "settle"),
    "freeze": ("stall", "settle"),
    "pause": ("pause",),
    "resume": ("resume",),
    "terminate": ("terminate",),
    "restart": ("restart",),
    "continue": ("wake", "settle", "pause"),
    "deploy": ("begin", "decide", "settle", "pause", "wake", "stall", "resume"),
    "beat": (),
    "sweep": (),
    "garbage": (),
    "tidy": ("wake",),
}

UNREADABLE = (b"", b"\xff\xfe", b"\xc1", b"text", b"\x91" * 10_000, b"\x92\x01\x02", b"\x81\xa1s\x01")
# Where the members that stand in a shard's key begin, so that whoever reads it by prefix meets what is planted there.
PREFIXES = {
    "timers": b"s|",
    "intents": b"a|",
    "held": b"ghost|",
    "relay": b"c|",
    "index": b"running|",
    "retire": b"",
    "unfinished": b"i|",
}
# What can be derived from the headers when one of these keys is lost.
DERIVED = ("timers", "intents", "index", "retire", "relay")


class Violation(AssertionError):
    """Something that must always hold did not."""


def demand(condition: object, what: str) -> None:
    if not condition:
        raise Violation(what)


# Access to Redis ------------------------------------------------------------------------------------------------------


class SimClock:
    def __init__(self) -> None:
        self.ms = START_MS

    def argument(self) -> str:
        return str(self.ms)

    def now_ms(self) -> int:
        return self.ms

    def observe(self, server_ms: int) -> None:
        pass


_loaded: weakref.WeakKeyDictionary[redis_py.Redis, set[str]] = weakref.WeakKeyDictionary()


class SimStore(Store):
    """A store whose calls may fail: not sent, executed without a reply, executed in part, executed twice."""

    def __init__(self, world: World, client: redis_py.Redis, keys: Keyspace, *, reliable: bool = False) -> None:
        self._world = world
        self._reliable = reliable
        self.broken = False
        super().__init__(client, keys, world.clock)

    @property
    def redis(self) -> redis_py.Redis:
        if self.broken:
            self.broken = False
            raise redis_py.ConnectionError("the connection is gone")
        return self._redis

    @redis.setter
    def redis(self, client: redis_py.Redis) -> None:
        self._redis = client

    def execute(self, calls: Sequence[Call]) -> list[Any]:
        for call in calls:
            if call.script.name == "release":
                self._world.releases(call.arguments["items"])
        calls = [self._world.mutated(call) for call in calls]
        # Beforehand, so that faults do not depend on what an earlier run has loaded.
        loaded = _loaded.setdefault(self._redis, set())
        for call in calls:
            if call.script.sha not in loaded:
                self._redis.script_load(call.script.text)
                loaded.add(call.script.sha)
        return super().execute(calls)

    def _send(self, commands: list[list[Any]]) -> list[Any]:
        fault = "" if self._reliable else self._world.next_fault()
        if fault == "unsent":
            raise redis_py.ConnectionError("not sent")
        answers = super()._send(commands) if fault != "lost" else []
        if fault == "twice":
            super()._send(commands)
        if fault == "lost":
            super()._send(commands[: self._world.rng.randint(1, len(commands))])
            raise redis_py.ConnectionError("the reply is lost")
        return answers


# Workers --------------------------------------------------------------------------------------------------------------


class HandCallbacks:
    """In place of the loop and the threads: attempts wait until the simulator ends them."""

    def __init__(
        self,
        concurrency: int,
        deliver: Callable[[Attempt, Outcome], None],
        freed: Callable[[Attempt], None],
        overrides: object,
        on_death: Callable[[str], None],
    ) -> None:
        self.deliver = deliver
        self.freed = freed
        self.running: list[Attempt] = []
        self.finished: set[str] = set()
        self.started: Callable[[Attempt], None] = lambda attempt: None

    def run(self, attempt: Attempt) -> None:
        if attempt.take_start():
            self.running.append(attempt)
            self.started(attempt)

    def cancel(self, attempt: Attempt) -> bool:
        if attempt.take_start():
            self.freed(attempt)
            return False
        attempt.context.cancelled.set()
        return True

    def end(self, attempt: Attempt, outcome: Outcome) -> None:
        self.running.remove(attempt)
        if attempt.take_outcome():
            self.finished.add(attempt.token)
            self.deliver(attempt, outcome)
        self.freed(attempt)


class Node:
    """One worker process: the engine without its threads."""

    def __init__(self, world: World, name: str, warm: int, *, alone: bool = False) -> None:
        self.alone = alone
        self.world = world
        self.name = name
        self.stores: list[SimStore] = []
        settings = Settings(warm=warm, lease_ms=LEASE_MS, alone=alone, queues=() if alone else ("default",))
        self.engine = Engine(
            app,
            self._connect,
            settings,
            on_hopeless=self._hopeless,
            isolate=None if alone else world.isolate,
        )
        self.engine._stopped.set()  # no pauses between attempts to reach Redis
        self.fetcher = self._connect()
        self.fetcher_failed = False
        self.up = False
        self.hand: HandCallbacks = self.engine.callbacks  # type: ignore[assignment]
        self.hand.started = world.started
        self.hand.finished = world.finished
        self.drained = False

    def _connect(self) -> SimStore:
        store = SimStore(self.world, self.world.client, self.world.keys)
        self.stores.append(store)
        return store

    def _hopeless(self, reason: str) -> None:
        raise Violation(f"a worker gave up: {reason}")

    @property
    def identities(self) -> set[str]:
        lease = self.engine.lease
        return {lease.worker, *lease._former, *(attempt.worker for attempt in self.engine.attempts())}

    def queued(self) -> int:
        return len(self.engine.arrivals)

    @property
    def is_done(self) -> bool:
        return not self.queued() and self.engine.is_idle

    def start(self) -> str:
        try:
            self.engine.lease._renew(self.engine.lease.worker, born=True)
        except redis_py.RedisError:
            return "no reply"
        self.up = True
        return "up"

    def claim(self, members: Sequence[str]) -> str:
        """What the fetcher's thread does with doorbells."""
        try:
            self.engine.fetchers[0]._claim(self.fetcher, [Intent.parse(member) for member in members])
        except redis_py.RedisError as error:
            self.fetcher_failed = True
            return str(error)
        if self.fetcher_failed:
            self.fetcher_failed = False
            self.engine.reconnected()
        return "answered"

    def take_over(self, held: Held) -> str:
        """What a process for a suspect begins with."""
        try:
            task = claim.take_over(self.fetcher, self.engine.lease.worker, held)
        except (redis_py.RedisError, claim.LeaseLost) as error:
            return str(error)
        if task is None:
            return "gone"
        self.engine.accept([task])
        return "taken"

    def work(self, most: int) -> str:
        """What the engine's thread does with what has arrived."""
        batch = self.engine.arrivals.waiting()
        for item in batch[most:]:
            self.engine.arrivals.put(item)
        batch = batch[:most]
        names = ",".join(_name_of(item) for item in batch)
        try:
            self.drained = self.engine._work(batch)
        except redis_py.RedisError as error:
            self.engine._recover(batch, 0)
            return f"{names}: {error}"
        return names

    def beat(self) -> str:
        """What the lease's thread does now and then."""
        lease = self.engine.lease
        try:
            lease._former &= {attempt.worker for attempt in self.engine.attempts()}
            alive = lease._renew(lease.worker)
            for worker in lease._former:
                lease._renew(worker)
            if not alive:
                lease.renew_identity()
        except redis_py.RedisError as error:
            return str(error)
        return "alive" if alive else "came back"

    def drain(self, patience: int, meanwhile: Callable[[], None]) -> str:
        """An orderly stop; before its grace is over the engine works so many times, and ``meanwhile`` things happen."""
        engine = self.engine
        engine.draining.set()
        now = self.world.clock.ms / 1000
        engine.arrivals.put(Drain(now + 1 if patience else now))
        said = [self.work(1000)]
        for _ in range(patience):
            if not self.drained:
                meanwhile()
                said.append(self.work(1000))
        if not self.drained:
            engine.arrivals.put(Drain(now))
        while not self.drained:
            said.append(self.work(1000))
        try:
            for worker in {engine.lease.worker, *engine.lease._former}:
                engine.lease._renew(worker, leave=True)
        except redis_py.RedisError as error:
            said.append(str(error))
        self.close()
        return "; ".join(said)

    def close(self) -> None:
        self.up = False
        self.hand.running.clear()
        self.engine._replays.warm.clear()


def _items(arrivals: Arrivals) -> list[Arrival]:
    found = arrivals.waiting()
    for item in found:
        arrivals.put(item)
    return found


def _name_of(item: Any) -> str:
    if isinstance(item, Task):
        return f"{item.kind}{item.seq}@{item.instance.id}"
    if isinstance(item, Finished):
        kind = "ok" if item.outcome.error is None else "fail"
        return f"{kind}{item.attempt.seq}@{item.attempt.instance.id}"
    return type(item).__name__


# What there is in Redis -----------------------------------------------------------------------------------------------


_REST = ("due", "walk", "mail", "at", "parts", "token", "clear", "told")


@dataclass(slots=True)
class Seen:
    """One instance as stored; ``outcome`` is what stands behind the journal of one that has ended."""

    instance: Instance
    header: dict[str, bytes]
    journal: list[bytes]
    records: dict[int, Open]
    mail: dict[str, bytes]
    queues: list[str]
    outcome: dict[bytes, Any]

    def text(self, name: str) -> str:
        return self.header.get(name, b"").decode()

    @property
    def generation(self) -> str:
        return self.text("gen")

    @property
    def status(self) -> Status:
        return Status(self.text("st"))

    @property
    def position(self) -> int:
        return int(self.text("pos") or 0)

    @property
    def ended(self) -> bool:
        return self.status in FINAL

    @property
    def rest(self) -> dict[str, Any]:
        """What is left over, by the names that ``parts/instance.lua`` has for it."""
        stored = self.header.get("rest", b"")
        return (
            {name: value for name, value in zip(_REST, unpackb(stored), strict=True) if value != b""} if stored else {}
        )

    @property
    def unfinished(self) -> bool:
        rest = self.rest
        return bool(rest.keys() & {"walk", "mail", "at", "clear", "told"} or ("due" in rest and not self.text("want")))

    def staged(self) -> tuple[dict[int, Any], set[int]]:
        """What the parts of a decision that are not applied yet withdraw and open."""
        withdrawn, opened = {}, set()
        for n in range(self.rest.get("at", 1), self.rest.get("parts", 0) + 1) if "at" in self.rest else ():
            part = unpackb(self.mail[f"p:{n}"])
            withdrawn |= {one[0]: one for one in part[b"w"]}
            opened |= {one[0][1] for one in part[b"o"]}
        return withdrawn, opened

    def moment_of(self, record: Open) -> int:
        """When a record is due by the server's clock, unless time stands still."""
        assert not isinstance(record, OpenChild)
        is_absolute = isinstance(record, OpenSleep) and record.absolute
        return int((record.due or 0) + (0 if is_absolute else float(self.text("stood") or 0)))

    def queue(self, *prefix: str) -> list[int]:
        """The numbers that stand behind a prefix in the queues, in their order there."""
        begins = "".join(f"{part}|" for part in prefix)
        return [int(member[len(begins) + 1 :]) for member in self.queues if member.startswith(begins)]


@dataclass(slots=True)
class State:
    instances: dict[tuple[str, str], Seen] = field(default_factory=dict)
    timers: dict[str, int] = field(default_factory=dict)
    intents: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    workers: dict[int, set[str]] = field(default_factory=dict)
    relayed: dict[int, int] = field(default_factory=dict)
    index: list[str] = field(default_factory=list)
    retire: dict[str, int] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)
    remains: dict[tuple[str, str, str], dict[int, dict[bytes, Any]]] = field(default_factory=dict)

    def record(self, workflow: str, id: str, generation: str, seq: int) -> dict[bytes, Any] | None:
        """The open record that somebody in the shard speaks of, also of a life that is over."""
        seen = self.instances.get((workflow, id))
        if seen is not None and seen.generation == generation:
            return seen.records.get(seq)
        return self.remains.get((workflow, id, generation), {}).get(seq)


@dataclass(frozen=True, slots=True)
class Prefix:
    """What a replay says after so many entries."""

    pending: dict[int, tuple[str, str, int, Any]]
    cancelled: frozenset[int]
    end: Returned | Raised | None
    voids: int


class Oracle:
    """Replays one life of one instance, entry by entry, and remembers what it said after each."""

    def __init__(self, seen: Seen) -> None:
        start = journal.decode_start(seen.journal[0])
        definition = app.definition(seen.instance.workflow)
        event: WorkflowEvent[Any] = WorkflowEvent(
            codec.decode(start.params),
            timestamp=moment(start.at_ms),
            instance_id=seen.instance.id,
            workflow_name=seen.instance.workflow,
        )
        self._replay = Replay(
            definition.workflow_class,
            event,
            env=LazyEnv(dict),
            generation=seen.generation,
            defaults=app.defaults,
            app=app,
        )
        self.blobs: list[bytes] = []
        self.prefixes = [Prefix({}, frozenset(), None, 0)]
        self.expected_inputs: dict[int, tuple[Any, ...]] = {}
        self.void_entries: set[int] = set()

    def feed(self, blob: bytes) -> None:
        entry = journal.decode(blob)
        replay = self._replay
        try:
            replay.feed([entry])
        except NonDeterminismError as error:
            raise Violation(f"journal and code disagree: {error}") from error
        snapshot = replay.snapshot()
        if len(snapshot.voids) > self.prefixes[-1].voids:
            self.void_entries.add(len(self.blobs))
        self.blobs.append(blob)
        pending = {seq: _told(replay.command(seq)) for seq in snapshot.pending}
        for seq in snapshot.pending:
            callback = replay.callback(seq)
            if callback is not None:
                self.expected_inputs[seq] = callback.args
        asked = {*snapshot.gone, *self.prefixes[-1].cancelled, getattr(entry, "seq", 0)}
        cancelled = frozenset(seq for seq in asked if replay.is_cancelled(seq))
        self.prefixes.append(Prefix(pending, cancelled, replay.end, len(snapshot.voids)))

    def void_steps(self, start: int) -> set[int]:
        """Steps with an answer in vain, from entry ``start`` on."""
        entries = [journal.decode(self.blobs[at]) for at in self.void_entries if at >= start]
        return {entry.seq for entry in entries if not isinstance(entry, journal.Start)}

    def close(self) -> None:
        self._replay.close()


def _told(command: Command) -> tuple[str, str, int, Any]:
    return command.kind, command.name, command.count, getattr(command, "type", None)


class Mutant:
    """A change of the scripts' text: ``old`` becomes ``new`` in the script ``name`` ('' = in any).

    Args:
        program, controls: the program that shows it, and what clients do to it, for a change that few seeds would come
            across. Calls take up little then.
        garbage: whether every seed knows garbage, and not just some.
    """

    def __init__(
        self,
        title: str,
        name: str,
        old: str,
        new: str,
        *more: tuple[str, str],
        program: str = "",
        controls: tuple[str, ...] = (),
        garbage: bool = False,
    ) -> None:
        self.title = title
        self.program = program
        self.garbage = garbage
        self.controls = controls
        self.name = name
        self.changes = ((old, new), *more)
        self.applied = [0] * len(self.changes)
        self._known: dict[str, Script] = {}

    def changed(self) -> AbstractContextManager[Any]:
        """For the length of a run."""
        return nullcontext()

    def of(self, original: Script) -> Script:
        found = self._known.get(original.sha)
        if found is None:
            text = original.text
            if self.name in ("", original.name):
                for at, (old, new) in enumerate(self.changes):
                    self.applied[at] += text.count(old)
                    text = text.replace(old, new)
            found = original if text == original.text else _script(original.name, text)
            self._known[original.sha] = found
        return found


class CodeMutant(Mutant):
    """A change of the engine itself: ``attribute`` of ``owner`` is ``replacement``."""

    def __init__(self, title: str, owner: Any, attribute: str, replacement: Any, *, program: str = "") -> None:
        super().__init__(title, "", "", "", program=program)
        self.owner = owner
        self.attribute = attribute
        self.replacement = replacement
        self.applied = [1]

    def of(self, original: Script) -> Script:
        return original

    def changed(self) -> AbstractContextManager[Any]:
        return mock.patch.object(self.owner, self.attribute, self.replacement)


def _state(record: Open) -> str:
    return record.state if isinstance(record, OpenStep) else "wait"


@cache
def _sliced(original: Script, slice: int) -> Script:
    """The same script with so small a share per call that there is always something left over."""
    return _script(original.name, original.text.replace("local SLICE = 200\n", f"local SLICE = {slice}\n"))


def _script(name: str, text: str) -> Script:
    import hashlib

    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class _Complaints(logging.Handler):
    """What a worker logs as an error: it goes on after a bug of its own, and only says so."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        why = record.exc_info[1] if record.exc_info else record.__dict__.get("reason", "")
        self.said.append(f"{record.getMessage()}: {why!r}")


# The world ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Snapshot:
    keys: dict[bytes, bytes]
    answered: dict[tuple[str, str, str], list[str]]
    moments: dict[tuple[str, str], Seen]


@dataclass(frozen=True, slots=True)
class Setup:
    """What a seed decided before the first step."""

    programs: tuple[str, ...]
    faults: int
    controls: tuple[str, ...]
    events: int
    steps: int
    warm: int
    shards: int
    rewind: bool
    deadly: bool
    slice: int
    garbage: bool = False


def setup_of(rng: random.Random) -> Setup:
    about_events = rng.random() < 0.35
    names = programs.WAITING if about_events else programs.NAMES
    deadly = rng.random() < 0.15
    return Setup(
        programs=tuple(rng.choice(names) for _ in range(rng.choice((1, 1, 2, 3)))),
        faults=rng.choice((6, 9, 12) if deadly else (0, 0, 1, 2, 3, 6)),
        controls=tuple(rng.choices(("pause", "restart", "terminate"), (6, 2, 1), k=rng.choice((0, 0, 1, 2, 3)))),
        events=rng.choice((2, 3, 5) if about_events else (0, 1, 2)),
        steps=rng.randint(15, 60),
        warm=rng.choice((0, 1, 10_000, 10_000)),
        shards=rng.choice((1, 1, 1, 2)),
        rewind=rng.random() < 0.3,
        deadly=deadly,
        slice=rng.choice((2, 3, 200)),
    )


class World:
    """One run. ``play`` raises Violation, with ``trace`` saying how it came to that."""

    def __init__(self, client: redis_py.Redis, seed: int, mutant: Mutant | None = None) -> None:
        self.client: Any = client
        self.seed = seed
        self.rng = random.Random(seed)
        self.setup = setup_of(self.rng)
        if mutant is not None and mutant.program:
            aimed = (mutant.program,) * len(self.setup.programs)
            self.setup = dataclasses.replace(self.setup, programs=aimed, events=max(3, self.setup.events))
        if mutant is not None and mutant.controls:
            self.setup = dataclasses.replace(self.setup, controls=mutant.controls, slice=2)
        # By a choice of its own, so that it changes nothing in the runs without.
        if random.Random(f"garbage {seed}").random() < 0.1 or (mutant is not None and mutant.garbage):
            self.setup = dataclasses.replace(self.setup, garbage=True, rewind=False)
        self.clock = SimClock()
        self.keys = Keyspace("sim", self.setup.shards)
        self.mutant = mutant
        self.trace: list[str] = []
        self.faults_left = self.setup.faults
        self.faulty = False
        self.faults_done = 0
        self.client_store = SimStore(self, client, self.keys)
        self.look_store = SimStore(self, client, self.keys, reliable=True)
        self.nodes: list[Node] = []
        self.made = 0
        self.results = 0
        self.finished: set[str] = set()
        self.given_back = 0
        self.keyed: dict[str, tuple[str, ...]] = {}
        self.executed: Counter[tuple[str, str, str, int, int]] = Counter()
        self.generations = 0
        self.controls = list(self.setup.controls)
        self.events_left = self.setup.events
        self.resends: list[tuple[str, Call, Callable[[Any], None]]] = []
        self.answered: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        self.doorbells: list[str] = []
        self.stale_due: list[str] = []
        self.snapshot: _Snapshot | None = None
        self.rewind_left = self.setup.rewind
        self.roots: list[Instance] = []
        self.before: dict[tuple[str, str], Seen] = {}
        self.oracles: dict[tuple[str, str, str], Oracle] = {}
        self.healthy_sweep = True
        self.suspects: list[Held] = []
        # Deaths of processes that ran nothing but one step, by that step.
        self.blamed: Counter[tuple[str, str, str, int]] = Counter()
        self.complaints = _Complaints()
        self.is_short = False
        self.garbage_left = 3 if self.setup.garbage else 0
        # The one whose keys somebody has written to: of it nothing is known but that it must not stand still unsaid.
        self.spoilt: Instance | None = None
        self.planted: dict[tuple[int, str], set[bytes]] = defaultdict(set)

    # Faults

    def mutated(self, call: Call) -> Call:
        original = call.script if self.mutant is None else self.mutant.of(call.script)
        return Call(_sliced(original, self.setup.slice), call.keys, call.arguments)

    def next_fault(self) -> str:
        if not self.faulty or not self.faults_left or self.rng.random() > 0.15:
            return ""
        fault = self.rng.choice(("lost", "lost", "twice", "unsent"))
        self._fault(fault)
        return fault

    def _fault(self, what: str) -> None:
        self.faults_left -= 1
        self.faults_done += 1
        self.trace.append(f"      fault: {what}")

    # Running

    def play(self) -> World:
        log = logging.getLogger("workflows.worker")
        handler = self.complaints
        log.addHandler(handler)
        mutated = nullcontext() if self.mutant is None else self.mutant.changed()
        with mock.patch.object(engine_module, "Callbacks", HandCallbacks), self._determined(), mutated:
            try:
                self._begin()
                for _ in range(self.setup.steps):
                    self._step()
                self._finish()
                demand(not handler.said, f"the worker complained: {handler.said}")
            finally:
                log.removeHandler(handler)
                for node in self.nodes:
                    node.close()
                for oracle in self.oracles.values():
                    oracle.close()
        return self

    @contextmanager
    def _determined(self) -> Iterator[None]:
        """Time and tokens are those of the seed too."""
        tokens = random.Random(self.seed)

        def monotonic() -> float:
            return self.clock.ms / 1000

        with (
            mock.patch.object(engine_module, "monotonic", monotonic),
            mock.patch.object(slots, "monotonic", monotonic),
            mock.patch.object(suspects, "monotonic", monotonic),
            mock.patch.object(nonces, "_generator", tokens),
            mock.patch.object(limits, "SCRIPT_ELEMENTS", self.setup.slice),
            mock.patch.object(limits, "TURN_ENTRIES", self.setup.slice),
            mock.patch.object(secrets, "token_hex", lambda n: f"{tokens.getrandbits(8 * n):0{2 * n}x}"),
        ):
            yield

    def _begin(self) -> None:
        self.client.flushall()
        self.trace.append(f"seed {self.seed}: {self.setup}")
        for _ in range(2):
            self._new_node()
        for name in self.setup.programs:
            self._create(name)
        self.state = self.look("create")

    def _new_node(self, *, alone: bool = False) -> Node:
        self.made += 1
        node = Node(self, f"{'t' if alone else 'n'}{self.made}", self.setup.warm, alone=alone)
        while node.start() != "up":
            pass
        self.nodes.append(node)
        return node

    def isolate(self, held: Held) -> bool:
        """What a worker's parent is asked for; it may be gone, or have no means."""
        if self.rng.random() < 0.3:
            return False
        if self.rng.random() < 0.9:
            self.suspects.append(held)
        return True

    def _create(self, program: str) -> None:
        instance = self.keys.instance(program, f"i{len(self.roots) + 1}")
        params = {"program": programs.random_program(self.rng)} if program == "random" else {}
        item = {
            "i": 1,
            "wf": program,
            "id": instance.id,
            "gen": self._generation(),
            "p": codec.encode(params, what="params"),
            "qu": "default",
            "ok": 1000,
            "err": 1000,
            "cid": "create",
        }
        self.roots.append(instance)
        if params:
            self.trace.append(f"      {instance.id} runs {params['program']}")
        answer = self.look_store.call(call_one(self.keys, CREATE, instance, {"items": [item]}))
        demand(answer == [b"created"], f"create said {answer}")

    def _generation(self) -> str:
        self.generations += 1
        return f"g{self.generations}"

    def _step(self) -> None:
        options = list(self._options())
        if not options:
            self.clock.ms += 1000
            return
        _, kind, act = self.rng.choices(options, [option[0] for option in options])[0]
        self.faulty = True
        self._do(kind, act)

    def _do(self, kind: str, act: Callable[[], str]) -> None:
        self.trace.append(kind)
        at = len(self.trace) - 1
        try:
            said = act()
            self.trace[at] = f"{kind}: {said}"
        finally:
            self.faulty = False
        self.state = self.look(kind)

    def _options(self) -> Iterator[tuple[float, str, Callable[[], str]]]:
        rng, state = self.rng, self.state
        intents = sorted(state.intents, key=_stable)
        rung = [*intents, *self.doorbells]
        for held in self.suspects:
            yield 5, "alone", partial(self._isolate, held)
        for node in self.nodes:
            if node.alone and node.is_done:
                yield 5, "drain", partial(self._leave, node)
            if rung and not node.alone:
                yield 6, "claim", partial(self._claim, node, rung)
            if node.queued():
                yield 8, "work", partial(self._work, node)
            for attempt in node.hand.running:
                if attempt.name != HANGS or attempt.context.cancelled.is_set():
                    yield 5, "end", partial(self._end, node, attempt)
            yield 0.4, "beat", partial(self._beat, node)
        if intents:
            yield 1, "ring", lambda: self._ring(intents)
        if state.timers:
            yield 2, "fire", self._fire
            yield 0.5, "peek", self._peek
        if self.stale_due:
            yield 1, "fire", self._fire_stale
        if any(state.relayed.values()):
            yield 4, "relay", self._relay
        if state.unfinished:
            yield 4, "continue", self._continue
        yield 0.4, "sweep", self._sweep
        held_by = {member.partition("|")[0] for member in state.held}
        yield 4.0 if held_by - {name for node in self.nodes for name in node.identities} else 0.4, "reap", self._reap
        live = [seen for seen in state.instances.values() if not seen.ended]
        if self.events_left and live:
            yield 1.5 * self.events_left, "event", lambda: self._event(rng.choice(live).instance)
        for seen in live:
            waits = any(record.kind == "wait" for record in seen.records.values())
            if self.events_left and waits and seen.position and seen.text("turn").startswith("h|"):
                # Between a turn's claim and its commit an event may reach a wait that is being given up.
                yield 10, "event", partial(self._event, seen.instance)
        for kind, call, answered in self.resends:
            yield 1, kind, partial(self._resend, (kind, call, answered))
        for seen in live:
            if seen.text("want"):
                yield 2, "resume", partial(self._control, "resume", seen.instance, _RESUME, {})
        if self.controls and state.instances:
            yield 1.5, self.controls[0], self._next_control
        if self.faults_left:
            for node in self.nodes:
                busy = 1.0 if node.queued() or node.hand.running else 0.1
                yield (3.0 if node.alone or self.setup.deadly else 0.3) * busy, "crash", partial(self._crash, node)
                yield 0.6 if node.fetcher_failed else 0.6 * busy, "drain", partial(self._drain, node)
                yield 0.5 * busy, "freeze", partial(self._freeze, node)
            if self.doorbells:
                yield 0.3, "rq lost", self._lose_rq
        shortened = [seen for seen in live if seen.instance.workflow == "shortened"]
        if shortened and all(seen.position for seen in shortened):
            yield 3, "deploy", self._cut_short
        if self.garbage_left and state.instances:
            yield 1.5, "garbage", self._garbage
        if any(self.planted.values()):
            yield 1, "tidy", self._tidy
        if self.rewind_left and self.snapshot is None:
            yield 0.7, "snapshot", self._take_snapshot
        elif self.rewind_left:
            yield 0.7, "REWIND", self._rewind

    # What workers do

    def _work(self, node: Node, most: int = 0) -> str:
        return f"{node.name} {node.work(most or self.rng.choice((1, 2, 100)))}"

    def _beat(self, node: Node) -> str:
        if self.rng.random() < 0.2:
            node.engine._look_over()
        return f"{node.name} {node.beat()}"

    def _claim(self, node: Node, rung: list[str]) -> str:
        members = self.rng.sample(rung, min(len(rung), self.rng.choice((1, 1, 2, 5))))
        for member in members:
            if member in self.doorbells:
                self.doorbells.remove(member)
        return f"{node.name} {' '.join(map(_short, members))}: {node.claim(members)}"

    def started(self, attempt: Attempt) -> None:
        instance = attempt.instance
        step = (instance.workflow, instance.id, attempt.generation, attempt.name, str(attempt.count))
        given = attempt.context.idempotency_key
        # What a provider has seen is not forgotten when Redis forgets.
        demand(self.keyed.setdefault(given, step) == step, f"{given} is the key of {self.keyed[given]} and of {step}")
        key = (instance.workflow, instance.id, attempt.generation, attempt.seq, attempt.number)
        self.executed[key] += 1
        self.trace.append(
            f"      starts {attempt.name} (step {attempt.seq}, attempt {attempt.number}) of {instance.id}"
        )
        if not self.faults_done:
            demand(self.executed[key] == 1, f"without a fault, {key} is executed twice")
            demand(attempt.number == attempt.fails + 1, f"without a fault, an attempt before {key} came to nothing")

    def releases(self, items: list[dict[str, Any]]) -> None:
        for item in items:
            if item["how"] == "drain":
                demand(item["t"] not in self.finished, f"a step that has run to its end is given back: {item}")
                self.given_back += 1

    def _end(self, node: Node, attempt: Attempt, *, kindly: bool = False) -> str:
        what = f"{node.name} {attempt.name} (step {attempt.seq}) of {attempt.instance.id}"
        fails = attempt.name == FLAKY and self.rng.random() < (0.2 if kindly else 0.5)
        if fails or attempt.name == HANGS:
            blob = failure.capture(RuntimeError("flaky"))
            failed = attempt.fails + 1
            delay = None
            if retries.should_retry(attempt.config, failed, failure.Failure.from_blob(blob)):
                delay = retries.delay_ms(attempt.config.retries, failed)
            node.hand.end(attempt, Outcome(error=blob, retry_delay_ms=delay))
            return f"{what} fails"
        self.results += 1
        value = {"x": self.results, "in": list(attempt.callback.args), "gen": attempt.generation, "by": attempt.token}
        node.hand.end(attempt, Outcome(value=codec.encode(value, what="a result")))
        return f"{what} gives {self.results}"

    def _crash(self, node: Node) -> str:
        """A process dies. Its parent has seen it, or somebody finds out, or nobody does until its lease is over."""
        self._fault("crash")
        node.close()
        said = self._replaced(node)
        how = "seen" if self.setup.deadly else self.rng.choice((None, "gone", "seen", "seen"))
        if how is None:
            return said
        if how == "seen" and node.alone:
            for held in (Held.parse(member) for member in self.state.held):
                if held.worker in node.identities:
                    self.blamed[held.workflow, held.id, held.generation, held.seq if held.kind == "a" else 0] += 1
        try:
            processes.bury(self.client_store, sorted(node.identities), how)
        except redis_py.RedisError as error:
            return f"{said}; {how}, but {error}"
        return f"{said}; {how}"

    def _drain(self, node: Node) -> str:
        """No fault as long as nothing that has begun is given back: then no callback may run twice."""
        self.faults_left -= 1
        given_back = self.given_back

        def meanwhile() -> None:
            for attempt in list(node.hand.running):
                if attempt.name != HANGS and self.rng.random() < 0.7:
                    self.trace.append(f"      {self._end(node, attempt)}")

        said = node.drain(self.rng.choice((0, 1, 3, 6)), meanwhile)
        if self.given_back > given_back:
            self.faults_left += 1
            self._fault("drain")
        return f"{said}, {self._replaced(node)}"

    def _replaced(self, node: Node) -> str:
        self.nodes.remove(node)
        if node.alone:
            return f"{node.name} is no more"
        return f"{node.name} is no more, {self._new_node().name} takes its place"

    def _isolate(self, held: Held) -> str:
        self.suspects.remove(held)
        if self.rng.random() < 0.1:
            self.suspects.append(held)  # asked for twice: the second finds it gone
        node = self._new_node(alone=True)
        return f"{node.name} {held.kind}{held.seq}@{held.id} {node.take_over(held)}"

    def _leave(self, node: Node) -> str:
        self.nodes.remove(node)
        return f"{node.name} has nothing more to do {node.drain(0, lambda: None)}"

    def _freeze(self, node: Node) -> str:
        """The worker misses its lease, or is taken for dead, and may find out late."""
        self._fault("freeze")
        self._expire({node.engine.lease.worker}, self.rng.choice((FOUND_GONE, LAPSED)))
        said = self._reap() if self.rng.random() < 0.7 else "not yet reaped"
        return f"{node.name} {said}"

    def _cut_short(self) -> str:
        """Code that has lost the greater part of ``run`` is deployed, works for a while, and is mended: no instance may
        end by it, because all of them have asked for more."""
        said = []
        with self._short_code():
            for _ in range(self.rng.randint(2, 8)):
                with mock.patch.object(programs, "SHORT", True):
                    said.append(self._something_of_workers())
                self.state = self.look("deploy")
            with mock.patch.object(programs, "SHORT", True):
                for node in self.nodes:
                    while any(isinstance(item, Contradicted | Compare) for item in _items(node.engine.arrivals)):
                        said.append(self._work(node, 100))
            for seen in self._read().instances.values():
                if seen.text("want") == "park":
                    self.look_store.call(call_one(self.keys, _RESUME, seen.instance, {}))
        return "; ".join(said)

    @contextmanager
    def _short_code(self) -> Iterator[None]:
        complained = list(self.complaints.said)
        self.is_short = True
        for node in self.nodes:
            node.engine._replays.warm.clear()
        yield
        for node in self.nodes:
            node.engine._replays.warm.clear()
        self.is_short = False
        new = self.complaints.said[len(complained) :]
        self.complaints.said[:] = complained + [one for one in new if not one.startswith("parked: ")]

    def _something_of_workers(self) -> str:
        rung = sorted(self.state.intents, key=_stable)
        options: list[Callable[[], str]] = []
        for node in self.nodes:
            if rung and not node.alone:
                options.append(partial(self._claim, node, rung))
            if node.queued():
                options.append(partial(self._work, node))
            for attempt in node.hand.running:
                if attempt.instance.workflow == "shortened":
                    options.append(partial(self._end, node, attempt))
        if self.state.timers:
            options.append(self._fire)
        return self.rng.choice(options)() if options else "nothing"

    # What orchestrators do

    def _ring(self, intents: list[str]) -> str:
        member = self.rng.choice(intents)
        self.doorbells.append(member)
        return _short(member)

    def _lose_rq(self) -> str:
        self._fault("rq")
        self.doorbells.clear()
        return ""

    def _due(self, *, early: bool = False) -> list[str]:
        return sorted((m for m, due in self.state.timers.items() if early or due <= self.clock.ms), key=_stable)

    def _peek(self) -> str:
        self.stale_due = self._due(early=True)
        return "an orchestrator reads the timers and acts later"

    def _fire(self) -> str:
        due = self.rng.choice(sorted(self.state.timers.values()))
        # A little early, on the millisecond, or late.
        self.clock.ms = max(self.clock.ms, due + self.rng.choice((-1, 0, 0, 0, 5, 100_000)))
        return self._fired(self._due(early=self.rng.random() < 0.3))

    def _fire_stale(self) -> str:
        members, self.stale_due = self.stale_due, []
        return "stale " + self._fired(members)

    def _fired(self, members: list[str]) -> str:
        by_shard: dict[int, list[str]] = defaultdict(list)
        for member in members:
            timer = Timer.parse(member)
            by_shard[self.keys.instance(timer.workflow, timer.id).shard].append(member)
        try:
            n = sum(
                timers.fire(self.client_store, shard, [*sorted(self.planted[shard, "timers"]), *some])
                for shard, some in by_shard.items()
            )
        except redis_py.RedisError as error:
            return str(error)
        return f"{n} of {' '.join(map(_short, members))}"

    def _relay(self) -> str:
        try:
            return str(sum(relay.deliver(self.client_store, shard) for shard in range(self.keys.shards)))
        except redis_py.RedisError as error:
            return str(error)

    def _continue(self) -> str:
        """A crash between two slices is anything else that happens between two of these."""
        chosen = self.rng.sample(self.state.unfinished, self.rng.randint(1, len(self.state.unfinished)))
        by_shard: dict[int, list[bytes]] = defaultdict(list)
        for member in chosen:
            one = Unfinished.parse(member)
            by_shard[self.keys.instance(one.workflow, one.id).shard].append(member.encode())
        try:
            for shard, members in by_shard.items():
                unfinished.go_on(self.client_store, shard, members)
        except redis_py.RedisError as error:
            return str(error)
        return " ".join(chosen)

    def _sweep(self) -> str:
        try:
            n = sum(sum(sweep.pages(self.client_store, shard)) for shard in range(self.keys.shards))
        except redis_py.RedisError as error:
            return str(error)
        demand(n == 0 or self.spoilt, "the sweep found something to repair on a healthy shard")
        return "nothing to repair"

    def _expire(self, workers: set[str], score: int) -> None:
        for shard in range(self.keys.shards):
            key = self.keys.shard_key(shard, "workers")
            for worker in workers:
                self.client.zadd(key, {worker: score}, xx=True)

    def _reap(self) -> str:
        """Everybody whose lease is over; a crashed worker's is, by now."""
        alive = set().union(*(node.identities for node in self.nodes))
        n = 0
        for shard in range(self.keys.shards):
            key = self.keys.shard_key(shard, "workers")
            for blob, score in self.client.zrange(key, 0, -1, withscores=True):
                worker = blob.decode()
                if worker not in alive or score <= LAPSED:
                    if score > LAPSED:
                        self.client.zadd(key, {worker: LAPSED}, xx=True)
                    try:
                        n += reaper.reap(self.client_store, shard, worker) or 0
                    except redis_py.RedisError as error:
                        return str(error)
        return f"{n} released"

    # What clients do

    def _event(self, instance: Instance) -> str:
        self.events_left -= 1
        ev = f"ev{self.events_left}"
        kind = self.rng.choice(EVENT_TYPES if instance.workflow == "types" else EVENT_TYPES[:1])
        item = {"i": 1, "ev": ev, "ty": kind, "p": codec.encode({"event": ev}, what="a payload")}
        call = call_one(self.keys, SEND_EVENT, instance, {"items": [item], "max": 100})

        def answered(answer: Any) -> None:
            if self._is_spoilt(instance.workflow, instance.id):
                return
            demand(answer[0] in (b"delivered", b"buffered", b"ended", b"unknown"), f"send_event said {answer}")
            seen = self.look_one(instance)
            if answer[0] in (b"delivered", b"buffered") and seen is not None and not seen.ended:
                known = self.answered[instance.workflow, instance.id, seen.generation]
                # An event of a former life is remembered too, and gone with that life.
                if any(entry in _events_of(seen) for entry in [ev]):
                    known.append(ev)

        return f"{ev} ({kind}) to {instance.id} {self._send('event', call, answered)}"

    def _send(self, kind: str, call: Call, answered: Callable[[Any], None]) -> str:
        try:
            answer = self.client_store.call(call)
        except redis_py.RedisError as error:
            self.resends.append((kind, call, answered))
            return str(error)
        answered(answer)
        return str(answer)

    def _resend(self, one: tuple[str, Call, Callable[[Any], None]]) -> str:
        self.resends.remove(one)
        return "again " + self._send(*one)

    def _next_control(self) -> str:
        kind = self.controls.pop(0)
        instance = self.rng.choice(sorted(self.state.instances.values(), key=lambda seen: seen.instance.id)).instance
        if kind == "pause":
            return self._control(kind, instance, _PAUSE, {})
        cid = f"{kind}{len(self.controls)}"
        if kind == "terminate":
            return self._control(kind, instance, _TERMINATE, {"cid": cid, "x": STOPPED})
        call = restart_call(self.keys, instance, {"cid": cid, "gen": self._generation()})
        return self._call(kind, instance, call)

    def _control(self, kind: str, instance: Instance, which: Script, arguments: dict[str, Any]) -> str:
        return self._call(kind, instance, call_one(self.keys, which, instance, arguments))

    def _call(self, kind: str, instance: Instance, call: Call) -> str:
        return f"{instance.id} {self._send(kind, call, lambda answer: None)}"

    # Anybody writes anything

    def _garbage(self) -> str:
        self.garbage_left -= 1
        self.faults_done += 1
        what = self.rng.choice((self._spoil, self._spoil, self._plant, self._mistype))
        return what()

    def _spoil(self) -> str:
        """What stands in one instance. Nobody waits for it: a parent of one that is parked waits as long as it."""
        roots = [seen for seen in self.state.instances.values() if seen.instance in self.roots and not seen.ended]
        if self.spoilt is not None or not roots:
            return self._plant()
        seen = self.rng.choice(roots)
        self.spoilt = seen.instance
        keys = dict(zip(INSTANCE_KEY_NAMES, self.keys.of_instance(seen.instance), strict=True))
        how = self.rng.choice(("record", "record", "record", "header", "type"))
        if how == "record" and seen.records:
            seq, blob = self.rng.choice(sorted(seen.records)), self.rng.choice(UNREADABLE)
            self.client.hset(keys["o"], seq, blob)
            return f"record {seq} of {seen.instance.id} is {blob[:8]!r}"
        if how == "header":
            name = self.rng.choice(("st", "gen", "pos", "turn", "act", "queue", "created", "rest"))
            self.client.hset(keys["h"], name, b"\xff|")
            return f"{name} of {seen.instance.id}"
        name = self.rng.choice(("h", "j", "o", "m", "q"))
        self.client.delete(keys[name])
        self.client.set(keys[name], "garbage")
        return f"{name} of {seen.instance.id} is a string"

    def _plant(self) -> str:
        """A member that is none, in a key of a shard."""
        shard, name = self.rng.randrange(self.keys.shards), self.rng.choice(sorted(PREFIXES))
        member = PREFIXES[name] + self.rng.choice((b"\xff\xfe", b"", b"|||||", b"a|b|c|" + b"9" * 400 + b"|n|default"))
        key = self.keys.shard_key(shard, name)
        self.planted[shard, name].add(member)
        if name == "relay":
            self.client.hset(key, member, b"\xc1")
        else:
            self.client.zadd(key, {member: 0})
        if name == "held":
            self.client.zadd(self.keys.shard_key(shard, "workers"), {"ghost": LAPSED})
        return f"{name} {shard}: {member[:30]!r}"

    def _mistype(self) -> str:
        """A shard's key of another type: who owns the shard meets it, and derives what is lost."""
        shard, name = self.rng.randrange(self.keys.shards), self.rng.choice(DERIVED)
        self.client.delete(self.keys.shard_key(shard, name))
        self.client.set(self.keys.shard_key(shard, name), "garbage")
        self.planted[shard, name].clear()
        self.look_store.call(call_on(self.keys, _OWN, shard, [], {"t": "one", "ttl": shards.LEASE_MS}))
        arguments = {"t": "one", "n": BATCH, "u": unfinished.BATCH, "again": RING_AGAIN_MS}
        arguments |= {"rate": RINGS_PER_SECOND, "again_max": RING_AGAIN_MS_MAX}
        demand(self.look_store.call(call_on(self.keys, _DISPATCH, shard, [], arguments))[8], "nothing is to be mended")
        return f"{name} {shard} was a string, {sum(sweep.pages(self.look_store, shard, everything=True))} mended"

    def _tidy(self) -> str:
        """What an orchestrator does with the keys of its shards, where something is planted."""
        try:
            for (shard, name), members in self.planted.items():
                store, found = self.client_store, sorted(members)
                match name:
                    case "timers":
                        timers.fire(store, shard, found)
                    case "intents":
                        dispatch.ring(store, shard, found)
                    case "held":
                        reaper.reap(store, shard, "ghost")
                    case "relay":
                        relay.deliver(store, shard)
                    case "index":
                        list(sweep.pages(store, shard))
                    case "retire":
                        sweep.retire(store, shard, found)
                    case "unfinished":
                        unfinished.go_on(store, shard, found)
        except redis_py.RedisError as error:
            return str(error)
        for (shard, name), members in self.planted.items():
            key = self.keys.shard_key(shard, name)
            left = self.client.hkeys(key) if name == "relay" else self.client.zrange(key, 0, -1)
            demand(not members & set(left), f"still in {key}: {members}")
            noted = {note.key for note in aside.notes(self.look_store, shard, 1000)[1]}
            demand(not members or key in noted, f"nobody says what was in {key}: {members}")
        self.planted.clear()
        return "set aside"

    def _is_spoilt(self, workflow: str, id: str) -> bool:
        return self.spoilt is not None and (workflow, id) == self.spoilt[1:]

    def _of_spoilt(self, member: bytes | str) -> bool:
        """Whether a member of a shard's key speaks of it."""
        text = f"|{member if isinstance(member, str) else member.decode()}|"
        if self.spoilt is None:
            return False
        if f"|{self.spoilt.workflow}|{self.spoilt.id}|" in text:
            return True
        parts = text.split("|")
        return len(parts) == 6 and (parts[2], parts[4]) == self.spoilt[1:]  # a line of the index

    def _stands_still(self) -> bool:
        """Whether the one that somebody has written to has ended, is parked, or is as good as absent."""
        if self.spoilt is None:
            return True
        # No effect on one that is not paused.
        for again in (True, False):
            try:
                status, want = self.client.hmget(self.keys.header(self.spoilt), "st", "want")
            except redis_py.ResponseError:
                return True
            if want == b"park" or status in [one.value.encode() for one in FINAL]:
                return True
            if again:
                answer = self.look_store.call(call_one(self.keys, _RESUME, self.spoilt, {}))
                if answer in (b"unreadable", b"unknown"):
                    return True
        self.state = self.look("resume")
        return False

    def _is_noted(self, instance: Instance) -> bool:
        about = f":i:{instance.workflow}:{instance.id}:"
        return any(about in note.key for note in aside.notes(self.look_store, instance.shard, 1000)[1])

    def _check_spoilt(self) -> None:
        """It has come to its end, or it stands still and says why."""
        if self.spoilt is None:
            return
        if self.client.type(self.keys.header(self.spoilt)) == b"hash":
            status, want, reason = self.client.hmget(self.keys.header(self.spoilt), "st", "want", "reason")
            if status in [one.value.encode() for one in FINAL]:
                return
            demand(want != b"park" or reason, f"{self.spoilt} is parked, and does not say why")
        else:
            self.look_store.call(call_one(self.keys, _PAUSE, self.spoilt, {}))
        demand(self._is_noted(self.spoilt), f"nobody says what is wrong with {self.spoilt}")

    # Redis forgets

    def _take_snapshot(self) -> str:
        keys = self.client.keys("*")
        blobs = [self.client.dump(key) for key in keys]
        answered = {key: list(found) for key, found in self.answered.items()}
        self.snapshot = _Snapshot(dict(zip(keys, blobs, strict=True)), answered, dict(self.before))
        return ""

    def _rewind(self) -> str:
        assert self.snapshot is not None
        self.faults_done += 1
        self.rewind_left = False
        self.client.flushdb()
        for key, blob in self.snapshot.keys.items():
            self.client.restore(key, 0, blob)
        self.answered = defaultdict(list, {key: list(found) for key, found in self.snapshot.answered.items()})
        self.before = dict(self.snapshot.moments)
        # Every connection ends with the server; each finds out for itself, at its next use.
        for node in self.nodes:
            for store in node.stores:
                store.broken = True
        return ""

    # The end

    def _finish(self) -> None:
        """No more faults and no new wishes: every instance comes to its end."""
        self.trace.append("from here on nothing fails")
        self.faults_left, self.rewind_left, self.controls, self.events_left = 0, False, [], 0
        for _ in range(2000):
            live = [seen for seen in self.state.instances.values() if not seen.ended]
            if not live and not any(self.state.relayed.values()) and not self.state.unfinished and self._stands_still():
                break
            act = self._next_useful(live)
            if act is None and not live and self.spoilt is not None and self._is_noted(self.spoilt):
                break  # resumed after a part of what it waits for was removed: nobody can know, but a note says it
            if act is None:
                raise Violation(f"stuck: {', '.join(f'{s.instance.id} is {s.status}' for s in live)} {self.spoilt}")
            self._do(*act)
        else:
            raise Violation("no end in sight")
        if any(self.planted.values()):
            self._do("tidy", self._tidy)
        self._check_spoilt()
        for shard in range(self.keys.shards):
            for name in ("timers", "intents", "held", "relay", "unfinished"):
                key = self.keys.shard_key(shard, name)
                left = self.client.hkeys(key) if name == "relay" else self.client.zrange(key, 0, -1)
                demand(all(self._of_spoilt(member) for member in left), f"{key} is left over")
        demand(not self.client.keys("*:x:*"), "records put aside are left over")

    def _next_useful(self, live: list[Seen]) -> tuple[str, Callable[[], str]] | None:
        for seen in live:
            if seen.text("want"):
                return "resume", partial(self._control, "resume", seen.instance, _RESUME, {})
        for node in self.nodes:
            if any(store.broken for store in node.stores) or node.fetcher_failed:
                # What the first call after an outage does: it fails, and all is compared.
                return "claim", partial(self._reconnect, node)
            if node.queued():
                return "work", partial(self._work, node, 100)
            for attempt in node.hand.running:
                if attempt.name != HANGS:
                    return "end", partial(self._end, node, attempt, kindly=True)
        for node in self.nodes:
            if node.engine.lease._former:
                node.beat()
        for held in self.suspects:
            return "alone", partial(self._isolate, held)
        for node in self.nodes:
            if node.alone and node.is_done:
                return "drain", partial(self._leave, node)
            if node.engine._suspects.tokens:
                return "beat", partial(self._run_here, node)
        alive = set().union(*(node.identities for node in self.nodes))
        known = set().union(*self.state.workers.values())
        if any(held.split("|")[0] not in alive for held in self.state.held) and known - alive:
            return "reap", self._reap
        if self.state.unfinished:
            return "continue", self._continue
        if self.state.intents:
            node = self.rng.choice([node for node in self.nodes if not node.alone])
            members = sorted(self.state.intents, key=_stable)
            return "claim", lambda: f"{node.name} {' '.join(map(_short, members))}: {node.claim(members)}"
        if any(self.state.relayed.values()):
            return "relay", self._relay
        if self.state.timers:
            self.clock.ms = max(self.clock.ms, min(self.state.timers.values()))
            return "fire", lambda: self._fired(self._due())
        return None

    def _run_here(self, node: Node) -> str:
        """Nobody has taken over what was handed over."""
        self.clock.ms += int(suspects.HAND_OVER_SECONDS * 1000)
        node.engine._look_over()
        return f"{node.name} {node.beat()}"

    def _reconnect(self, node: Node) -> str:
        for store in node.stores:
            store.broken = False
        node.fetcher_failed = False
        node.engine.reconnected()
        return f"{node.name} finds its connections again"

    # Looking

    def look_one(self, instance: Instance) -> Seen | None:
        h, j, o, m, _, q = self.keys.of_instance(instance)
        with self.client.pipeline(transaction=False) as pipe:
            pipe.hgetall(h)
            pipe.lrange(j, 0, -1)
            pipe.hgetall(o)
            pipe.hgetall(m)
            pipe.zrange(q, 0, -1)
            header, entries, records, mail, queues = pipe.execute()
        if not header:
            return None
        outcome = unpackb(entries.pop()[journal.HEADER_BYTES :]) if b"ended" in header else {}
        return Seen(
            instance,
            {name.decode(): value for name, value in header.items()},
            entries,
            {int(seq): open_record(unpackb(blob)) for seq, blob in records.items()},
            {name.decode(): value for name, value in mail.items()},
            [member.decode() for member in queues],
            outcome,
        )

    def look(self, kind: str) -> State:
        """Read everything, and check everything."""
        state = self._read()
        self._check_shards(state)
        for key, seen in state.instances.items():
            try:
                self._check_step(kind, self.before.get(key), seen)
                self._check_instance(state, seen)
            except Violation as error:
                raise Violation(f"{key[0]} {key[1]}: {error}") from error
        self.before = state.instances
        return state

    def _read(self) -> State:
        state = State()
        shards = range(self.keys.shards)
        with self.client.pipeline(transaction=False) as pipe:
            for shard in shards:
                for name in ("timers", "intents", "held", "workers", "index", "retire", "unfinished"):
                    pipe.zrange(self.keys.shard_key(shard, name), 0, -1, withscores=True)
                pipe.hlen(self.keys.shard_key(shard, "relay"))
            pipe.keys("*:i:*")
            answers = pipe.execute()
        for shard in shards:
            found = answers[shard * 8 : shard * 8 + 8]
            for at, name in (
                (0, "timers"),
                (1, "intents"),
                (2, "held"),
                (4, "index"),
                (5, "retire"),
                (6, "unfinished"),
            ):
                planted = self.planted[shard, name]
                found[at] = [one for one in found[at] if one[0] not in planted]
            state.timers |= {member.decode(): int(score) for member, score in found[0]}
            state.intents += [member.decode() for member, _ in found[1]]
            state.held += [member.decode() for member, _ in found[2]]
            state.workers[shard] = {member.decode() for member, _ in found[3]}
            state.index += [member.decode() for member, _ in found[4]]
            state.retire |= {member.decode(): int(score) for member, score in found[5]}
            state.unfinished += [member.decode() for member, _ in found[6]]
            state.relayed[shard] = found[7]
        state.unfinished.sort()
        for member in state.unfinished:
            one = Unfinished.parse(member)
            if one.kind == "x":
                key = self.keys.remains(self.keys.instance(one.workflow, one.id), one.token)
                records = {int(seq): open_record(unpackb(blob)) for seq, blob in self.client.hgetall(key).items()}
                demand(records, f"nothing is there to be cleaned: {member}")
                state.remains[one.workflow, one.id, one.generation] = records
        parts = [key.decode().split(":") for key in answers[-1]]
        names = sorted({(part[2], part[3]) for part in parts if part[4] != "x"})
        for workflow, id in names:
            if self._is_spoilt(workflow, id):
                continue
            seen = self.look_one(self.keys.instance(workflow, id))
            demand(seen is not None, f"keys without a header: {workflow} {id}")
            assert seen is not None
            state.instances[workflow, id] = seen
        return state

    def _check_shards(self, state: State) -> None:
        """Every place in a shard has its record or turn; that each record has its place is asked per instance."""
        instances = state.instances
        for member, due in state.timers.items():
            if self._of_spoilt(member):
                continue
            timer = Timer.parse(member)
            record = state.record(timer.workflow, timer.id, timer.generation, timer.seq)
            demand(record, f"timer without its record: {member}")
            assert record
            demand(_state(record) in ("wait", "back"), f"timer of a record that does not wait: {member}")
            seen = instances[timer.workflow, timer.id]
            if seen.generation == timer.generation and not seen.ended and "walk" not in seen.rest:
                demand(seen.moment_of(record) == due, f"timer at another moment than its record: {member}")
                demand(not seen.text("want"), f"timer in paused time: {member}")
        for member in state.intents:
            if self._of_spoilt(member):
                continue
            intent = Intent.parse(member)
            seen = instances.get((intent.workflow, intent.id))
            if intent.kind == "t":
                demand(seen and seen.generation == intent.generation, f"intent without its instance: {member}")
                assert seen is not None
                demand(seen.text("turn") == f"r|{intent.nonce}", f"intent without its turn: {member}")
            else:
                record = state.record(intent.workflow, intent.id, intent.generation, intent.seq)
                demand(record and _state(record) == "ready", f"intent without its record: {member}")
                assert isinstance(record, OpenStep)
                demand(record.intent == intent.nonce, f"intent with another nonce: {member}")
        for member in state.held:
            if self._of_spoilt(member):
                continue
            held = Held.parse(member)
            seen = instances.get((held.workflow, held.id))
            assert seen is not None
            if held.kind == "t":
                demand(seen.generation == held.generation, f"held without its instance: {member}")
                demand(seen.text("turn") == f"h|{held.worker}|{held.token}", f"held without its turn: {member}")
            else:
                record = state.record(held.workflow, held.id, held.generation, held.seq)
                demand(record and _state(record) == "held", f"held without its record: {member}")
                assert isinstance(record, OpenStep)
                demand(
                    (record.by, record.token) == (held.worker, held.token),
                    f"held under another token: {member}",
                )
            shard = seen.instance.shard
            demand(held.worker in state.workers[shard], f"held by a worker that no reaper looks at: {member}")
        wanted = sorted(
            f"{seen.status}|{seen.instance.workflow}|{seen.text('created')}|{seen.instance.id}"
            for seen in instances.values()
        )
        listed = sorted(member for member in state.index if not self._of_spoilt(member))
        demand(listed == wanted, f"the index says {listed}, not {wanted}")
        ended = sorted(
            f"{seen.instance.workflow}|{seen.instance.id}|{seen.generation}"
            for seen in instances.values()
            if seen.ended
        )
        retiring = sorted(member for member in state.retire if not self._of_spoilt(member))
        demand(retiring == ended, f"to be retired are {retiring}, not {ended}")

    def _check_step(self, kind: str, before: Seen | None, seen: Seen) -> None:
        if before is None or kind == "REWIND":
            return
        if before.generation == seen.generation:
            demand(seen.journal[: len(before.journal)] == before.journal, "the journal was rewritten")
            demand(seen.position >= before.position, "the decided position went back")
            demand(not before.ended or seen.status == before.status, f"{before.status} was left for {seen.status}")
            new = seen.journal[len(before.journal) :]
            for blob in new:
                self._check_new_entry(before, blob)
            accepted = [unpackb(blob[journal.HEADER_BYTES :])[b"ac"] for blob in new if blob[1:2] == b"E"]
            demand(accepted == sorted(accepted), f"events were delivered at once in the order {accepted}")
            demand(not accepted or "at" not in seen.rest, f"events {accepted} were delivered before all is open")
            for type in EVENT_TYPES if accepted else ():
                left = seen.queue("m", type)[:1] if seen.queue("w", type) else []
                demand(not left or left[0] > accepted[-1], f"event {accepted[-1]} was delivered before {left}")
            if before.text("want") and not seen.text("want") and not seen.ended:
                stood = float(seen.text("stood")) - float(before.text("stood") or 0)
                demand(stood == self.clock.ms - float(before.text("paused_at")), f"time stood still for {stood} ms")
        else:
            demand(kind == "restart", f"a new generation by {kind}")
        if before.status != seen.status or before.generation != seen.generation:
            allowed = _reachable(before.status, HAPPENINGS.get(kind, ()))
            demand(seen.status in allowed, f"{before.status} became {seen.status} by {kind}")

    def _check_new_entry(self, before: Seen, blob: bytes) -> None:
        entry = journal.decode(blob)
        if isinstance(entry, journal.Slept | journal.TimedOut) and entry.seq in before.records:
            due = before.moment_of(before.records[entry.seq])
            demand(self.clock.ms >= due, f"timer {entry.name} fired {due - self.clock.ms} ms early")
        if isinstance(entry, journal.Settled) and entry.value is not None:
            # Between two looks nobody can claim a step and settle it too.
            token = codec.decode(entry.value)["by"]
            demand(
                getattr(before.records.get(entry.seq), "token", None) == token,
                f"step {entry.seq}: a result nobody waits for",
            )

    def _check_instance(self, state: State, seen: Seen) -> None:
        records, want, turn = seen.records, seen.text("want"), seen.text("turn")
        oracle = self._oracle(seen)
        by_state = Counter(_state(record) for record in records.values())
        active = by_state["ready"] + by_state["held"]
        prefix = self._check_journal(seen, oracle)
        self._check_mail(seen, oracle)
        if seen.ended:
            left = seen.mail or seen.queues or turn or want
            demand(not left, "something is left of an ended instance")
            # A walk may have met the last of them without knowing it.
            demand(not records or "clear" in seen.rest, "open records of an ended instance")
            self._check_unfinished(state, seen)
            demand(int(seen.text("act") or 0) == 0, "a counter of an ended instance")
            self._check_end(seen, oracle, prefix)
            return
        demand(prefix.end is None, "run() has ended, the instance has not")
        is_contradicted = self.is_short and seen.instance.workflow == "shortened"
        demand(want != "park" or is_contradicted, f"parked: {seen.text('reason')}")
        # A void answer in the tail may be of a wait that is open again: it was detached, and is awaited once more.
        late = (
            {
                journal.decode(blob).seq  # type: ignore[union-attr]
                for at, blob in enumerate(seen.journal)
                if at >= seen.position and blob[1:2] not in (b"0", b"W")
            }
            - {seq for seq in oracle.void_steps(seen.position) if seq in records}
        )
        wanted = {seq: told for seq, told in prefix.pending.items() if seq not in late}
        withdrawn, opened = seen.staged()
        expected_records = (set(records) - set(withdrawn)) | opened
        demand(
            expected_records == set(wanted), f"open are {sorted(expected_records)}, run() waits for {sorted(wanted)}"
        )
        for seq, record in records.items():
            if seq not in wanted:
                continue
            told = (record.kind, record.name, record.count)
            demand(told == wanted[seq][:3], f"record {seq} is {told}, run() asked for {wanted[seq]}")
            self._check_record(state, seen, seq, record)
        demand(int(seen.text("act") or 0) == active, f"act is {seen.text('act')}, {active} are ready or held")
        due = sorted(seq for seq, record in records.items() if _state(record) == "due")
        demand(due == seen.queue("d"), f"due are {due}, queued are {seen.queue('d')}")
        self._check_unfinished(state, seen)
        demand(want or not due or "due" in seen.rest, f"{due} are due and nobody hands them out")
        undecided = len(seen.journal) > seen.position
        if want:
            demand(not turn, "a turn while paused")
            demand(not by_state["ready"] or "walk" in seen.rest, "handed out while paused")
            expected = Status.WAITING_FOR_PAUSE if active else Status.PAUSED
        elif not seen.text("started"):
            expected = Status.QUEUED
        else:
            goes_on = turn or active or seen.rest.keys() & {"due", "at", "mail"}
            expected = Status.RUNNING if goes_on else Status.WAITING
        demand(seen.status == expected, f"is {seen.status}, should be {expected}")
        demand(want or turn or not undecided or "at" in seen.rest, "undecided entries, and nobody woken")
        token = seen.rest.get("token", b"").decode()
        demand(not token or turn.endswith(token), "parts of a decision whose turn is lost")
        demand("at" not in seen.rest or not turn, "a turn beside a decision that is not applied whole")
        queue = seen.text("queue") or "default"
        member = f"t|{seen.instance.workflow}|{seen.instance.id}|{seen.generation}|0|{turn[2:]}|{queue}"
        if turn.startswith("r|"):
            demand(member in state.intents, "a turn without its intent")
        elif turn:
            _, worker, token = turn.split("|")
            holds = f"{worker}|t|{seen.instance.workflow}|{seen.instance.id}|{seen.generation}|0|{token}"
            demand(holds in state.held, "a turn without its holder")

    def _check_record(self, state: State, seen: Seen, seq: int, record: Open) -> None:
        who = f"{seen.instance.workflow}|{seen.instance.id}|{seen.generation}|{seq}"
        match record:
            case OpenStep(state="ready"):
                rung = f"a|{who}|{record.intent}|{record.queue}" in state.intents
                demand(rung or "walk" in seen.rest, f"step {seq} is ready without an intent")
            case OpenStep(state="held"):
                blamed = self.blamed[seen.instance.workflow, seen.instance.id, seen.generation, seq]
                demand(
                    record.deaths <= 1 + blamed,
                    f"step {seq} has {record.deaths} deaths to its name, {blamed} of them its own",
                )
                demand(f"{record.by}|a|{who}|{record.token}" in state.held, f"step {seq} is held by nobody")
            case OpenSleep() | OpenWait() | OpenStep(state="back"):
                kind = {"sleep": "s", "wait": "w", "do": "b"}[record.kind]
                armed = f"{kind}|{who}" in state.timers
                demand(armed or seen.text("want") or "walk" in seen.rest, f"step {seq} waits without a timer")

    def _check_unfinished(self, state: State, seen: Seen) -> None:
        member = f"i|{seen.instance.workflow}|{seen.instance.id}|{seen.generation}"
        demand((member in state.unfinished) == seen.unfinished, f"{seen.rest} and unfinished are {state.unfinished}")
        parts = sum(name.startswith("p:") for name in seen.mail)
        expected = seen.rest.get("parts", 0) - seen.rest.get("at", 1) + 1
        demand(parts == expected, f"{parts} parts of a decision, {expected} are to be applied")

    def _check_journal(self, seen: Seen, oracle: Oracle) -> Prefix:
        demand(0 <= seen.position <= len(seen.journal), "the position is outside the journal")
        answered: set[int] = set()
        for at, blob in enumerate(seen.journal):
            kind = blob[1:2]
            if kind in (b"0", b"W"):
                continue
            entry = journal.decode(blob)
            assert not isinstance(entry, journal.Start)
            if at not in oracle.void_entries:
                demand(entry.seq not in answered, f"two results for step {entry.seq}")
                answered.add(entry.seq)
            if isinstance(entry, journal.Settled) and entry.value is not None:
                value = codec.decode(entry.value)
                demand(value["gen"] == seen.generation, f"step {entry.seq} has the result of a former life")
                expected = oracle.expected_inputs.get(entry.seq, ())
                demand(
                    value["in"] == list(expected),
                    f"step {entry.seq} was computed from {value['in']}, the journal has {list(expected)}",
                )
        return oracle.prefixes[seen.position]

    def _check_mail(self, seen: Seen, oracle: Oracle) -> None:
        if seen.ended:
            return
        # Replay will ignore what a wait gets that has been cancelled for good.
        cancelled = oracle.prefixes[seen.position].cancelled
        withdrawn, _ = seen.staged()
        delivered: list[int] = []
        names: list[str] = []
        for at, blob in enumerate(seen.journal):
            if blob[1:2] != b"E":
                continue
            entry = journal.decode(blob)
            assert isinstance(entry, journal.EventReceived)
            # What a part of a decision will put back is not back yet.
            not_yet = entry.seq in withdrawn and f"g|{_ordered(entry.seq)}|{at}" in seen.queues
            if (at in oracle.void_entries if at < seen.position else entry.seq in cancelled) and not not_yet:
                continue
            delivered.append(unpackb(blob[journal.HEADER_BYTES :])[b"ac"])
            names.append(entry.event_id)
        box = sorted(number for kind in EVENT_TYPES for number in seen.queue("m", kind))
        kept = sorted(int(name[2:]) for name in seen.mail if name.startswith("e:"))
        demand(box == kept, f"the mailbox lists {box} and keeps {kept}")
        self._check_notes(seen, set(box), set(withdrawn))
        accepted = int(seen.mail.get("n", b"0"))
        demand(
            sorted(delivered + box) == list(range(1, accepted + 1)),
            f"of {accepted} events, {delivered} were delivered and {box} wait",
        )
        if seen.instance.workflow not in ("random", "types"):
            demand(delivered == sorted(delivered), f"events were delivered in the order {delivered}")
        for number in box:
            names.append(unpackb(seen.mail[f"e:{number}"])[b"ev"].decode())
        demand(len(names) == len(set(names)), f"an event was accepted twice: {names}")
        for ev in self.answered.get((seen.instance.workflow, seen.instance.id, seen.generation), ()):
            demand(ev in names, f"{ev} was acknowledged and is gone")
        for kind in EVENT_TYPES:
            waits = [record for record in seen.records.values() if isinstance(record, OpenWait)]
            waiters = sorted(record.seq for record in waits if record.type == kind)
            listed = seen.queue("w", kind)
            demand(waiters == listed, f"{waiters} wait for {kind}, the queue says {listed}")
            if waiters and seen.queue("m", kind):
                demand("mail" in seen.rest, "mail beside an open wait")
                looked_for = {member.rpartition("|")[2] for member in seen.queues if member.startswith("c|")}
                demand(kind in looked_for, f"nobody will look for the mail of {kind}")

    def _check_notes(self, seen: Seen, box: set[int], withdrawn: set[int]) -> None:
        """Of each event in an entry that is not decided over it is known where it went, unless it was put back."""
        delivered: dict[int, int] = {}
        last: dict[int, int] = {}
        for at, blob in enumerate(seen.journal):
            if blob[1:2] == b"E":
                body = unpackb(blob[journal.HEADER_BYTES :])
                last[body[b"ac"]] = at
                if at >= seen.position:
                    delivered[at] = body[b"ac"]
        wanted = sorted(at for at, number in delivered.items() if last[number] == at and number not in box)
        notes = [member.split("|") for member in seen.queues if member.startswith("g|")]
        noted = sorted(int(at) for _, seq, at in notes if int(at) >= seen.position or int(seq[1:]) not in withdrawn)
        demand(noted == wanted, f"events are noted in the entries {noted}, not {wanted}")

    def _check_end(self, seen: Seen, oracle: Oracle, prefix: Prefix) -> None:
        if seen.status is Status.COMPLETE:
            demand(isinstance(prefix.end, Returned), "complete, but run() has not returned")
            assert isinstance(prefix.end, Returned)
            stored = codec.decode(seen.outcome[b"v"])
            demand(stored == codec.decode(codec.encode(prefix.end.value, what="")), f"the output is {stored}")
        elif seen.status is Status.ERRORED:
            stalled = failure.Failure.from_blob(seen.outcome[b"x"]).name == "StalledError"
            demand(isinstance(prefix.end, Raised) or stalled, "errored, but run() has not raised")

    def _oracle(self, seen: Seen) -> Oracle:
        key = (seen.instance.workflow, seen.instance.id, seen.generation)
        oracle = self.oracles.get(key)
        if oracle is None or oracle.blobs != seen.journal[: len(oracle.blobs)]:
            if oracle is not None:
                oracle.close()
            oracle = self.oracles[key] = Oracle(seen)
        # An end from outside withdraws what run() still waits for, and nothing replays that.
        for blob in seen.journal[len(oracle.blobs) : seen.position if seen.ended else None]:
            oracle.feed(blob)
        return oracle


def _ordered(n: int) -> str:
    return f"{chr(64 + len(str(n)))}{n}"


def _events_of(seen: Seen) -> set[str]:
    found = {unpackb(blob)[b"ev"].decode() for name, blob in seen.mail.items() if name.startswith("e:")}
    for blob in seen.journal:
        if blob[1:2] == b"E":
            found.add(unpackb(blob[journal.HEADER_BYTES :])[b"ev"].decode())
    return found


def _stable(member: str) -> tuple[str, ...]:
    """Order members by what a seed determines: their nonces are random."""
    parts = member.split("|")
    return (parts[0], *parts[1:3], parts[4])


def _short(member: str) -> str:
    parts = member.split("|")
    return f"{parts[0]}{parts[4]}@{parts[2]}"


def _reachable(status: Status, happenings: tuple[str, ...]) -> set[Status]:
    found = {status}
    while True:
        more = {
            after
            for before in found
            for happening in happenings
            for after in TRANSITIONS.get((before, happening), frozenset())
        }
        if more <= found:
            return found
        found |= more


def play(client: redis_py.Redis, seed: int, mutant: Mutant | None = None) -> World:
    """One run.

    Raises:
        AssertionError: with the seed, everything that happened, and what should not have.
    """
    world = World(client, seed, mutant)
    try:
        return world.play()
    except Exception as error:
        told = "\n".join(world.trace)
        raise AssertionError(f"{told}\n\n{type(error).__name__}: {error}\nrepeat with SIM_SEED={seed}") from error
