"""One worker process at work: replays ``run``, starts callbacks, settles outcomes and commits decisions.

One thread at a time does all of that, whichever has the lead (``lead.py``), in batches: whatever arrived while the last
round trip was under way goes into the next one. It never waits for callbacks, which run when the lead is given up, or
elsewhere; a ``run`` that blocks is interrupted by the guardian.

    claimed attempt ─► replay up to it ─► callback runs elsewhere ─► outcome ─► settle ┐
    claimed turn ────► replay, decide ───────────────────────────────────────► commit ┴► one round trip
                                              next step born held ◄── eager continuation

The loop is here, and what may go wrong with it. What it does with each thing that has arrived (``arrivals.py``) is
told by ``beginnings.py``, ``settling.py`` and ``turns.py``; what it remembers meanwhile is in ``slots.py``,
``in_flight.py``, ``suspects.py`` and ``replays.py``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import redis

from worker.arrivals import (
    Arrival,
    Arrivals,
    Beat,
    Compare,
    Contradicted,
    Drain,
    Finished,
    GiveBack,
    Lost,
    Reconcile,
    Unbegun,
)
from worker.attempt import Attempt, Outcome
from worker.beginnings import Beginnings
from worker.callbacks import Callbacks
from worker.claim import Known, Task
from worker.counting import Counting
from worker.deciding import Deciding
from worker.fetcher import BACKOFF_SECONDS, BLOCK_SECONDS, Fetcher
from worker.guardian import Guardian
from worker.holdings import give_back_unknown, rescue
from worker.in_flight import InFlight
from worker.lead import Lead
from worker.lease import Lease
from worker.observing import Observing
from worker.replays import Gone, Replays
from worker.reports import Reports
from worker.rounds import Round
from worker.settings import Settings
from worker.settling import Settling
from worker.slots import Slots
from worker.stages import Stages
from worker.streams import Streams
from worker.suspects import Suspects
from worker.transitions import Transitions
from worker.turns import Turns
from worker.vital import vital
from worker.warm import RecheckedCache, WarmCache
from workflows import limits
from workflows.authoring.app import App
from workflows.authoring.retries import settings_of
from workflows.clock import monotonic
from workflows.errors import CorruptPayload, NonDeterminismError
from workflows.replay.overrides import Overrides
from workflows.replay.replay import RunStalled
from workflows.storage.keys import Held, Instance, Intent
from workflows.storage.store import Store
from workflows.telemetry import metrics
from workflows.telemetry.figures import Series, Value, figures
from workflows.telemetry.metrics import Metric

_log = logging.getLogger("workflows.worker")

# A callback that has ended when the drain's grace is over may have its retry delay computed by a function (5 s).
LAST_WORD_SECONDS = limits.DELAY_FUNCTION_SECONDS + 1
# Beyond the grace, in all: for fetchers that wait for an answer, last words, giving back, leaving, and the bindings'
# end. Less than the parent allows (``parent.DRAIN_MARGIN_SECONDS``), which has to see the process end as well.
CLOSING_SECONDS = 16.0
# Of these, kept for what comes after the engine's thread.
LEAVING_SECONDS = 5.0


class Engine:
    """Runs the steps and turns of one app.

    Args:
        app: the user's app.
        connect: makes a new store; the engine, the lease and every queue have a connection of their own.
        settings: see ``Settings``.
        isolate: asks for a process of its own for something claimed that may be what killed a worker (F22); answers
            whether that was possible. None: there is nobody to ask, so such work runs here.
        on_hopeless: called with the reason when ``run`` blocks and cannot be interrupted, too many slots never become
            free, or a thread has died; a worker process exits there and its parent starts another.
        bindings: what ``self.env`` holds besides the app's own bindings, or in the place of those of the same name.
        overrides: what a test puts in the place of callbacks, durations and delays.
    """

    def __init__(
        self,
        app: App,
        connect: Callable[[], Store],
        settings: Settings,
        *,
        on_hopeless: Callable[[str], None],
        isolate: Callable[[Held], bool] | None = None,
        bindings: dict[str, Any] | None = None,
        overrides: Overrides | None = None,
    ) -> None:
        self.app = app
        self.settings = settings
        self.store = connect()
        self.store.take_turns()
        self.claiming = threading.Lock()
        self.draining = threading.Event()
        self.slots = Slots(settings, self.draining, lambda: self.guardian.is_blocked())
        self._connect = connect
        self.arrivals = Arrivals()
        self._batch: list[Arrival] = []
        self._suspects = Suspects(isolate)
        self._stopped = threading.Event()
        self._failures = 0
        self._given_bindings = bindings or {}
        self._killed = False
        self._bindings: dict[str, Any] = {}
        self._grace_over: float | None = None
        self._observation = app.observation
        observing = [Observing(app.name, app.observation, self.store.clock)] if app.observation is not None else []
        self._transitions = Transitions([Reports(), Counting(figures), *observing])
        self.in_flight = InFlight(
            self.slots,
            self.arrivals,
            lambda attempt: self.callbacks.cancel(attempt),
            self._transitions.attempt_void,
            self.draining,
        )
        self._streams = Streams(connect)
        self.callbacks = Callbacks(
            settings.concurrency,
            self._deliver,
            self.in_flight.ended,
            self._transitions.attempt_begun,
            overrides,
            self._streams,
            on_hopeless,
            lambda: self.lead.join(),
        )
        self.lease = Lease(
            connect(),
            settings.lease_ms,
            self._held_here,
            self.lost,
            self._ask_to_reconcile,
            on_hopeless,
            alone=settings.alone,
        )
        self.guardian = Guardian(self, settings.stall_seconds, on_hopeless)
        cache = (RecheckedCache if settings.recheck else WarmCache)(settings.warm, settings.warm_bytes)
        self.stages = Stages(figures)
        self._replays = Replays(
            app, self.store, cache, self.guardian, lambda: self._bindings, self._streams.read, self.stages.ran
        )
        self._beginnings = Beginnings(self._replays, self.slots, self.in_flight)
        deciding = Deciding(app, self._replays, overrides)
        # What is decided ahead could not be rechecked: the entry is not in the journal yet.
        self._settling = Settling(
            deciding,
            self._replays,
            self.slots,
            self.in_flight,
            self._beginnings,
            self._transitions,
            lambda attempt: self.callbacks.lose(attempt),
            ahead=not settings.recheck,
        )
        self._turns = Turns(
            self.store,
            deciding,
            self._replays,
            self.slots,
            self.in_flight,
            self._beginnings,
            self.arrivals,
            self._transitions,
            recheck=settings.recheck,
        )
        self.lead = Lead(
            self.arrivals, self._round, lambda: self.callbacks.threads.has_call, shared=settings.shared_lead
        )
        self._thread = threading.Thread(target=vital("engine", self._run, on_hopeless), name="engine", daemon=True)
        self.fetchers = [
            Fetcher(
                name, connect, self.lease, self, app.definitions, on_hopeless, claims_at_once=settings.claims_at_once
            )
            for name in settings.queues
        ]

    # Life -------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the bindings, register the lease and begin to work."""
        self._bindings = self.callbacks.start(self.app, self._given_bindings)
        if self._observation is not None:
            self._observation.start()
        self.lease.start()
        self._thread.start()
        self.guardian.start()
        for fetcher in self.fetchers:
            fetcher.start()

    def stop(self) -> None:
        """Drain: no new claims, attempts in flight may end within the grace, the rest goes back at once (F23).

        Takes no longer than the grace and ``CLOSING_SECONDS``, whatever Redis and user code do.
        """
        grace_over = monotonic() + self.settings.grace_seconds
        closed = grace_over + CLOSING_SECONDS
        self.draining.set()
        self.slots.wake()
        fetched = min(monotonic() + BLOCK_SECONDS + limits.SOCKET_TIMEOUT_SECONDS, closed - LEAVING_SECONDS)
        for fetcher in self.fetchers:
            fetcher.join(timeout=_until(fetched))
        # From here on it is the engine's thread that waits: only who leads knows of turns on their way, which may have
        # their next step in tow.
        self.arrivals.put(Drain(grace_over))
        self._thread.join(timeout=_until(closed - LEAVING_SECONDS))
        self._stopped.set()
        self.guardian.stop()
        self.lease.stop(min(LEAVING_SECONDS / 2, _until(closed)))
        if self._observation is not None:
            self._observation.drain(min(limits.OBSERVER_SECONDS, _until(closed)))
        self.callbacks.stop(_until(closed))
        self._streams.close()
        self._drop_replays()

    def kill(self) -> None:
        """Stop dead, as far as threads can: nothing is settled, given back or told. What tests of crashes do."""
        self._killed = True
        self.draining.set()
        self._stopped.set()
        self.arrivals.put(Drain())
        self.guardian.stop()
        self.lease.kill()
        for attempt in self.attempts():
            attempt.take_outcome()
            self.callbacks.cancel(attempt)
        for thread in (self._thread, *self.fetchers):
            thread.join(timeout=BLOCK_SECONDS + 10)
        self.callbacks.stop()
        self._streams.close()
        self._drop_replays()

    def _drop_replays(self) -> None:
        """Left to the interpreter, a suspended run that asks for a step as it is dropped would fail in no place."""
        if not self._thread.is_alive():
            self._replays.warm.clear()

    def gauges(self) -> dict[Metric, float]:
        """What it is like at this moment; any thread may ask."""
        return {metrics.SLOTS: self.settings.concurrency, metrics.SLOTS_USED: len(self.slots)}

    def counted(self) -> dict[Series, Value]:
        """All that the process has counted, by now; any thread may ask."""
        return {**figures.read(), **self.stages.series()}

    @property
    def is_idle(self) -> bool:
        """Whether no attempt is in flight: claimed and not begun, running, or not settled yet. What ignores its timeout
        does not count."""
        return not self.in_flight and self.slots.are_free(but_for=self._suspects.tokens)

    @property
    def bindings(self) -> dict[str, Any]:
        """What ``self.env`` holds, once started."""
        return self._bindings

    def rescue(self) -> None:
        """Before a process that cannot go on ends: see ``holdings.rescue``."""
        self.draining.set()
        stuck = self.guardian.stuck()
        begun = {attempt.token for attempt in self.attempts() if attempt.has_begun}
        store = self._connect()
        finished = [item for item in (*self._batch, *self.arrivals.waiting()) if isinstance(item, Finished)]
        rescue(store, self.lease, finished, begun, stuck, self.claiming)

    def attempts(self) -> list[Attempt]:
        """The attempts in flight."""
        return self.in_flight.attempts

    def _held_here(self) -> list[Held]:
        """What Redis must still hold for this worker: attempts, and what was handed over and not taken yet."""
        handed = [task.held for task in self._suspects.tasks]
        return [*(attempt.held for attempt in self.attempts()), *handed]

    # For the guardian, on its thread ----------------------------------------------------------------------------------

    def time_out(self, attempt: Attempt) -> None:
        self.slots.abandon(attempt.token)
        self.callbacks.time_out(attempt)

    def look(self, now: float, attempts: list[Attempt]) -> list[Attempt]:
        return self.callbacks.look(now, attempts)

    def beat(self, attempt: Attempt) -> None:
        self.arrivals.put(Beat(attempt))

    def give_back(self, attempt: Attempt) -> None:
        self.arrivals.put(Unbegun(attempt))

    def is_choked(self) -> bool:
        return self.slots.are_choked()

    # For the fetchers, on their threads -------------------------------------------------------------------------------

    def wait_for_room(self) -> int:
        return self.slots.wait_for_room()

    def known(self, instance: Instance) -> Known | None:
        return self._replays.warm.known(instance)

    def reserving(self, intents: Sequence[Intent]) -> AbstractContextManager[list[Intent]]:
        return self.slots.reserving(intents)

    def accept(self, tasks: Sequence[Task]) -> None:
        self.slots.take([task.token for task in tasks if task.kind == "a"])
        for task in tasks:
            self.arrivals.put(task)

    def reconnected(self) -> None:
        self.arrivals.put(Reconcile(forget=True))

    # Arrivals, on other threads ---------------------------------------------------------------------------------------

    def _deliver(self, attempt: Attempt, outcome: Outcome) -> None:
        finished = Finished(attempt, outcome, self.store.clock.now_ms(), monotonic())
        if self.callbacks.threads.are_mine:
            self.arrivals.add(finished)
        else:
            self.arrivals.put(finished)

    def lost(self, members: Iterable[str]) -> None:
        """Redis attributes these held members to this worker no more."""
        self.arrivals.put(Lost(frozenset(members)))

    def _ask_to_reconcile(self) -> None:
        self.arrivals.put(Reconcile(forget=False))

    # Whoever leads ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        """On the engine's own thread."""
        self.lead.keep(self._until_grace)

    def _until_grace(self) -> float | None:
        """For how long the drain's grace lasts, or the time for last words; None: there is no drain, or it is over."""
        if self._grace_over is None:
            return None
        until = [moment for moment in (self._grace_over, self._grace_over + LAST_WORD_SECONDS) if moment > monotonic()]
        return _until(min(until)) if until else None

    def _round(self, batch: list[Arrival]) -> bool:
        """Handle what arrived, come what may. Returns: whether this was the last round."""
        self._batch = batch
        if self._killed:
            return True
        try:
            is_last = self._work(batch)
            self._failures = 0
            return is_last
        except redis.RedisError as error:
            figures.count(metrics.RECONNECTS)
            _log.warning("redis failed", extra={"error": error})
            if self._stopped.is_set():
                return True
            self._recover(batch, self._failures)
            self._failures += 1
        except RunStalled:
            # Injected a moment too late: run() had just come back by itself.
            self._recover(batch, self._failures)
        return False

    def _work(self, batch: list[Arrival]) -> bool:
        """Handle everything that arrived, in one round trip. Returns: whether to stop."""
        began = monotonic()
        tasks: list[Task] = []
        # At most one item of an instance may carry a decision in one round, so only a lone item tries.
        per_instance: dict[Instance, int] = {}
        for item in batch:
            if isinstance(item, Finished):
                instance = item.attempt.instance
            elif isinstance(item, Task):
                instance = item.instance
                tasks.append(item)
            else:
                if isinstance(item, Drain):
                    self._grace_over = item.until
                    self.arrivals.ring()  # the engine's own thread has to know how long it may wait
                continue
            per_instance[instance] = per_instance.get(instance, 0) + 1
        round = Round(frozenset([task.token for task in tasks]), self._transitions.parked)
        stop = self._grace_over is not None
        # Turns last: each has its replay to itself until the round trip is over, and an attempt of the same instance
        # would need another one, from the start.
        for item in sorted(batch, key=_is_turn) if len(tasks) > 1 else batch:
            match item:
                case Finished():
                    self.stages.finished(item, began)
                    self._settling.settle(item, round, lone=per_instance[item.attempt.instance] == 1)
                case Task(kind="a") if stop:
                    # Begun now it would run here and, given back, elsewhere as well (I9).
                    round.release(item.instance, item.held)
                case Task() if item.is_suspect and self._suspects.hand_over(item):
                    pass
                case Task():
                    self._take_up(item, round)
                case Beat():
                    round.beat(item.attempt)
                case Lost():
                    self._lose(item.members)
                case Unbegun():
                    self.in_flight.give_back(item.attempt, round)
                case Reconcile():
                    self._reconcile(round, forget=item.forget)
                case GiveBack():
                    round.release(item.task.instance, item.task.held)
                case Contradicted():
                    round.park(item.task.instance, item.task.held, item.reason, "mismatch")
                case Compare():
                    self._turns.compare(item, round)
        for task in self._suspects.tasks if stop else ():
            round.release(task.instance, task.held)
        if self._grace_over is not None and monotonic() >= self._grace_over:
            self.in_flight.give_back_all(round, late=monotonic() >= self._grace_over + LAST_WORD_SECONDS)
        try:
            round.send(self.store)
        finally:
            # After the round trip: a callback that takes the process down must not take turns with it that came in
            # the same batch, which would come together again and again and count as stalled in the end (F22).
            starting = self.in_flight.take_starting()
            for attempt in () if self._killed else starting:
                self.callbacks.run(attempt)
            self.slots.free_unborn()
        self.stages.led(began, round.in_redis)
        return self._is_drained()

    def _is_drained(self) -> bool:
        if self._grace_over is None:
            return False
        if monotonic() < self._grace_over:
            return not self.in_flight
        return all(attempt.dismissed for attempt in self.attempts())

    def _take_up(self, task: Task, round: Round) -> None:
        """Begin an attempt or decide a turn. What cannot be replayed is parked with a reason, never failed."""
        begun = False
        try:
            if task.kind == "t":
                self._turns.take(task, round)
            else:
                begun = self._beginnings.claimed(task, round)
        except Gone:
            pass
        except RunStalled:
            round.strike(task.instance, task.held)
        except (NonDeterminismError, CorruptPayload) as error:
            round.park_for(task.instance, task.held, error)
        except redis.RedisError:
            raise
        except Exception as error:
            _log.exception("cannot replay", extra={"workflow": task.instance.workflow, "instance": task.instance.id})
            round.park_for(task.instance, task.held, error)
        if task.kind == "a" and not begun:
            self.slots.free(task.token)

    # Giving back ------------------------------------------------------------------------------------------------------

    def _lose(self, members: frozenset[str]) -> None:
        for task in self._suspects.taken_over(members):
            self.slots.free(task.token)
        self.in_flight.lose(members)

    def _recover(self, batch: list[Arrival], failures: int) -> None:
        """After a failed round trip nothing is known: drop every replay, settle again without decisions, reconcile.

        A settle that had been executed is stale the second time, and the journal is the truth either way.
        """
        self._replays.warm.clear()
        self.slots.free_unborn()
        for item in batch:
            if isinstance(item, Task) and item.token not in self.in_flight and item.token not in self._suspects.tokens:
                self.slots.free(item.token)
        self._stopped.wait(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])
        for item in batch:
            if isinstance(item, (Finished, Drain)):
                self.arrivals.put(item)
        self.arrivals.put(Reconcile(forget=True))

    def _reconcile(self, round: Round, *, forget: bool) -> None:
        """Give back what Redis says this worker holds and it knows nothing of: replies that were lost."""
        with self.claiming:
            if forget:
                self._replays.warm.clear()
            # Before looking at what waits: a task that comes in between is there then.
            mine = {fetcher.token for fetcher in self.fetchers}
            waiting = self.arrivals.waiting()
            for task in self._suspects.overdue():
                where = {"workflow": task.instance.workflow, "instance": task.instance.id}
                _log.warning("nobody took over", extra=where)
                settings = settings_of(task.record.config) if task.record is not None else None
                if settings is not None and settings.at_most_once:
                    round.release(task.instance, task.held)  # who comes late must not begin it beside this worker
                else:
                    self._take_up(task, round)
            mine |= {attempt.token for attempt in self.attempts()} | round.tokens | self._suspects.tokens
            mine |= {item.token for item in waiting if isinstance(item, Task)}
            for item in waiting:
                self.arrivals.put(item)
            give_back_unknown(self.store, self.lease.identities, mine)


def _until(moment: float) -> float:
    """How long it is until then (``monotonic``), in seconds."""
    return max(0.0, moment - monotonic())


def _is_turn(item: Arrival) -> bool:
    return isinstance(item, Task) and item.kind == "t"
