"""Makes of what happens in a worker what its app's observers are told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from worker.attempt import Attempt, Outcome
from worker.transitions import Committed, Listener, Void
from workflows.authoring.event import moment
from workflows.authoring.observation import Observation
from workflows.authoring.observer import Transition
from workflows.client.facts import of_entry
from workflows.client.history import ErrorInfo
from workflows.clock import Clock
from workflows.storage import journal
from workflows.storage.journal import (
    Answer,
    CancelRequested,
    ChildEnded,
    Entry,
    EventReceived,
    RollingBack,
    Settled,
    Start,
    Withdrawn,
)
from workflows.storage.keys import Instance
from workflows.storage.records import Asked, End

_FAMILY = {"do": "step", "rb": "rollback_step", "child": "step", "sleep": "sleep", "wait": "wait"}
_ENDED = {"complete": "workflow_completed", "errored": "workflow_errored", "terminated": "workflow_terminated"}


class Observing(Listener):
    """Tells an observation.

    Args:
        clock: of the server, for what no answer of Redis has a moment of.
    """

    def __init__(self, namespace: str, observation: Observation, clock: Clock) -> None:
        self._namespace = namespace
        self._observation = observation
        self._clock = clock
        self._of_instances = observation.wants("instance")
        self._of_steps = observation.wants("step")
        self._of_attempts = observation.wants("attempt")

    def attempt_begun(self, attempt: Attempt) -> None:
        if self._of_attempts:
            self._tell_attempt(attempt, "attempt_started", attempt.started_ms)

    def attempt_ended(self, attempt: Attempt, outcome: Outcome, ended_ms: int) -> None:
        if self._of_attempts:
            how = "attempt_completed" if outcome.error is None else "attempt_errored"
            details = {"retry_delay_ms": outcome.retry_delay_ms, **_error(outcome.error)}
            self._tell_attempt(attempt, how, ended_ms, started_at=moment(attempt.started_ms), **details)

    def attempt_void(self, attempt: Attempt, why: Void) -> None:
        if self._of_attempts:
            started = moment(attempt.started_ms)
            self._tell_attempt(attempt, "attempt_void", self._clock.now_ms(), started_at=started, reason=why)

    def turn_committed(self, turn: Committed) -> None:
        if self._of_instances and turn.is_first:
            self._tell_instance(turn, "workflow_started", turn.now_ms)
        # What a restart has kept was told in the life it is of.
        for blob in turn.entries[max(0, turn.warm.replay.kept - turn.base) :]:
            if self._of_steps or journal.kind_of(blob) in (journal.ROLLING_BACK, journal.CANCEL):
                self._tell_entry(turn, journal.decode(blob))
        if self._of_steps:
            for type, details in _asked_and_given_up(turn):
                self._tell_step(turn, type, turn.now_ms, **details)
        end = turn.decision.end
        if self._of_instances and end is not None and end.rollback != "begin" and end.generation is None:
            self._tell_end(turn, end)

    def parked(self, instance: Instance, generation: str, reason: str) -> None:
        if self._of_instances:
            made = self._made("workflow_parked", instance, generation, self._clock.now_ms(), reason=reason)
            self._observation.tell("instance", made)

    def _tell_entry(self, turn: Committed, entry: Entry) -> None:
        if isinstance(entry, RollingBack):
            if self._of_instances:
                self._tell_instance(turn, "rollback_started", entry.at_ms)
        elif isinstance(entry, CancelRequested):
            if self._of_instances:
                self._tell_instance(turn, entry.type, entry.at_ms, reason=entry.reason)
        elif not isinstance(entry, Start | Withdrawn) and not turn.warm.replay.is_cancelled(entry.seq):
            type, details = _answer(entry)
            self._tell_step(turn, type, entry.at_ms, **details)

    def _tell_end(self, turn: Committed, end: End) -> None:
        if isinstance(end.rollback, bytes):
            self._tell_instance(turn, "rollback_errored", turn.now_ms, **_error(end.rollback))
        elif end.rollback == "complete":
            self._tell_instance(turn, "rollback_completed", turn.now_ms)
        error = None if end.status == "terminated" else end.error
        self._tell_instance(turn, _ENDED[end.status], turn.now_ms, **_error(error))

    def _tell_instance(self, turn: Committed, type: str, at_ms: int, **details: Any) -> None:
        created = turn.warm.replay.created_at
        made = self._made(type, turn.instance, turn.generation, at_ms, created_at=created, **details)
        self._observation.tell("instance", made)

    def _tell_step(self, turn: Committed, type: str, at_ms: int, **details: Any) -> None:
        self._observation.tell("step", self._made(type, turn.instance, turn.generation, at_ms, **details))

    def _tell_attempt(self, attempt: Attempt, type: str, at_ms: int, **details: Any) -> None:
        made = self._made(
            f"rollback_{type}" if attempt.kind == "rb" else type,
            attempt.instance,
            attempt.generation,
            at_ms,
            step_name=attempt.name,
            step_count=attempt.count,
            attempt=attempt.number,
            queue=attempt.queue,
            **details,
        )
        self._observation.tell("attempt", made)

    def _made(self, type: str, instance: Instance, generation: str, at_ms: int, **details: Any) -> Transition:
        return Transition(
            type=type,
            timestamp=moment(at_ms),
            namespace=self._namespace,
            workflow=instance.workflow,
            instance_id=instance.id,
            generation=generation,
            **details,
        )


def _answer(entry: Answer) -> tuple[str, dict[str, Any]]:
    """What ``run`` was given for a step, and of which type that is."""
    details: dict[str, Any] = {"step_name": entry.name, "step_count": entry.count}
    if entry.started_at_ms:
        details["started_at"] = moment(entry.started_at_ms)
    if isinstance(entry, Settled):
        details |= {"attempt": entry.attempts, **_error(entry.error)}
        return f"{_FAMILY[entry.kind]}_{'completed' if entry.error is None else 'errored'}", details
    if isinstance(entry, ChildEnded):
        details |= {"child_workflow": entry.workflow, "child_id": entry.id, **_error(entry.error)}
    elif isinstance(entry, EventReceived):
        details |= {"event_type": entry.type, **_error(entry.error)}
    *_, last = of_entry(entry)
    return last.type, details


def _asked_and_given_up(turn: Committed) -> Iterator[tuple[str, dict[str, Any]]]:
    replay, decision = turn.warm.replay, turn.decision
    given_up = [replay.command(one.seq) for one in decision.withdrawn if not one.is_detached]
    for command in given_up if decision.end is None else replay.unanswered():
        yield f"{_FAMILY[command.kind]}_withdrawn", {"step_name": command.name, "step_count": command.count}
    for one in decision.opened:
        yield f"{_FAMILY[one.kind]}_started", _asked(one)


def _asked(one: Asked) -> dict[str, Any]:
    details = {"step_name": one.values[2], "step_count": one.values[3]}
    match one.kind:
        case "do" | "rb":
            details["queue"] = one.queue
        case "wait":
            details["event_type"] = one.values[7]
        case "child":
            details |= {"child_workflow": one.values[5], "child_id": one.values[6]}
    return details


def _error(blob: bytes | None) -> dict[str, Any]:
    if blob is None:
        return {}
    error = ErrorInfo.from_blob(blob)
    return {"error_name": error.name, "error_message": error.message, "traceback": error.traceback}
