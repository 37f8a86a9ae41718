"""One try at a step, from claim to outcome."""

from __future__ import annotations

from contextvars import Context
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from workflows import limits
from workflows.authoring.callback import Callback
from workflows.authoring.context import StepContext
from workflows.authoring.retries import StepConfig
from workflows.clock import monotonic
from workflows.storage import journal, nonces
from workflows.storage.keys import Held, Instance
from workflows.storage.records import Settlement
from workflows.values import failure
from workflows.values.durations import format_ms


@dataclass(slots=True)
class Outcome:
    """How an attempt ended: a value, or an error with the wait before the next attempt (None: it was the last), or
    neither: a poll looks again.

    Attributes:
        stream: of a value that is a stream: how many chunks and bytes were written.
    """

    value: bytes | None = None
    error: bytes | None = None
    retry_delay_ms: int | None = None
    stream: tuple[int, int] | None = None


@dataclass(slots=True)
class Attempt:
    """A claimed attempt.

    Attributes:
        token: what Redis must still hold for the outcome to count (I1).
        kind: ``do``, or ``rb`` for what undoes a step.
        has_rollback: a handler undoes it.
        number: the attempt's number, from 1; a worker's crash uses one up.
        failed: how many attempts failed before, held against the retry limit.
        failures: the last of them: [number, started ms, ended ms, failure blob].
        queue: through which it goes, by its name without the namespace.
        deadline: when it times out; never before its callback has begun, which something else may hold up.
        queued: since when it waits for its thread or for the loop.
        begun: since when its callback runs; 0.0: it does not, or that has been counted.
        scope: the context variables its callback sees: none that another attempt has set.
        handle: the task of an async callback, once it has begun.
        ended: its code has come to its end, whatever has become of its outcome.
        dismissed: nobody waits for its outcome any more, and Redis knows it no longer; its code may still run.
    """

    instance: Instance
    generation: str
    seq: int
    token: str
    worker: str
    name: str
    count: int
    config: StepConfig
    config_blob: bytes | None
    callback: Callback
    context: StepContext
    started_ms: int
    kind: str = "do"
    has_rollback: bool = False
    number: int = 1
    failed: int = 0
    failures: list[list[Any]] = field(default_factory=list)
    queue: str = "default"
    deadline: float = float("inf")
    queued: float = 0.0
    begun: float = 0.0
    scope: Context = field(default_factory=Context)
    handle: Any = None
    ended: bool = False
    dismissed: bool = False
    _say: list[None] = field(default_factory=[None].copy)
    _start: list[None] = field(default_factory=[None].copy)

    def begin(self) -> None:
        """Its time starts now."""
        self.begun = now = monotonic()
        self.deadline = now + self.config.timeout_ms / 1000

    @property
    def held(self) -> Held:
        """Under what Redis knows that this worker holds it."""
        instance = self.instance
        return Held(self.worker, "a", instance.workflow, instance.id, self.generation, self.seq, self.token)

    @property
    def details(self) -> bytes | None:
        """What it has said with its last heartbeat."""
        beats = self.context.beats
        return None if beats is None else beats.last

    def take_outcome(self) -> bool:
        """True for the first caller only: a callback that ends while its timeout is being settled has no say (F19)."""
        return is_first(self._say)

    def take_start(self) -> bool:
        """True for the first caller only: who runs the callback, or who decides that it does not run here at all."""
        return is_first(self._start)

    @property
    def has_begun(self) -> bool:
        """Whether ``take_start`` has been called."""
        return not self._start

    def settlement(self, outcome: Outcome, ended_ms: int) -> Settlement:
        """What ``settle.lua`` is told of its end."""
        config = self.config
        if outcome.value is None and outcome.error is None and config.every_ms is not None:
            again = config.every_ms, config.patience_ms or 0, _in_vain(config.patience_ms or 0)
            return Settlement(self.generation, self.seq, self.token, again=again, details=self.details)
        if outcome.retry_delay_ms is not None:
            failed = [self.number, self.started_ms, ended_ms, outcome.error]
            retry = outcome.retry_delay_ms, failed
            return Settlement(self.generation, self.seq, self.token, retry=retry, details=self.details)
        failures = self.failures
        if outcome.error is not None:
            failures = [*failures, [self.number, self.started_ms, ended_ms, outcome.error]]
        entry = journal.encode_settled(
            nonce=nonces.entry(),
            seq=self.seq,
            name=self.name,
            count=self.count,
            at_ms=ended_ms,
            started_at_ms=self.started_ms,
            attempts=self.number,
            value=outcome.value,
            error=outcome.error,
            failures=failures[-limits.FAILURES_KEPT :],
            config=self.config_blob,
            kind=self.kind,
            rollback=self.has_rollback,
        )
        return Settlement(self.generation, self.seq, self.token, entry, stream=outcome.stream)


@lru_cache
def _in_vain(patience_ms: int) -> bytes:
    return failure.make("PollTimeout", f"the poll has not found what it looks for within {format_ms(patience_ms)}")


def is_first(ticket: list[None]) -> bool:
    """True for the first of all callers with this ticket."""
    try:
        ticket.pop()  # one operation of the interpreter, so that two threads cannot both have it
    except IndexError:
        return False
    return True
