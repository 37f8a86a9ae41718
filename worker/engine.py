"""One worker process at work: replays ``run``, starts callbacks, settles outcomes and commits decisions.

One thread does all of that, in batches: whatever arrived while the last round trip was under way goes into the next
one. It never waits for user code: callbacks run elsewhere, and a ``run`` that blocks is interrupted by the guardian.

    claimed attempt ─► replay up to it ─► callback runs elsewhere ─► outcome ─► settle ┐
    claimed turn ────► replay, decide ───────────────────────────────────────► commit ┴► one round trip
                                              next step born held ◄── eager continuation
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from worker.attempt import Attempt, Outcome
from worker.callbacks import Callbacks
from worker.claim import Header, Known, LeaseLost, Task, claim, decline, held_by, intents_of, new_token, pop_call
from workflows.context import StepContext, StepName
from worker.guardian import Guardian
from worker.lease import Lease
from worker.turn import Decision, decide, only_step
from worker.warm import WarmCache, WarmReplay
from workflows import codec, failure, journal, retries
from workflows.app import App
from workflows.batches import numbered
from workflows.clock import monotonic
from workflows.commands import Do
from workflows.env import LazyEnv
from workflows.errors import CorruptPayload, NonDeterminismError, StalledError
from workflows.event import Schedule, ScheduledTime, WorkflowEvent, moment
from workflows.keys import Instance, Intent, rq_handover, rq_queue
from workflows.replay import Replay, RunStalled, Snapshot
from workflows.store import Store, call_on, script, unpackb

_HERE = Path(__file__).parent
_SETTLE = script(_HERE / "settle.lua")
_COMMIT = script(_HERE / "commit.lua")
_RELEASE = script(_HERE / "release.lua")
_log = logging.getLogger("workflows.worker")

STALE, SETTLED, FUSED, FUSED_EAGER = 0, 1, 2, 3
COMMITTED, ENDED, COMMITTED_EAGER = 1, 2, 3
# Fairness: after this many steps, or this long, in a row for one instance the next one goes through the queue.
EAGER_STEPS = 16
EAGER_SECONDS = 0.05
BLOCK_SECONDS = 1.0
PAGE = 512
BACKOFF_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a worker process works.

    Attributes:
        queues: logical names of the queues it serves; one blocking connection each.
        concurrency: attempts at once, and threads for plain callbacks.
        warm: suspended replays kept, and their bytes of journal; 0 replays every turn from scratch.
        grace_seconds: how long a drain waits for attempts in flight.
        stall_seconds: how long ``run`` may block before it is interrupted, and again before the process gives up.
        lease_ms: how long after its last sign of life a worker is taken for dead.
    """

    queues: tuple[str, ...] = ("default",)
    concurrency: int = 64
    warm: int = 10_000
    warm_bytes: int = 256 * 1024 * 1024
    grace_seconds: float = 10.0
    stall_seconds: float = 2.0
    lease_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class _Finished:
    attempt: Attempt
    outcome: Outcome
    ended_ms: int


@dataclass(frozen=True, slots=True)
class _Lost:
    """Held members that Redis no longer attributes to this worker."""

    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Reconnected:
    """A connection failed and works again: a claim's reply may be lost."""


@dataclass(frozen=True, slots=True)
class _GiveBack:
    """A turn whose commit was refused."""

    task: Task


@dataclass(frozen=True, slots=True)
class _Stop:
    pass


_Answered = Callable[[Any], None]
# By shard and by the identity the worker had when it claimed: a script call speaks for one of each.
_Items = dict[tuple[int, str], list[tuple[Instance, dict[str, Any], _Answered]]]


def _no_answer(answer: Any) -> None:
    """For items whose answer changes nothing here."""


