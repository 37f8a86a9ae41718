"""The status of an instance for people: made of what was read, with the reason where it does not move."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from workflows.client import history
from workflows.client.history import Dumped, ErrorInfo, StepStatus, decoded, iso, readable
from workflows.client.published import PublishedValue, published_values
from workflows.client.reading import Reading
from workflows.storage.records import Deadline, Firing
from workflows.storage.status import Status
from workflows.values import codec
from workflows.values.metadata import Metadata

Steps = TypeVar("Steps", bound="ReadSteps")


class ReadSteps(Protocol):
    """The steps of a status, of either client."""

    @property
    def known(self) -> Sequence[StepStatus]:
        """Those that can be had without waiting."""

    @property
    def complete(self) -> bool:
        """Whether these are all."""


def _output(stored: bytes | None) -> Any:
    return None if stored is None else codec.decode(stored)


def _warnings(stored: bytes | None) -> tuple[str, ...]:
    return tuple(codec.decode(stored)) if stored else ()


def _schedule(stored: bytes | None) -> tuple[str, datetime] | None:
    if not stored:
        return None
    firing = Firing.of(stored)
    at = history.moment(firing.at_ms)
    assert at is not None
    return firing.cron, at


@dataclass(frozen=True)
class RollbackStatus(Dumped):
    """How the handlers of an instance's steps have ended.

    Attributes:
        outcome: ``complete``, or ``failed``: a handler failed for good, and those after it did not run.
        error: why it failed.
    """

    outcome: str
    error: ErrorInfo | None = None

    @classmethod
    def of(cls, stored: bytes) -> RollbackStatus:
        return cls("complete") if stored == b"complete" else cls("failed", ErrorInfo.from_blob(stored))

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"outcome": self.outcome, "error": None if self.error is None else self.error.as_dict()}


@dataclass(frozen=True)
class CancelStatus(Dumped):
    """That an instance was asked to end, and cleans up.

    Attributes:
        reason: why, as whoever cancelled it says; '': they do not.
        is_late: nobody has, but its deadline is over.
        ends_at: when it is ended if it has not by itself; None while its time stands still.
    """

    reason: str
    is_late: bool
    ends_at: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"reason": self.reason, "is_late": self.is_late, "ends_at": iso(self.ends_at)}


@dataclass(frozen=True)
class InstanceStatus(Dumped, Generic[Steps]):
    """How an instance is at one moment.

    Attributes:
        status: queued, running, waiting, waitingForPause, paused, complete, errored or terminated. One that is rolled
            back is running, as at Cloudflare, or waiting for a handler's next attempt.
        reason: why it does not move, where that needs an explanation: parked because ``run`` and the journal disagree,
            stalled, waiting for a slot of its workflow's limit, or nobody there to do the work. None otherwise.
        error: why it errored, was cancelled, or is rolled back.
        cancelling: that it was asked to end, until it has ended or is rolled back; None otherwise.
        deadline_at: when it is asked to end by its deadline; None: it has none, was asked, or its time stands still.
        rollback: how its rollback ended; None before, and where there was none.
        is_rolling_back: whether handlers undo what it did.
        created_at, started_at, ended_at: aware moments in UTC; ``created_at`` survives a restart.
        paused_at: since when it is paused or pausing.
        steps: what it has done so far and what is open, in the order ``run`` asked for it; further pages are read
            when they are looked at.
        metadata: what was said about it when it was created.
        params: what it was created with.
        output: what ``run`` returned; None before.
        values: what it has published so far (``step.publish``), by name; ``published`` says since when.
        warnings: what ``run`` left undone when it returned.
        schedule: the cron line that created it, and the moment it stands for; None if none did.
        stored: params, output, values, warnings and schedule as bytes. They are decoded when they are looked at, which
            raises CorruptPayload when they cannot be read.

    ``as_dict`` is the form for JSON, and what pydantic and web frameworks make of it; ``dataclasses.asdict`` works too.
    """

    id: str
    workflow: str
    status: Status
    reason: str | None
    error: ErrorInfo | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    paused_at: datetime | None
    queue: str
    steps: Steps
    generation: str
    stored: dataclasses.InitVar[Mapping[str, bytes | None]]
    rollback: RollbackStatus | None = None
    is_rolling_back: bool = False
    cancelling: CancelStatus | None = None
    deadline_at: datetime | None = None
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    params: Any = decoded("params", lambda status: codec.decode(status.stored["params"] or b""))  # noqa: RUF009
    output: Any = decoded("output", lambda status: _output(status.stored["out"]))  # noqa: RUF009
    values: Mapping[str, Any] = decoded("values", lambda one: {each.name: each.read() for each in one.published})
    warnings: tuple[str, ...] = decoded("warnings", lambda status: _warnings(status.stored["warn"]))
    schedule: tuple[str, datetime] | None = decoded("schedule", lambda one: _schedule(one.stored["sched"]))

    def __post_init__(self, stored: Mapping[str, bytes | None]) -> None:
        self.__dict__["stored"] = stored

    @property
    def published(self) -> list[PublishedValue]:
        """What it has published so far, by name, with the moment of each."""
        return published_values(self.__dict__["stored"]["vals"])

    @property
    def has_output(self) -> bool:
        """Whether ``run`` has returned."""
        return self.__dict__["stored"]["out"] is not None

    @property
    def shown_status(self) -> str:
        """For people: as ``status``, and ``rollingBack`` or ``cancelling`` where that is so."""
        if self.status in (Status.RUNNING, Status.WAITING):
            if self.is_rolling_back:
                return "rollingBack"
            if self.cancelling is not None:
                return "cancelling"
        return str(self.status)

    def as_dict(self, *, outputs: bool = True, steps: bool = True) -> dict[str, Any]:
        """As JSON can hold it, with moments as text; the command line's ``--json`` prints this, with ``shown_status``.

        Args:
            outputs: with the steps' outputs. A value that cannot be read is a text that says so.
            steps: with the steps; of a long history they are not read without.
        Returns: among others ``steps``, and ``steps_complete``: false for a status of ``AsyncClient`` with more steps
            than were read with it; ``await status.steps.all()`` reads the others.
        """
        schedule = self.schedule
        shape = {
            "workflow": self.workflow,
            "id": self.id,
            "status": str(self.status),
            "reason": self.reason,
            "queue": self.queue,
            "created_at": iso(self.created_at),
            "started_at": iso(self.started_at),
            "ended_at": iso(self.ended_at),
            "paused_at": iso(self.paused_at),
            "metadata": dict(self.metadata),
            "params": readable(lambda: self.params),
            "output": readable(lambda: self.output),
            "values": {one.name: readable(one.read) for one in self.published},
            "error": None if self.error is None else self.error.as_dict(),
            "rollback": None if self.rollback is None else self.rollback.as_dict(),
            "is_rolling_back": self.is_rolling_back,
            "cancelling": None if self.cancelling is None else self.cancelling.as_dict(),
            "deadline_at": iso(self.deadline_at),
            "warnings": list(self.warnings),
            "schedule": None if schedule is None else {"cron": schedule[0], "scheduled_at": iso(schedule[1])},
        }
        if steps:
            shape["steps"] = [step.as_dict(outputs=outputs) for step in self.steps.known]
            shape["steps_complete"] = self.steps.complete
        return shape


def status_of(seen: Reading, steps: Steps, reason: str | None) -> InstanceStatus[Steps]:
    """The public form of what was read."""
    header = seen.header
    created = history.moment(header["created"])
    assert created is not None
    cause, undone = header["rb"], header["undone"]
    error = header["err"] or (cause if cause != b"terminate" else None)
    stop, is_asked = Deadline.parse(seen.text("stop")), False
    at = None
    if stop is not None and cause is None:
        is_asked = stop.is_asked
        at = history.moment(stop.moment_ms(seen.stood_ms))
    return InstanceStatus(
        id=seen.instance.id,
        workflow=seen.instance.workflow,
        status=seen.status,
        reason=reason,
        error=None if error is None else ErrorInfo.from_blob(error),
        created_at=created,
        started_at=history.moment(header["started"]),
        ended_at=history.moment(header["ended"]),
        paused_at=history.moment(header["paused_at"]) if seen.text("want") else None,
        queue=seen.queue,
        steps=steps,
        generation=seen.text("gen"),
        metadata=Metadata.of(header["meta"]).values,
        rollback=None if undone is None else RollbackStatus.of(undone),
        is_rolling_back=cause is not None,
        cancelling=CancelStatus(seen.text("stop_for"), stop.is_late, at) if stop is not None and is_asked else None,
        deadline_at=None if is_asked else at,
        stored={name: header[name] for name in ("params", "out", "vals", "warn", "sched")},
    )
