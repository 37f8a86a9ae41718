"""What a run knows, and what may fail in it."""

from __future__ import annotations

import dataclasses
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis as redis_py

from tests.driving import HandClock
from tests.invariants import programs
from tests.invariants.simulation.access import SimStore
from tests.invariants.simulation.mutant import Mutant, sliced
from tests.invariants.simulation.node import Node
from tests.invariants.simulation.oracle import Oracle
from tests.invariants.simulation.scheduled import Scheduled, scheduled
from tests.invariants.simulation.seen import Seen, State
from tests.invariants.simulation.setup import meeting, meets, setup_of
from tests.invariants.simulation.violation import demand
from worker.attempt import Attempt
from workflows.storage.concurrency import Limits
from workflows.storage.keys import Held, Holder, Instance, Keyspace
from workflows.storage.records import OpenStep, open_record
from workflows.storage.store import Call, unpackb
from workflows.values import codec
from workflows.values.concurrency import Concurrency
from workflows.values.listening import AnswerToken


@dataclass(slots=True)
class Snapshot:
    """What Redis falls back to: keys as they are dumped, with how many ms they still have, 0 = for ever."""

    keys: dict[bytes, tuple[bytes, int]]
    answered: dict[tuple[str, str, str], list[str]]
    heard: dict[tuple[str, str, str, int], int]
    moments: dict[tuple[str, str], Seen]


class Complaints(logging.Handler):
    """What a worker logs as an error: it goes on after a bug of its own, and only says so.

    Args:
        is_spoilt: of which instances, by workflow and id, there is reason to complain.
    """

    def __init__(self, is_spoilt: Callable[[str, str], bool]) -> None:
        super().__init__(logging.ERROR)
        self._is_spoilt = is_spoilt
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if self._is_spoilt(record.__dict__.get("workflow", ""), record.__dict__.get("instance", "")):
            return
        why = record.exc_info[1] if record.exc_info else record.__dict__.get("reason", "")
        self.said.append(f"{record.getMessage()}: {why!r}")


