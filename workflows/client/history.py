"""What an instance has done so far, for people: steps made of the journal and of what is still open.

Pure: it reads entries and records and returns values. Values stay encoded until somebody looks at them, so that a
listing neither pays for large results nor stumbles over one that cannot be read.
"""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from workflows.authoring import retries
from workflows.errors import CorruptPayload
from workflows.storage.journal import (
    ChildEnded,
    Entry,
    EventReceived,
    NoAnswer,
    Settled,
    Slept,
    TimedOut,
    Withdrawn,
)
from workflows.storage.records import Open, OpenChild, OpenSleep, OpenStep, OpenUndo, OpenWait
from workflows.values import codec
from workflows.values.codec import InstanceRef
from workflows.values.failure import Failure

_REDACTED: Final = codec.encode("[REDACTED]", what="what stands for a sensitive result")


class _Serializer:
    """What pydantic dumps such a value with: made when it is asked for, for importing a client must not wait for it."""

    def __get__(self, owner: Any, kind: type) -> Any:
        from pydantic_core import SchemaSerializer

        return SchemaSerializer(_schema(kind))


def _schema(kind: type) -> Any:
    from pydantic_core import core_schema

    shape = core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema())
    dump = core_schema.plain_serializer_function_ser_schema(kind.as_dict, return_schema=shape)  # type: ignore[attr-defined]
    return core_schema.is_instance_schema(kind, serialization=dump)


class Dumped:
    """What can be returned from a web framework or dumped by pydantic: ``as_dict`` says how."""

    __slots__ = ()
    __pydantic_serializer__ = _Serializer()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return _schema(cls)


class Decoded:
    """A field of a dataclass that is made of stored bytes when somebody looks at it, and remembered then.

    Fields are what ``dataclasses.asdict`` and pydantic look at, so what they dump are values and never bytes.
    """

    def __init__(self, name: str, read: Callable[[Any], Any]) -> None:
        self._name = name
        self._read = read

    def __get__(self, owner: Any, _: type | None = None) -> Any:
        if owner is None:
            return self
        # Found there from now on: what has no __set__ comes after an instance's own attributes.
        found = owner.__dict__[self._name] = self._read(owner)
        return found


def decoded(name: str, read: Callable[[Any], Any]) -> Any:
    """The default of such a field; ``name`` is its own."""
    return dataclasses.field(init=False, repr=False, compare=False, default=Decoded(name, read))


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """A stored error, for reading."""

    name: str
    message: str
    traceback: str = ""

    @classmethod
    def from_blob(cls, blob: bytes) -> ErrorInfo:
        """Read a failure; one that cannot be read says so instead of raising."""
        try:
            failure = Failure.from_blob(blob)
        except CorruptPayload as error:
            return cls("CorruptPayload", str(error))
        return cls(failure.name, failure.message, failure.traceback)

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"name": self.name, "message": self.message, "traceback": self.traceback}

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name


@dataclass(frozen=True, slots=True)
class AttemptFailure:
    """One failed attempt of a step. The last ten are kept."""

    attempt: int
    started_at: datetime
    ended_at: datetime
    error: ErrorInfo

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "attempt": self.attempt,
            "started_at": iso(self.started_at),
            "ended_at": iso(self.ended_at),
            "error": self.error.as_dict(),
        }