@dataclass(slots=True)
class _Round:
    """What one round trip carries, and what to do with each answer; ``tokens`` are those of its tasks."""

    settles: _Items = field(default_factory=lambda: defaultdict(list))
    commits: _Items = field(default_factory=lambda: defaultdict(list))
    releases: _Items = field(default_factory=lambda: defaultdict(list))
    tokens: frozenset[str] = frozenset()

    def add(
        self, items: _Items, worker: str, instance: Instance, item: dict[str, Any], answered: _Answered = _no_answer
    ) -> None:
        items[instance.shard, worker].append((instance, item, answered))


class Engine:
    """Runs the steps and turns of one app.

    Args:
        app: the user's app.
        connect: makes a new store; the engine, the lease and every queue have a connection of their own.
        settings: see ``Settings``.
        on_hopeless: called when ``run`` blocks and cannot be interrupted, or too many threads never end; a worker
            process exits there and its parent starts another.
        bindings: what ``self.env`` holds besides the app's own bindings.
    """

    def __init__(
        self,
        app: App,
        connect: Callable[[], Store],
        settings: Settings,
        *,
        on_hopeless: Callable[[str], None],
        bindings: dict[str, Any] | None = None,
    ) -> None:
        self.app = app
        self.settings = settings
        self.store = connect()
        self._connect = connect
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._warm = WarmCache(settings.warm, settings.warm_bytes)
        self._attempts: dict[str, Attempt] = {}
        self._claiming = threading.Lock()
        self._free = threading.Condition()
        self._slots: set[str] = set()
        self._abandoned: set[str] = set()
        self._draining = threading.Event()
        self._stopped = threading.Event()
        self._extra_bindings = bindings or {}
        self._bindings: dict[str, Any] = {}
        self.callbacks = Callbacks(settings.concurrency, self._deliver, lambda attempt: self._free_slot(attempt.token))
        self.lease = Lease(connect(), settings.lease_ms, self.attempts, self._lost)
        self.guardian = Guardian(self, settings.stall_seconds, on_hopeless)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._fetchers = [
            threading.Thread(target=self._fetch, args=(name,), name=f"fetch-{name}", daemon=True)
            for name in settings.queues
        ]

    # Life -----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the bindings, register the lease and begin to work."""
        self._bindings = self.callbacks.start(self.app, self._extra_bindings)
        self.lease.start()
        self._thread.start()
        self.guardian.start()
        for fetcher in self._fetchers:
            fetcher.start()

    def stop(self) -> None:
        """Drain: no new claims, attempts in flight may end within the grace, the rest goes back at once (F23)."""
        self._draining.set()
        with self._free:
            self._free.notify_all()
        for fetcher in self._fetchers:
            fetcher.join(timeout=BLOCK_SECONDS + 10)
        deadline = monotonic() + self.settings.grace_seconds
        with self._free:
            while self._attempts and monotonic() < deadline:
                self._free.wait(0.05)
        self._queue.put(_Stop())
        self._thread.join(timeout=10)
        self._stopped.set()
        self.guardian.stop()
        self.lease.stop()
        self.callbacks.stop()

    def rescue(self) -> None:
        """Settle what has finished although the engine's thread is stuck, on another connection and without turns."""
        store = self._connect()
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return
            if isinstance(item, _Finished):
                attempt = item.attempt
                wire = attempt.settle_item(1, item.outcome, item.ended_ms, secrets.token_hex(4))
                arguments = {"w": attempt.worker, "items": [wire]}
                try:
                    store.call(call_on(store.keys, _SETTLE, attempt.instance.shard, [attempt.instance], arguments))
                except redis.RedisError:
                    return

    @property
    def engine_thread(self) -> threading.Thread:
        return self._thread

    def attempts(self) -> list[Attempt]:
        """The attempts in flight."""
        return list(self._attempts.values())

    def time_out(self, attempt: Attempt) -> None:
        """Settle an attempt as timed out; its code keeps its slot until it really ends."""
        self._abandoned.add(attempt.token)
        self.callbacks.time_out(attempt)

    def stuck_slots(self) -> int:
        """Slots taken by code that goes on although its attempt has timed out."""
        self._abandoned &= self._slots
        return len(self._abandoned)

    def serves(self, queue_name: str) -> bool:
        return queue_name in self.settings.queues

    # Arrivals, from other threads ---------------------------------------------------------------------------------------

    def _deliver(self, attempt: Attempt, outcome: Outcome) -> None:
        self._queue.put(_Finished(attempt, outcome, self.store.clock.now_ms()))

    def _free_slot(self, token: str) -> None:
        with self._free:
            self._slots.discard(token)
            self._free.notify_all()

    def _lost(self, members: Iterable[str]) -> None:
        self._queue.put(_Lost(tuple(members)))

    def _fetch(self, name: str) -> None:
        """One queue: block until a doorbell rings, take as many as there are free slots, claim what they stand for."""
        store = self._connect()
        rq_name = store.keys.queue(name)
        failures = 0
        while not self._draining.is_set():
            with self._free:
                while len(self._slots) >= self.settings.concurrency and not self._draining.is_set():
                    self._free.wait(0.5)
                room = self.settings.concurrency - len(self._slots)
            if room <= 0:
                continue
            try:
                intents = self._pop(store, rq_name, room)
                if intents:
                    self._claim(store, intents)
                if failures:
                    self._queue.put(_Reconnected())
                failures = 0
            except redis.RedisError as error:
                _log.warning("redis failed", extra={"queue": name, "error": str(error)})
                self._stopped.wait(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])
                failures += 1
        store.close()

    def _pop(self, store: Store, rq_name: str, most: int) -> list[Intent]:
        answer = store.execute_after_blocking_move(
            rq_queue(rq_name), rq_handover(rq_name), BLOCK_SECONDS, pop_call(store.keys.namespace, rq_name, most)
        )
        intents, forged = intents_of(answer)
        for id in forged:
            _log.error("forged job refused", extra={"job": id, "queue": rq_name})
        unknown = [intent for intent in intents if intent.workflow not in self.app.definitions]
        if unknown:
            # Old code, or another app on the same queue: not ours to judge (F24).
            decline(store, unknown)
            _log.warning("unknown workflow put back", extra={"workflow": unknown[0].workflow, "count": len(unknown)})
            intents = [intent for intent in intents if intent.workflow in self.app.definitions]
        return intents

    def _claim(self, store: Store, intents: Sequence[Intent]) -> None:
        # Reconcile must not run while a claim is under way: it would give back what this claim is just getting.
        with self._claiming:
            try:
                tasks = claim(store, self.lease.worker, intents, self._known)
            except LeaseLost:
                self.lease.renew_identity()
                return
            with self._free:
                self._slots.update(task.token for task in tasks if task.kind == "a")
            for task in tasks:
                self._queue.put(task)

    def _known(self, instance: Instance) -> Known | None:
        return self._warm.known(instance)

    # The engine's thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        while True:
            batch = [self._queue.get()]
            while True:
                try:
                    batch.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            try:
                if self._work(batch):
                    return
                failures = 0
            except redis.RedisError as error:
                _log.warning("redis failed", extra={"error": str(error)})
                self._recover(batch, failures)
                failures += 1
            except RunStalled:
                # Injected a moment too late: run() had just come back by itself.
                _log.warning("late interrupt ignored")

    def _work(self, batch: list[Any]) -> bool:
        """Handle everything that arrived, in one round trip. Returns: whether to stop."""
        round = _Round(tokens=frozenset(item.token for item in batch if isinstance(item, Task)))
        stop = False
        # At most one item of an instance may carry a decision in one round, so only a lone item tries.
        per_instance = Counter(item.attempt.instance for item in batch if isinstance(item, _Finished))
        per_instance.update(item.instance for item in batch if isinstance(item, Task))
        for item in batch:
            match item:
                case Task(kind="a"):
                    self._begin(item, round)
                case Task():
                    self._turn(item, round)
                case _Finished():
                    self._settle(item, round, alone=per_instance[item.attempt.instance] == 1)
                case _Lost():
                    self._forget(item.members)
                case _Reconnected():
                    self._reconcile(round)
                case _GiveBack():
                    self._release(item.task, round, "back", "")
                case _Stop():
                    stop = True
        if stop:
            self._give_back(round)
        self._send(round)
        return stop

    def _send(self, round: _Round) -> None:
        calls, handlers = [], []
        for script_, grouped in ((_SETTLE, round.settles), (_COMMIT, round.commits), (_RELEASE, round.releases)):
            for (shard, worker), items in grouped.items():
                instances, places = numbered(instance for instance, _, _ in items)
                for place, (_, item, _) in zip(places, items, strict=True):
                    item["i"] = place
                arguments: dict[str, Any] = {"w": worker, "items": [item for _, item, _ in items]}
                if script_ is _RELEASE:
                    arguments["x"] = failure.make("StalledError", StalledError.__doc__ or "")
                calls.append(call_on(self.store.keys, script_, shard, instances, arguments))
                handlers.append([handler for _, _, handler in items])
        for answers, handle in zip(self.store.execute(calls), handlers, strict=True):
            if isinstance(answers, Exception):
                raise answers
            for answer, handler in zip(answers, handle, strict=True):
                handler(answer)

    # Attempts -----------------------------------------------------------------------------------------------------------

    def _begin(self, task: Task, round: _Round) -> None:
        """Replay up to a claimed attempt's step and start its callback."""
        warm = self._replayed(task, round)
        if warm is None:
            self._free_slot(task.token)
            return
        record = task.record or {}
        replay = warm.replay
        name, count = record[b"n"].decode(), int(record[b"c"])
        callback = replay.callback(task.seq)
        command = replay.command(task.seq) if callback is not None else None
        if callback is None or not isinstance(command, Do) or (command.name, command.count) != (name, count):
            self._free_slot(task.token)
            if replay.position > task.upto:
                # This replay has gone on since the claim and given the step up; the record is gone or goes now.
                self._release(task, round, "back", "")
                self._keep(task.instance, warm)
            else:
                replay.close()
                self._park(task, round, f'step "{name}-{count}" is open, but this code does not ask for it')
            return
        config = retries.with_live_delay(retries.from_wire(record[b"g"]), command.config)
        attempt = Attempt(
            instance=task.instance,
            generation=task.generation,
            seq=task.seq,
            token=task.token,
            worker=task.worker,
            name=command.name,
            count=command.count,
            config=config,
            config_blob=record[b"g"],
            callback=callback,
            context=self._context(task.instance, task.generation, command, config, int(record[b"a"])),
            started_ms=int(record[b"sa"]),
            number=int(record[b"a"]),
            fails=int(record[b"f"]),
            failures=[list(one) for one in record.get(b"e", [])],
        )
        warm.streak = 0
        self._keep(task.instance, warm)
        self._start(attempt)

    def _start(self, attempt: Attempt) -> None:
        self._attempts[attempt.token] = attempt
        self.callbacks.run(attempt)

    def _context(
        self, instance: Instance, generation: str, command: Do, config: retries.StepConfig, number: int
    ) -> StepContext:
        return StepContext(
            step=StepName(command.name, command.count),
            attempt=number,
            config=config.as_dict(),
            idempotency_key=f"{instance.workflow}/{instance.id}/{generation}/{command.seq}",
        )

    def _settle(self, item: _Finished, round: _Round, *, alone: bool) -> None:
        """Settle an outcome; where nothing else is going on in the instance, decide in the same breath."""
        attempt, outcome = item.attempt, item.outcome
        nonce = secrets.token_hex(4)
        wire = attempt.settle_item(0, outcome, item.ended_ms, nonce)
        warm: WarmReplay | None = None
        decision: Decision | None = None
        token = ""
        if alone and "e" in wire:
            warm = self._warm.take(attempt.instance)
            if warm is not None and (warm.generation != attempt.generation or not _is_only_step(warm, attempt.seq)):
                self._warm.put(attempt.instance, warm)
                warm = None
        if warm is not None:
            base = warm.replay.position
            decision = self._feed_and_decide(attempt.instance, warm, [wire["e"]])
            if decision is None:
                # run() disagrees with its journal or stalled: the result counts, the turn finds out again and says so.
                warm.replay.close()
                warm = None
            else:
                wire |= {"b": base, "d": decision}
                token = self._eager_token(warm, decision)
                if token:
                    wire["ea"] = token

        def answered(answer: list[Any]) -> None:
            code = answer[0]
            self.store.clock.observe(int(answer[1]))
            self._ended(attempt)
            if warm is None:
                return
            if code == FUSED_EAGER:
                self._born(attempt.instance, attempt.generation, attempt.worker, warm, decision or {}, token, answer[1])
            if code < FUSED or (decision and "e" in decision):
                # Settled but not fused: this replay was fed an entry at a place it does not have in the journal.
                warm.replay.close()
            else:
                self._keep(attempt.instance, warm)

        round.add(round.settles, attempt.worker, attempt.instance, wire, answered)

    def _ended(self, attempt: Attempt) -> None:
        with self._free:
            self._attempts.pop(attempt.token, None)
            self._free.notify_all()

    def _born(
        self,
        instance: Instance,
        generation: str,
        worker: str,
        warm: WarmReplay,
        decision: Decision,
        token: str,
        now_ms: int,
    ) -> None:
        """Start the step that was opened and claimed in one script."""
        spec = only_step(decision)
        if spec is None:
            raise AssertionError("a step was born that nobody asked for")
        seq = spec["s"]
        command, callback = warm.replay.command(seq), warm.replay.callback(seq)
        if callback is None or not isinstance(command, Do):
            raise AssertionError("a step was born without a callback")
        config = command.config
        attempt = Attempt(
            instance=instance,
            generation=generation,
            seq=seq,
            token=token,
            worker=worker,
            name=command.name,
            count=command.count,
            config=config,
            config_blob=spec["g"],
            callback=callback,
            context=self._context(instance, generation, command, config, 1),
            started_ms=int(now_ms),
        )
        with self._free:
            self._slots.add(token)
        self._start(attempt)

    def _eager_token(self, warm: WarmReplay, decision: Decision) -> str:
        """A token for the next step, if this worker may go on with it at once."""
        spec = only_step(decision)
        if spec is None or self._draining.is_set() or not self.serves(spec["qu"]):
            return ""
        now = monotonic()
        if warm.streak == 0:
            warm.streak_since = now
        if warm.streak >= EAGER_STEPS or now - warm.streak_since > EAGER_SECONDS:
            warm.streak = 0
            return ""
        warm.streak += 1
        return new_token()

    # Turns --------------------------------------------------------------------------------------------------------------

    def _turn(self, task: Task, round: _Round) -> None:
        """Feed the journal up to where it stood at the claim, and commit what ``run`` asks for."""
        warm = self._replayed(task, round, upto=task.position)
        if warm is None:
            return
        try:
            blobs = self._blobs(task, task.position, task.upto)
        except CorruptPayload as error:
            self._park(task, round, str(error))
            return
        decision = self._feed_and_decide(task.instance, warm, blobs, task=task, round=round)
        if decision is None:
            return
        warm.streak = 0
        token = self._eager_token(warm, decision) if self._has_room() else ""
        wire: dict[str, Any] = {
            "g": task.generation,
            "t": task.token,
            "b": task.position,
            "f": task.upto,
            "n": warm.nonce,
            "d": decision,
        }
        if token:
            wire["ea"] = token

        def answered(answer: list[Any]) -> None:
            code = answer[0]
            self.store.clock.observe(int(answer[1]))
            if code == STALE:
                # Pause, reap or an end revoked it; or it is still ours and only the memory was wrong: give it back.
                self._queue.put(_GiveBack(task))
            if code == COMMITTED_EAGER:
                self._born(task.instance, task.generation, task.worker, warm, decision, token, answer[1])
            if code in (STALE, ENDED):
                warm.replay.close()
            else:
                self._keep(task.instance, warm)

        round.add(round.commits, task.worker, task.instance, wire, answered)

    def _has_room(self) -> bool:
        return len(self._slots) < self.settings.concurrency

    def _feed_and_decide(
        self,
        instance: Instance,
        warm: WarmReplay,
        blobs: Sequence[bytes],
        *,
        task: Task | None = None,
        round: _Round | None = None,
    ) -> Decision | None:
        """Feed entries that are not decided yet. Returns: the decision, or None when ``run`` could not go on; the
        task is then given back, parked or struck."""
        before = warm.replay.snapshot() if warm.replay.position else None
        if not self._feed(instance, warm, blobs, task, round):
            return None
        return decide(warm.replay, before, self.app, instance.workflow, warm.generation)

    def _feed(
        self, instance: Instance, warm: WarmReplay, blobs: Sequence[bytes], task: Task | None, round: _Round | None
    ) -> bool:
        try:
            entries = [journal.decode(blob) for blob in blobs]
            with self.guardian.watching(instance):
                warm.replay.feed(entries)
        except (NonDeterminismError, CorruptPayload) as error:
            warm.replay.close()
            _log.error("parked", extra={"workflow": instance.workflow, "instance": instance.id, "reason": str(error)})
            if task is not None and round is not None:
                self._park(task, round, str(error))
            return False
        except RunStalled:
            warm.replay.close()
            if task is not None and round is not None:
                self._release(task, round, "strike", "run() blocked its worker: move the slow part into a step")
            return False
        if blobs:
            warm.nonce = journal.nonce_of(blobs[-1])
            warm.size += sum(len(blob) for blob in blobs)
        return True

    def _replayed(self, task: Task, round: _Round, upto: int | None = None) -> WarmReplay | None:
        """A replay fed to at least the attempt's, or exactly the turn's decided position."""
        wanted = task.upto if upto is None else upto
        warm = self._warm.take(task.instance)
        if warm is not None:
            position = warm.replay.position
            usable = warm.generation == task.generation and (
                position <= wanted if task.kind == "t" else warm.replay.end is None
            )
            # The claim said what was known here and was answered from 0: that memory is of another timeline (F42).
            if not usable or (task.hinted and task.start == 0):
                warm.replay.close()
                warm = None
        if warm is None:
            header = task.header or self._read_header(task.instance)
            if header is None:
                self._release(task, round, "back", "")
                return None
            try:
                warm = WarmReplay(self._new_replay(task, header), task.generation, "")
            except Exception as error:
                _log.exception("cannot start run")
                self._park(task, round, f"{type(error).__name__}: {error}")
                return None
        if warm.replay.position < wanted:
            try:
                blobs = self._blobs(task, warm.replay.position, wanted)
            except CorruptPayload as error:
                self._park(task, round, str(error))
                return None
            if not self._feed(task.instance, warm, blobs, task, round):
                return None
        return warm

    def _new_replay(self, task: Task, header: Header) -> Replay:
        definition = self.app.definition(task.instance.workflow)
        schedule = unpackb(header.schedule) if header.schedule else None
        event: WorkflowEvent[Any] = WorkflowEvent(
            definition.load_params(codec.decode(header.params)),
            timestamp=moment(header.created_ms),
            instance_id=task.instance.id,
            workflow_name=task.instance.workflow,
            schedule=Schedule(schedule[b"cron"].decode(), ScheduledTime.from_ms(int(schedule[b"at"])))
            if schedule
            else None,
        )
        return Replay(
            definition.workflow_class,
            event,
            env=LazyEnv(lambda: self._bindings),
            generation=task.generation,
            defaults=self.app.defaults,
            step_limit=definition.step_limit,
            directory=self.app,
        )

    def _read_header(self, instance: Instance) -> Header | None:
        values = self.store.redis.hmget(self.store.keys.header(instance), ["params", "sched", "created"])
        if values[0] is None:
            return None
        return Header(values[0], values[1] or b"", int(values[2]))

    def _blobs(self, task: Task, start: int, upto: int) -> list[bytes]:
        """Journal entries, from the claim's answer where it has them, else read in pages."""
        if start >= upto:
            return []
        if task.blobs and task.start <= start:
            return task.blobs[start - task.start : upto - task.start]
        found: list[bytes] = []
        key = self.store.keys.journal(task.instance)
        while start + len(found) < upto:
            at = start + len(found)
            page = self.store.redis.lrange(key, at, min(at + PAGE, upto) - 1)
            if not page:
                raise CorruptPayload(f"the journal ends at {at}, but {upto} entries were promised")
            found += page
        return found

    def _keep(self, instance: Instance, warm: WarmReplay) -> None:
        if warm.replay.end is not None:
            warm.replay.close()
        else:
            self._warm.put(instance, warm)

    # Giving back ----------------------------------------------------------------------------------------------------

    def _park(self, task: Task, round: _Round, reason: str) -> None:
        self._release(task, round, "park", reason)

    def _release(self, task: Task, round: _Round, how: str, reason: str) -> None:
        item = {
            "k": task.kind,
            "g": task.generation,
            "s": task.seq,
            "t": task.token,
            "how": how,
            "reason": reason[:4_000],
        }
        round.add(round.releases, task.worker, task.instance, item)

    def _give_back(self, round: _Round) -> None:
        """The drain's grace is over: what still runs goes to others at once, and its late result is void."""
        for attempt in self.attempts():
            attempt.context.cancelled.set()
            item = {
                "k": "a",
                "g": attempt.generation,
                "s": attempt.seq,
                "t": attempt.token,
                "how": "back",
                "reason": "",
            }
            round.add(round.releases, attempt.worker, attempt.instance, item)

    def _forget(self, members: Iterable[str]) -> None:
        """Attempts that Redis took away: cancelled, reaped, restarted, terminated."""
        lost = set(members)
        for attempt in self.attempts():
            if attempt.held in lost:
                self.callbacks.cancel(attempt)

    def _recover(self, batch: list[Any], failures: int) -> None:
        """After a failed round trip nothing is known: drop every replay, settle again without decisions, reconcile.

        A settle that had been executed is stale the second time, and the journal is the truth either way.
        """
        self._warm.clear()
        finished = [item for item in batch if isinstance(item, _Finished)]
        for item in batch:
            if isinstance(item, Task) and item.token not in self._attempts:
                self._free_slot(item.token)
        self._stopped.wait(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])
        for item in finished:
            self._queue.put(item)
        self._queue.put(_Reconnected())
        for item in batch:
            if isinstance(item, _Stop):
                self._queue.put(item)

    def _reconcile(self, round: _Round) -> None:
        """Give back what Redis says this worker holds and it knows nothing of: replies that were lost."""
        with self._claiming:
            self._warm.clear()
            pending = []
            while True:
                try:
                    pending.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            mine = {attempt.token for attempt in self.attempts()} | round.tokens
            mine |= {item.token for item in pending if isinstance(item, Task)}
            for item in pending:
                self._queue.put(item)
            given_back = _Round()
            for shard in range(self.store.keys.shards):
                for held in held_by(self.store, shard, self.lease.worker):
                    if held.token in mine:
                        continue
                    instance = self.store.keys.instance(held.workflow, held.id)
                    item = {
                        "k": held.kind,
                        "g": held.generation,
                        "s": held.seq,
                        "t": held.token,
                        "how": "back",
                        "reason": "",
                    }
                    given_back.add(given_back.releases, held.worker, instance, item)
            self._send(given_back)


def _is_only_step(warm: WarmReplay, seq: int) -> bool:
    """Whether no other step is open: a heuristic for when to try, the script has the last word."""
    snapshot: Snapshot = warm.replay.snapshot()
    return all(other == seq or warm.replay.command(other).kind != "do" for other in snapshot.pending)
