"""Something that has happened to an instance, as subscribers are told.

Names of types and fields are Cloudflare's: https://developers.cloudflare.com/workflows/build/subscribe-to-instance-events/
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from workflows.client.history import Dumped, ErrorInfo, decoded, iso, jsonable, readable
from workflows.errors import ConfigError
from workflows.values import codec
from workflows.values.codec import InstanceRef

_WORKFLOW = (
    "queued",
    "started",
    "running",
    "paused",
    "waiting_for_pause",
    "waiting",
    "completed",
    "errored",
    "terminated",
)
_ROLLBACK = [f"rollback{part}" for part in ("", "_step", "_attempt")]
TYPES: Final = (
    *(f"workflow_{state}" for state in _WORKFLOW),
    *(f"{what}_{state}" for what in ("step", "attempt") for state in ("started", "completed", "errored")),
    *("sleep_started", "sleep_completed", "wait_started", "wait_completed", "wait_timed_out"),
    *(f"{what}_{state}" for what in _ROLLBACK for state in ("started", "completed", "errored")),
    *("wait_errored", "value_published", "cancel_requested", "deadline_exceeded"),
    *("step_withdrawn", "sleep_withdrawn", "wait_withdrawn", "rollback_step_withdrawn"),
)
"""All there are. The last eight are ours: an event that is an error; a value that ``run`` shows; ``run`` is asked to
end; given up by ``run``, or open at the end."""

_VALUES = {
    "workflow_started": "params",
    "workflow_completed": "output",
    "step_completed": "output",
    "wait_completed": "output",
    "wait_errored": "output",
    "value_published": "output",
}


def checked_types(filter: str | Iterable[str] | None) -> frozenset[str] | None:
    """The types somebody asks for; None: all. Raises: ConfigError: there is no such type."""
    if filter is None:
        return None
    wanted = frozenset([filter] if isinstance(filter, str) else filter)
    unknown = sorted(map(str, wanted - {*TYPES}))
    if unknown:
        raise ConfigError(f"no event has the type {', '.join(unknown)}. The types are {', '.join(TYPES)}.")
    return wanted


@dataclass(frozen=True)
class InstanceEvent(Dumped):
    """One thing that has happened to an instance. What a type does not have is None.

    Attributes:
        type: one of ``TYPES``.
        event_id: the cursor with which a subscription goes on behind this event.
        timestamp: when it happened, in UTC; of a change of status, when it was noticed.
        step_name, step_count: of events of a step: its name, and which occurrence of that name, from 1.
        attempt: of ``attempt_…``: which one, from 1.
        config: of ``step_started``: retries and timeout in Cloudflare's form, durations in ms.
        error: of ``…_errored``.
        reason: of ``cancel_requested`` and ``deadline_exceeded``: why.
        retry_delay_ms: of ``attempt_errored``: when the next one follows, where that is known.
        duration_ms: of ``sleep_started``: how long it sleeps, or slept if it is over.
        event_type: of ``wait_started``: what it waits for; not known of one that timed out or was given up before
            somebody looked.
        child: the instance that a step waits for.
        published_name: of ``value_published``: under which name. What it replaces before somebody looked is not told.
        value: params, output or payload as stored.
        params: of ``workflow_started``.
        output: of ``workflow_completed`` and ``step_completed``, the payload of ``wait_completed`` and
            ``wait_errored``, and the value of ``value_published``. Looking at it raises CorruptPayload when it cannot
            be read; so does ``params``.
    """

    type: str
    instance_id: str
    event_id: str
    timestamp: datetime
    step_name: str | None = None
    step_count: int | None = None
    attempt: int | None = None
    config: dict[str, Any] | None = None
    error: ErrorInfo | None = None
    reason: str | None = None
    retry_delay_ms: int | None = None
    duration_ms: int | None = None
    event_type: str | None = None
    child: InstanceRef | None = None
    published_name: str | None = None
    value: dataclasses.InitVar[bytes | None] = None
    params: Any = decoded("params", lambda event: event._decoded("params"))  # noqa: RUF009
    output: Any = decoded("output", lambda event: event._decoded("output"))  # noqa: RUF009

    def __post_init__(self, value: bytes | None) -> None:
        self.__dict__["value"] = value

    @property
    def value_name(self) -> str | None:
        """Which field its value stands in: ``params``, ``output``, or none."""
        return _VALUES.get(self.type)

    def _decoded(self, name: str | None) -> Any:
        stored = self.__dict__["value"]
        return codec.decode(stored) if stored is not None and self.value_name == name else None

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it, under Cloudflare's names; without the fields that its type does not have."""
        shape = {
            "type": self.type,
            "instanceId": self.instance_id,
            "eventId": self.event_id,
            "timestamp": iso(self.timestamp),
            "stepName": self.step_name,
            "stepCount": self.step_count,
            "attempt": self.attempt,
            "config": self.config,
            "error": None if self.error is None else {"name": self.error.name, "message": self.error.message},
            "reason": self.reason,
            "retryDelayMs": self.retry_delay_ms,
            "durationMs": self.duration_ms,
            "eventType": self.event_type,
            "publishedName": self.published_name,
            "child": None if self.child is None else jsonable(self.child),
        }
        shape = {name: value for name, value in shape.items() if value is not None}
        if self.value_name is not None:
            shape[self.value_name] = readable(lambda: self._decoded(self.value_name))
        return shape
