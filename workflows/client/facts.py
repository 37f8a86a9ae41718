"""What has happened to the steps of an instance, made of its journal and open records.

Pure. Each step has its events in an order of its own, numbered as in ``progress.py``, so that what has been told of it
is one number, whether it was found open or answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from workflows import limits
from workflows.authoring import retries
from workflows.authoring.retries import StepConfig
from workflows.client.history import ErrorInfo, shown_payload, shown_result
from workflows.storage.journal import Answer, ChildEnded, EventReceived, Settled, Slept, TimedOut, Undone, Withdrawn
from workflows.storage.records import Open, OpenChild, OpenSleep, OpenStep, OpenWait
from workflows.values.codec import InstanceRef

_FAMILY = {"do": "step", "child": "step", "sleep": "sleep", "wait": "wait"}
CLOSED: Final = -1
"""In place of a number: the step has been answered."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One event of a step, without its place among those of others.

    Attributes:
        number: how far the step has been told with it.
        details: further fields of ``InstanceEvent``.
    """

    type: str
    seq: int
    number: int
    at_ms: float
    details: dict[str, Any] = field(default_factory=dict)


def of_record(record: Open, stood_ms: int) -> Iterator[Fact]:
    """What has happened to a step that is open.

    Args:
        stood_ms: for how long time stood still for the instance.
    """
    named = {"step_name": record.name, "step_count": record.count}
    of = _prefix(record.kind)

    def fact(type: str, number: int, at_ms: float, **details: Any) -> Fact:
        return Fact(of + type, record.seq, number, at_ms, named | details)

    match record:
        case OpenStep():
            config = retries.settings_of(record.config)
            yield fact("step_started", 0, record.asked, config=_shown(config))
            before = record.failed - len(record.failures)
            for at, (attempt, began, ended, error) in enumerate(record.failures, 1):
                delay = _delay_ms(config, before + at)
                if delay is None and at == len(record.failures) and record.state == "back" and record.due is not None:
                    delay = max(0, record.due + stood_ms - ended)
                yield fact("attempt_started", 2 * attempt - 1, began, attempt=attempt)
                yield fact(
                    *("attempt_errored", 2 * attempt, ended),
                    attempt=attempt,
                    error=ErrorInfo.from_blob(error),
                    retry_delay_ms=delay,
                )
            if record.attempts and record.begun:
                yield fact("attempt_started", 2 * record.attempts - 1, record.begun, attempt=record.attempts)
        case OpenSleep():
            length = max(0, record.due - record.asked) if record.absolute else record.ms
            yield fact("sleep_started", 0, record.asked, duration_ms=length)
        case OpenWait():
            yield fact("wait_started", 0, record.asked, event_type=record.event_type)
        case OpenChild():
            yield fact("step_started", 0, record.asked, child=InstanceRef(record.workflow, record.id))


def of_entry(entry: Answer) -> Iterator[Fact]:
    """What has happened to a step that has been answered."""
    named = {"step_name": entry.name, "step_count": entry.count}
    kind = entry.command if isinstance(entry, Withdrawn) else entry.kind
    family, of = _FAMILY.get(kind, "step"), _prefix(kind)
    began = entry.started_at_ms or entry.at_ms

    def fact(type: str, number: int = CLOSED, at_ms: float = entry.at_ms, **details: Any) -> Fact:
        return Fact(of + type, entry.seq, number, at_ms, named | details)

    match entry:
        case Settled():
            yield from _of_settled(entry, named)
        case Slept():
            yield fact("sleep_started", 0, began, duration_ms=int(entry.at_ms - began))
            yield fact("sleep_completed")
        case TimedOut():
            yield fact("wait_started", 0, began)
            yield fact("wait_timed_out")
        case EventReceived():
            yield fact("wait_started", 0, began, event_type=entry.type)
            if entry.error is None:
                yield fact("wait_completed", value=shown_payload(entry.payload, entry.is_sensitive))
            else:
                yield fact(
                    "wait_errored",
                    value=shown_payload(entry.payload, entry.is_sensitive),
                    error=ErrorInfo.from_blob(entry.error),
                )
        case ChildEnded():
            child = InstanceRef(entry.workflow, entry.id)
            yield fact("step_started", 0, began, child=child)
            if entry.error is None:
                yield fact("step_completed", child=child, value=entry.value)
            else:
                yield fact("step_errored", child=child, error=ErrorInfo.from_blob(entry.error))
        case Withdrawn():
            yield fact(f"{family}_started", 0, began)
            if entry.attempts:
                yield fact("attempt_started", 2 * entry.attempts - 1, began, attempt=entry.attempts)
            yield fact(f"{family}_withdrawn")


def _of_settled(entry: Settled, named: dict[str, Any]) -> Iterator[Fact]:
    of = _prefix(entry.kind)

    def fact(type: str, number: int, at_ms: float, **details: Any) -> Fact:
        return Fact(of + type, entry.seq, number, at_ms, named | details)

    last, config = entry.attempts, retries.settings_of(entry.config or b"")
    began = entry.started_at_ms or entry.at_ms
    failures = [one for one in entry.failures if one[0] != last]
    yield fact("step_started", 0, min([began, *(one[1] for one in failures)]), config=_shown(config))
    for at, (attempt, started, ended, blob) in enumerate(failures, 1):
        # Beyond what is kept, the number of failures is that of attempts, unless workers were lost.
        failed = at if len(entry.failures) < limits.FAILURES_KEPT else attempt
        yield fact("attempt_started", 2 * attempt - 1, started, attempt=attempt)
        yield fact(
            *("attempt_errored", 2 * attempt, ended),
            attempt=attempt,
            error=ErrorInfo.from_blob(blob),
            retry_delay_ms=_delay_ms(config, failed),
        )
    error = None if entry.error is None else ErrorInfo.from_blob(entry.error)
    if last:
        yield fact("attempt_started", 2 * last - 1, began, attempt=last)
        how = "attempt_completed" if error is None else "attempt_errored"
        yield fact(how, 2 * last, entry.at_ms, attempt=last, **({} if error is None else {"error": error}))
    if error is None:
        yield fact("step_completed", CLOSED, entry.at_ms, value=shown_result(entry))
    else:
        yield fact("step_errored", CLOSED, entry.at_ms, error=error)


def _prefix(kind: str) -> str:
    """Before the types of what happens to the handler of a step."""
    return "rollback_" if kind == Undone.kind else ""


def config_shown(blob: bytes) -> dict[str, Any] | None:
    """The settings of a step, as they are stored with it; None: they cannot be read."""
    return _shown(retries.settings_of(blob))


def _shown(config: StepConfig | None) -> dict[str, Any] | None:
    if config is None:
        return None
    shape = config.as_dict()
    shape["retries"].setdefault("delay", retries.DYNAMIC)
    return shape


def _delay_ms(config: StepConfig | None, failed: int) -> int | None:
    """How long the wait was after so many failures, where nothing but the settings decides it."""
    if config is None or config.retries.dynamic or config.retries.jitter or failed < 1:
        return None
    return retries.delay_ms(config.retries, failed)