@dataclass(frozen=True)
class StepStatus(Dumped):
    """One step of an instance.

    Attributes:
        seq: its place in the order in which ``run`` asked for steps, from 1.
        kind: ``do``, ``sleep``, ``wait``, ``child``, or ``rollback``: the handler of a ``do``.
        name, count: as given, and which occurrence of that name it is, from 1. A ``rollback`` has those of its step.
        status: pending, running, retrying, complete, failed, sleeping, waiting, starting, timed out or withdrawn.
        attempts: attempts begun so far; 0 for everything but ``do`` and ``rollback``.
        started_at: when the first known attempt began, for the other kinds when it was asked for; None if not known.
        ended_at: when it was answered; None while open.
        due_at: when its timer fires: end of a sleep, timeout of a wait, next attempt. None while time stands still.
        error: why it failed.
        failures: failed attempts, oldest first.
        event_type: what a ``wait`` waits for; None when not known.
        child: the instance a ``child`` step waits for. While the step is ``starting`` it may not be there yet: creating
            it is on its way to another shard.
        queue: where an open ``do`` runs, without the namespace.
        asked_at: when ``run`` asked for it; None for a ``do`` that has been answered: that is not kept.
        begun_at: when the last attempt of a ``do`` began; None before the first.
        heard_at: when the last heartbeat of an open ``do`` was written that said something.
        heartbeat_details: what it said, as ``output``.
        output: the step's result, an event's payload or a child's output; None while there is none, and the text
            ``[REDACTED]`` for a step that is sensitive. Looking at it raises CorruptPayload when it cannot be read.
        value, details: output and heartbeat_details, encoded.
    """

    seq: int
    kind: str
    name: str
    count: int
    status: str
    attempts: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    due_at: datetime | None = None
    error: ErrorInfo | None = None
    failures: tuple[AttemptFailure, ...] = ()
    event_type: str | None = None
    child: InstanceRef | None = None
    queue: str | None = None
    asked_at: datetime | None = None
    begun_at: datetime | None = None
    heard_at: datetime | None = None
    details: dataclasses.InitVar[bytes | None] = None
    value: dataclasses.InitVar[bytes | None] = None
    output: Any = decoded("output", lambda step: codec.decode(step.value) if step.has_output else None)  # noqa: RUF009

    heartbeat_details: Any = decoded(  # noqa: RUF009
        "heartbeat_details", lambda step: codec.decode(step.details) if step.details else None
    )

    def __post_init__(self, details: bytes | None, value: bytes | None) -> None:
        self.__dict__["details"] = details
        self.__dict__["value"] = value

    @property
    def has_output(self) -> bool:
        """Whether there is one, be it None."""
        return self.__dict__["value"] is not None

    def as_dict(self, *, outputs: bool = True) -> dict[str, Any]:
        """As JSON can hold it, with moments as text.

        Args:
            outputs: with its output; one that cannot be read is a text that says so.
        """
        shape: dict[str, Any] = {
            "seq": self.seq,
            "kind": self.kind,
            "name": self.name,
            "count": self.count,
            "status": self.status,
            "attempts": self.attempts,
            "started_at": iso(self.started_at),
            "ended_at": iso(self.ended_at),
            "due_at": iso(self.due_at),
            "error": None if self.error is None else self.error.as_dict(),
            "failures": [failure.as_dict() for failure in self.failures],
            "event_type": self.event_type,
            "child": None if self.child is None else jsonable(self.child),
            "queue": self.queue,
            "asked_at": iso(self.asked_at),
            "begun_at": iso(self.begun_at),
            "heard_at": iso(self.heard_at),
        }
        if outputs:
            shape["heartbeat_details"] = readable(lambda: self.heartbeat_details)
            shape["output"] = readable(lambda: self.output)
        return shape


def iso(moment: datetime | None) -> str | None:
    """A moment as text, for JSON."""
    return None if moment is None else moment.isoformat()


def readable(read: Callable[[], Any]) -> Any:
    """A stored value as JSON can show it; a text that says why, where it cannot be read."""
    try:
        return jsonable(read())
    except CorruptPayload as error:
        return f"({error})"


def steps_of(
    entries: Iterable[Entry],
    records: Iterable[Open],
    starting: Container[int] = (),
    *,
    ended: bool = False,
    stood_ms: int | None = 0,
) -> list[StepStatus]:
    """The steps of an instance, in the order ``run`` asked for them.

    Args:
        entries: its journal.
        records: what is open.
        starting: the steps whose child is on its way to another shard.
        ended: the instance has ended, so what is still open has been withdrawn.
        stood_ms: for how long time stood still for the instance; None while it does.
    """
    steps: dict[int, StepStatus] = {}
    for entry in entries:
        if not isinstance(entry, NoAnswer):
            # The first answer counts: a wait that was cancelled after its event came has no further entry.
            steps.setdefault(entry.seq, _answered(entry))
    for record in records:
        step = _open(record, stood_ms)
        if step.seq in starting:
            step = dataclasses.replace(step, status="starting")
        if ended:
            step = dataclasses.replace(step, status="withdrawn", due_at=None)
        steps.setdefault(step.seq, step)
    return [steps[seq] for seq in sorted(steps)]


def moment(ms: float | bytes | str | None) -> datetime | None:
    """Milliseconds since the epoch, as stored, to an aware moment; None and '' stay nothing."""
    if ms is None or ms in (b"", ""):
        return None
    return datetime.fromtimestamp(float(ms) / 1000, UTC)