class World:
    """One run so far; ``trace`` says how it came to this."""

    def __init__(self, client: redis_py.Redis, seed: int, mutant: Mutant | None = None) -> None:
        self.client: Any = client
        self.seed = seed
        self.rng = random.Random(seed)
        self.setup = setup_of(self.rng)
        if mutant is not None and mutant.program:
            aimed = (mutant.program,) * len(self.setup.programs)
            self.setup = dataclasses.replace(self.setup, programs=aimed, events=max(3, self.setup.events))
        is_meeting = mutant is None and meets(seed)
        if is_meeting:
            self.setup = meeting(self.setup, random.Random(f"meeting of {seed}"))
        if mutant is not None and mutant.controls:
            self.setup = dataclasses.replace(self.setup, controls=mutant.controls, slice=2)
        # By a choice of its own, so that it changes nothing in the runs without.
        if random.Random(f"garbage {seed}").random() < 0.1 or (mutant is not None and mutant.garbage):
            self.setup = dataclasses.replace(self.setup, garbage=True, rewind=False)
        # By another choice of its own.
        chance = random.Random(f"limit {seed}")
        self.limits: Limits = dict.fromkeys(programs.NAMES)
        self.limit_changes = 0
        if chance.random() < (0.7 if is_meeting else 0.3) or (mutant is not None and mutant.limited):
            program = chance.choice(self.setup.programs)
            self.setup = dataclasses.replace(self.setup, programs=(program,) * chance.choice((2, 3, 4)))
            if chance.random() < 0.8:
                limit = Concurrency(chance.choice((1, 1, 2)), chance.choice((None, "tenant")))
                self.limits = {**self.limits, program: limit}
            self.limit_changes = chance.choice((0, 0, 1, 2)) if any(self.limits.values()) else 2
        self.is_limit_new = False
        self.lease_ms: int | None = None  # of the owner that permits others to ring
        self.overheard: tuple[int, dict[bytes, bytes]] | None = None
        self.said_again: set[Holder] = set()
        self.parted: set[tuple[str, str]] = set()  # children that were ended by the end of their parents
        self.garbage_done = False
        chance = random.Random(f"schedule {seed}")
        self.schedule: Scheduled | None = None
        if mutant is not None and mutant.scheduled:
            self.limits, self.limit_changes = dict.fromkeys(programs.NAMES), 0
        is_limited = any(self.limits.values()) or self.limit_changes
        if not is_limited and (chance.random() < 0.15 or (mutant is not None and mutant.scheduled)):
            # Whoever starts an ended instance over makes two of them run, which is nobody's fault.
            controls = tuple(one for one in self.setup.controls if one in ("pause", "terminate"))
            self.setup = dataclasses.replace(self.setup, controls=controls)
            self.schedule = scheduled(chance)
            if mutant is not None and mutant.scheduled:
                self.schedule.holds = 6
                self.setup = dataclasses.replace(self.setup, faults=12)
        # By other choices of their own, which change nothing in the runs without.
        self.is_timed = random.Random(f"deadline {seed}").random() < 0.2 or (mutant is not None and mutant.timed)
        chance = random.Random(f"cancel {seed}")
        if not (mutant is not None and mutant.controls) and chance.random() < 0.3:
            controls = [*self.setup.controls, *["cancel"] * chance.choice((1, 1, 2, 3))]
            chance.shuffle(controls)
            self.setup = dataclasses.replace(self.setup, controls=tuple(controls))
        self.clock = HandClock()
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
        self.written: Counter[str] = Counter()  # chunks that were taken in, by token of their attempt
        self.writers: list[Attempt] = []  # all that have begun to write a stream
        self.unwanted: set[str] = set()  # tokens of attempts that were told to stop writing
        self.keyed: dict[str, tuple[str, ...]] = {}
        self.executed: Counter[tuple[str, str, str, int, int]] = Counter()
        self.once: Counter[str] = Counter()
        self.is_rewound = False
        self.generations = 0
        self.controls = list(self.setup.controls)
        self.events_left = self.setup.events
        self.heartbeats_left = 2 * self.setup.events
        self.resends: list[tuple[str, Call, Callable[[Any], None]]] = []
        self.answered: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        self.received: dict[tuple[str, str, str], list[str]] = {}  # by the lives before this one
        self.dropped: dict[tuple[str, str, str], list[str]] = {}  # answers to waits of lives that were over
        self.doorbells: list[str] = []
        self.stale_due: list[str] = []
        self.heard: dict[tuple[str, str, str, int], int] = {}  # when the last heartbeat of a wait was acknowledged
        self.told: dict[str, int] = {}  # what each attempt has said last with its heartbeat, by token
        self.tokens: set[AnswerToken] = set()  # of waits for an answer, open now or before
        self.lines: dict[int, set[str]] = defaultdict(set)  # of waits for a key, open now or before
        self.snapshot: Snapshot | None = None
        self.rewind_left = self.setup.rewind
        self.roots: list[Instance] = []
        self.state = State()
        self.before: dict[tuple[str, str], Seen] = {}
        self.oracles: dict[tuple[str, str, str], Oracle] = {}
        self.healthy_sweep = True
        self.suspects: list[Held] = []
        # Deaths of processes that ran nothing but one step, by that step.
        self.blamed: Counter[tuple[str, str, str, int]] = Counter()
        self.complaints = Complaints(self.is_spoilt)
        self.is_short = False
        self.garbage_left = 3 if self.setup.garbage else 0
        # The one whose keys somebody has written to: of it nothing is known but that it must not stand still unsaid.
        self.spoilt: Instance | None = None
        self.planted: dict[tuple[int, str], set[bytes]] = defaultdict(set)

    def mutated(self, call: Call) -> Call:
        """The same call of a script that takes up as little as this run wants, and that the mutant has changed."""
        original = call.script if self.mutant is None else self.mutant.of(call.script)
        return Call(sliced(original, self.setup.slice), call.keys, call.arguments)

    def next_fault(self) -> str:
        """What becomes of the next call: ``unsent``, ``lost``, ``twice``, or nothing ('')."""
        if not self.faulty or not self.faults_left or self.rng.random() > 0.15:
            return ""
        fault = self.rng.choice(("lost", "lost", "twice", "unsent"))
        self.fault(fault)
        return fault

    def fault(self, what: str) -> None:
        self.faults_left -= 1
        self.faults_done += 1
        self.trace.append(f"      fault: {what}")

    def new_node(self, *, alone: bool = False) -> Node:
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

    def generation(self) -> str:
        self.generations += 1
        return f"g{self.generations}"

    def started(self, attempt: Attempt) -> None:
        """A callback begins: with a key that no other step has, and without faults only once (I9)."""
        instance = attempt.instance
        if attempt.name == programs.STREAMS and attempt.kind == "do":
            self.writers.append(attempt)
        step = (instance.workflow, instance.id, attempt.generation, attempt.name, str(attempt.count))
        given = attempt.context.idempotency_key
        # What a provider has seen is not forgotten when Redis forgets.
        demand(self.keyed.setdefault(given, step) == step, f"{given} is the key of {self.keyed[given]} and of {step}")
        key = (instance.workflow, instance.id, attempt.generation, attempt.seq, attempt.number)
        self.executed[key] += 1
        self.trace.append(
            f"      starts {attempt.name} (step {attempt.seq}, attempt {attempt.number}) of {instance.id}"
        )
        self.check_the_next_attempt_is_told_what_was_said(attempt)
        if attempt.config.at_most_once:
            self.once[given] += 1
            most = attempt.config.retries.limit + 1
            # A Redis that has come back in an earlier state may have forgotten a claim.
            is_forgotten = self.is_rewound or self.is_spoilt(instance.workflow, instance.id)
            demand(is_forgotten or self.once[given] <= most, f"{given} is executed {self.once[given]} times of {most}")
        if not self.faults_done:
            demand(self.executed[key] == 1, f"without a fault, {key} is executed twice")
            is_first = attempt.number == attempt.failed + 1 or attempt.config.every_ms is not None
            demand(is_first, f"without a fault, an attempt before {key} came to nothing")
        demand(attempt.config.every_ms is None or attempt.failed == 0, f"a look in vain failed: {key}")

    def check_the_next_attempt_is_told_what_was_said(self, attempt: Attempt) -> None:
        if self.is_spoilt(attempt.instance.workflow, attempt.instance.id):
            return
        blob = self.client.hget(self.keys.of_instance(attempt.instance)[2], attempt.seq)
        record = None if blob is None else open_record(unpackb(blob))
        if isinstance(record, OpenStep) and record.token == attempt.token:
            details = codec.decode(record.details) if record.details else None
            found = attempt.context.heartbeat_details
            demand(found == details, f"an attempt is told {found}, those before it have said {details}")

    def releases(self, items: list[dict[str, Any]]) -> None:
        """A worker gives these back: nothing of which it has the outcome (I9)."""
        for item in items:
            if item["how"] == "drain":
                demand(item["t"] not in self.finished, f"a step that has run to its end is given back: {item}")
                self.given_back += 1

    def is_spoilt(self, workflow: str, id: str) -> bool:
        """Whether somebody has written to the keys of this one."""
        return self.spoilt is not None and (workflow, id) == self.spoilt[1:]

    def of_spoilt(self, member: bytes | str) -> bool:
        """Whether a member of a shard's key speaks of it."""
        text = f"|{member if isinstance(member, str) else member.decode()}|"
        if self.spoilt is None:
            return False
        if f"|{self.spoilt.workflow}|{self.spoilt.id}|" in text:
            return True
        parts = text.split("|")
        if parts[-2] == "m":  # a line of the index, of one with metadata
            return (parts[2], parts[-3]) == self.spoilt[1:]
        if len(parts) == 6:
            return (parts[2], parts[4]) == self.spoilt[1:]  # a line of the index
        # Who has a slot, or waits for one.
        return len(parts) in (7, 8) and (parts[1], parts[-4]) == self.spoilt[1:]
