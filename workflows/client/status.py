"""The status of an instance for people: made of what was read, with the reason where it does not move."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, Protocol, TypeVar

from workflows.client import history
from workflows.client.history import Dumped, ErrorInfo, StepStatus, decoded, iso, readable
from workflows.client.reading import Reading, readable_records
from workflows.errors import CorruptPayload
from workflows.storage import journal
from workflows.storage.keys import Keyspace
from workflows.storage.records import Firing, OpenStep, Slot
from workflows.storage.status import FINAL, Status
from workflows.values import codec
from workflows.values.concurrency import shown_key
from workflows.values.metadata import Metadata

Steps = TypeVar("Steps", bound="ReadSteps")
# Work that nobody has taken for this long deserves an explanation.
UNCLAIMED_MS: Final = 10_000


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
class InstanceStatus(Dumped, Generic[Steps]):
    """How an instance is at one moment.

    Attributes:
        status: queued, running, waiting, waitingForPause, paused, complete, errored or terminated. One that is rolled
            back is running, as at Cloudflare, or waiting for a handler's next attempt.
        reason: why it does not move, where that needs an explanation: parked because ``run`` and the journal disagree,
            stalled, waiting for a slot of its workflow's limit, or nobody there to do the work. None otherwise.
        error: why it errored, or is rolled back.
        rollback: how its rollback ended; None before, and where there was none.
        is_rolling_back: whether handlers undo what it did.
        created_at, started_at, ended_at: aware moments in UTC; ``created_at`` survives a restart.
        paused_at: since when it is paused or pausing.
        steps: what it has done so far and what is open, in the order ``run`` asked for it; further pages are read
            when they are looked at.
        metadata: what was said about it when it was created.
        params: what it was created with.
        output: what ``run`` returned; None before.
        warnings: what ``run`` left undone when it returned.
        schedule: the cron line that created it, and the moment it stands for; None if none did.
        stored: params, output, warnings and schedule as bytes. They are decoded when they are looked at, which raises
            CorruptPayload when they cannot be read.

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
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    params: Any = decoded("params", lambda status: codec.decode(status.stored["params"] or b""))  # noqa: RUF009
    output: Any = decoded("output", lambda status: _output(status.stored["out"]))  # noqa: RUF009
    warnings: tuple[str, ...] = decoded("warnings", lambda status: _warnings(status.stored["warn"]))
    schedule: tuple[str, datetime] | None = decoded("schedule", lambda one: _schedule(one.stored["sched"]))

    def __post_init__(self, stored: Mapping[str, bytes | None]) -> None:
        self.__dict__["stored"] = stored

    @property
    def has_output(self) -> bool:
        """Whether ``run`` has returned."""
        return self.__dict__["stored"]["out"] is not None

    @property
    def shown_status(self) -> str:
        """For people: as ``status``, and ``rollingBack`` where that is so."""
        return (
            "rollingBack"
            if self.is_rolling_back and self.status in (Status.RUNNING, Status.WAITING)
            else str(self.status)
        )

    def as_dict(self, *, outputs: bool = True) -> dict[str, Any]:
        """As JSON can hold it, with moments as text; the command line's ``--json`` prints this, with ``shown_status``.

        Args:
            outputs: with the steps' outputs. A value that cannot be read is a text that says so.
        Returns: among others ``steps``, and ``steps_complete``: false for a status of ``AsyncClient`` with more steps
            than were read with it; ``await status.steps.all()`` reads the others.
        """
        schedule = self.schedule
        return {
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
            "error": None if self.error is None else self.error.as_dict(),
            "rollback": None if self.rollback is None else self.rollback.as_dict(),
            "is_rolling_back": self.is_rolling_back,
            "warnings": list(self.warnings),
            "schedule": None if schedule is None else {"cron": schedule[0], "scheduled_at": iso(schedule[1])},
            "steps": [step.as_dict(outputs=outputs) for step in self.steps.known],
            "steps_complete": self.steps.complete,
        }


def status_of(seen: Reading, steps: Steps, reason: str | None) -> InstanceStatus[Steps]:
    """The public form of what was read."""
    header = seen.header
    created = history.moment(header["created"])
    assert created is not None
    cause, undone = header["rb"], header["undone"]
    error = header["err"] or (cause if cause != b"terminate" else None)
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
        stored={name: header[name] for name in ("params", "out", "warn", "sched")},
    )


def known_reason(seen: Reading) -> str | None:
    """Why the instance does not move, as far as it says so itself."""
    reason = seen.text("reason")
    if seen.text("want") == "park":
        return reason or "parked"
    strikes = int(seen.text("strikes") or 0)
    if strikes and seen.status not in FINAL:
        return f"stalled {strikes} of 3 times{': ' * bool(reason)}{reason}"
    waits_for_slot = _slot_reason(seen)
    if waits_for_slot is not None:
        return waits_for_slot
    declined = int(seen.text("declined") or 0)
    if declined and unclaimed_queues(seen):
        return (
            f"put back {declined} times by workers that do not know the workflow: start a worker that has its code, "
            "or stop those with older code"
        )
    return None


def _slot_reason(seen: Reading) -> str | None:
    """It waits for others of its workflow."""
    try:
        slot = Slot.parse(seen.text("slot"))
    except ValueError:
        return None
    if seen.status is not Status.QUEUED or slot.state != "a":
        return None
    key = shown_key(slot.key)
    among = f"workflow {seen.instance.workflow}" + (f" with the key {key!r}" if key is not None else "")
    return f"waits for a slot: as many instances of {among} run as may at a time"


def unclaimed_queues(seen: Reading) -> list[str]:
    """Queues, without the namespace, on which work of this instance has been waiting for longer than ten seconds."""
    if seen.status not in (Status.QUEUED, Status.RUNNING):
        return []
    records = readable_records(seen.records)
    moments = [float(seen.text(field) or 0) for field in ("created", "started")]
    with suppress(CorruptPayload):
        moments += [entry.at_ms for entry in map(journal.decode, seen.entries[-1:])]
    queues = set()
    if seen.text("turn").startswith("r|") and seen.now_ms - max(moments) > UNCLAIMED_MS:
        queues.add(seen.queue)
    for record in records:
        if isinstance(record, OpenStep) and record.state == "ready":
            last = max([record.asked, *(ended for _, _, ended, _ in record.failures)])
            if seen.now_ms - last > UNCLAIMED_MS:
                queues.add(record.queue)
    return sorted(queues)


def nobody_there(keys: Keyspace, workers: Mapping[str, int], orchestrators: int) -> str | None:
    """The reason, when there is nobody to take work.

    Args:
        workers: how many serve each queue on which work waits, by its name without the namespace.
    """
    missing = [f"no worker serves queue {keys.queue(queue)}" for queue, count in workers.items() if not count]
    if not orchestrators:
        missing.append("no orchestrator is running")
    return "; ".join(missing) or None