def jsonable(value: Any) -> Any:
    """A stored value as JSON can show it: moments as text, bytes in base64, NaN as null, references as two names."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            return base64.b64encode(value).decode()
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case InstanceRef():
            return {"workflow": value.workflow, "id": value.id}
        case Mapping():
            return {key if isinstance(key, str) else str(key): jsonable(member) for key, member in value.items()}
        case list() | tuple():
            return [jsonable(member) for member in value]
        case set() | frozenset():
            return sorted((jsonable(member) for member in value), key=repr)
        case _:
            return str(value)


def _answered(entry: Settled | Slept | TimedOut | EventReceived | ChildEnded | Withdrawn) -> StepStatus:
    kind = _shown_kind(entry.command if isinstance(entry, Withdrawn) else entry.kind)
    step = StepStatus(entry.seq, kind, entry.name, entry.count, "complete", ended_at=moment(entry.at_ms))
    if entry.started_at_ms:
        began = moment(entry.started_at_ms)
        is_do = kind in ("do", "rollback")
        step = dataclasses.replace(
            step, started_at=began, asked_at=None if is_do else began, begun_at=began if is_do else None
        )
    match entry:
        case Settled():
            failures = _failures(entry.failures)
            started = [failure.started_at for failure in failures]
            if step.begun_at:
                started.append(step.begun_at)
            return dataclasses.replace(
                step,
                status="complete" if entry.error is None else "failed",
                attempts=entry.attempts,
                started_at=min(started, default=None),
                error=None if entry.error is None else ErrorInfo.from_blob(entry.error),
                failures=failures,
                value=shown_result(entry),
            )
        case TimedOut():
            return dataclasses.replace(step, status="timed out")
        case EventReceived():
            failed = None if entry.error is None else ErrorInfo.from_blob(entry.error)
            step = dataclasses.replace(
                step, event_type=entry.type, value=shown_payload(entry.payload, entry.is_sensitive)
            )
            return step if failed is None else dataclasses.replace(step, status="failed", error=failed)
        case ChildEnded():
            return dataclasses.replace(
                step,
                status="complete" if entry.error is None else "failed",
                error=None if entry.error is None else ErrorInfo.from_blob(entry.error),
                child=InstanceRef(entry.workflow, entry.id),
                value=entry.value,
            )
        case Withdrawn():
            begun = step.begun_at if entry.attempts else None
            return dataclasses.replace(step, status="withdrawn", attempts=entry.attempts, begun_at=begun)
    return step


def shown_result(entry: Settled) -> bytes | None:
    """The result of a step as people are shown it: as it is stored, unless the step is sensitive."""
    return _REDACTED if entry.value is not None and retries.hides_output(entry.config) else entry.value


def shown_payload(payload: bytes, is_sensitive: bool) -> bytes:
    """The same of what an event has brought."""
    return _REDACTED if is_sensitive else payload


def shown_details(record: OpenStep) -> bytes | None:
    """The same of what an attempt has said with its last heartbeat."""
    return _REDACTED if record.details and retries.hides_output(record.config) else record.details or None


def _open(record: Open, stood_ms: int | None) -> StepStatus:
    asked = moment(record.asked)
    step = StepStatus(record.seq, record.kind, record.name, record.count, "waiting", started_at=asked, asked_at=asked)
    match record:
        case OpenStep():
            return _open_step(record, stood_ms)
        case OpenSleep():
            due = record.due if record.absolute else _server_time(record.due, stood_ms)
            return dataclasses.replace(step, status="sleeping", due_at=moment(due))
        case OpenWait():
            due_at = moment(_server_time(record.fires, stood_ms))
            return dataclasses.replace(step, due_at=due_at, event_type=record.event_type)
        case OpenChild():
            return dataclasses.replace(step, child=InstanceRef(record.workflow, record.id))


def _open_step(record: OpenStep, stood_ms: int | None) -> StepStatus:
    failures = _failures(record.failures)
    started = [failure.started_at for failure in failures]
    if record.begun:
        started.append(datetime.fromtimestamp(record.begun / 1000, UTC))
    status = "running" if record.state == "held" else "retrying" if failures else "pending"
    if record.state == "back" and retries.looks_again(record.config, record.attempts, record.failures):
        status = "waiting"
    return StepStatus(
        record.seq,
        _shown_kind(record.kind),
        record.name,
        record.count,
        status,
        attempts=record.attempts,
        started_at=min(started, default=None),
        due_at=moment(_server_time(record.due, stood_ms)) if record.state == "back" else None,
        error=failures[-1].error if failures else None,
        failures=failures,
        queue=record.queue,
        asked_at=moment(record.asked or None),
        begun_at=moment(record.begun or None),
        heard_at=moment(record.heard or None),
        details=shown_details(record),
    )


def _shown_kind(kind: str) -> str:
    return "rollback" if kind == OpenUndo.kind else kind


def _server_time(due: int | None, stood_ms: int | None) -> int | None:
    """When a moment of an instance's own time comes; None while that stands still."""
    return None if due is None or stood_ms is None else due + stood_ms


def _failures(stored: Iterable[Any]) -> tuple[AttemptFailure, ...]:
    return tuple(
        AttemptFailure(
            int(attempt),
            datetime.fromtimestamp(started / 1000, UTC),
            datetime.fromtimestamp(ended / 1000, UTC),
            ErrorInfo.from_blob(blob),
        )
        for attempt, started, ended, blob in stored
    )
