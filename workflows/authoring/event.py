"""What ``run`` is given and what ``wait_for_event`` returns.

Both are read-only mappings with Cloudflare's keys that also answer to attributes, in Cloudflare's spelling and in
Python's. The event is frozen to the bottom, because a change would be lost with the next replay. The views are real
dicts and lists, so that ``json.dumps``, ``**payload`` and ``isinstance`` work.

Source: https://developers.cloudflare.com/workflows/build/events-and-parameters/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, SupportsIndex, TypeVar, cast

if TYPE_CHECKING:
    from typing_extensions import TypeVar as _TypeVar

    Params = _TypeVar("Params", default=Any)
else:
    Params = TypeVar("Params")


class ReadOnlyError(TypeError, AttributeError):
    """The event cannot be changed: a replay would see the original again."""


def _refuse(*_: object, **__: object) -> NoReturn:
    raise ReadOnlyError(
        "The event and its payload cannot be changed, because a replay would see the original again. "
        "Make a copy, dict(event.payload) or copy.deepcopy(event.payload), or return the new value from a step."
    )


class FrozenDict(dict[str, Any]):
    """A dict of the payload: read-only, and its keys answer to attributes where no method has the name."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(_no_such(name, self)) from None

    __setattr__ = __delattr__ = _refuse
    __setitem__ = __delitem__ = _refuse
    __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __copy__(self) -> dict[str, Any]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return thaw(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (thaw(self),)


class FrozenList(list[Any]):
    """A list of the payload: read-only."""

    __setitem__ = __delitem__ = _refuse
    __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __copy__(self) -> list[Any]:
        return list(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return thaw(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (thaw(self),)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return self.__reduce__()


def freeze(value: Any) -> Any:
    """The value with every dict and list in it replaced by a read-only one."""
    kind = type(value)
    if kind is dict:
        return FrozenDict((key, freeze(member)) for key, member in value.items())
    if kind is list:
        return FrozenList(map(freeze, value))
    if kind is tuple:
        return tuple(map(freeze, value))
    return value


def thaw(value: Any) -> Any:
    """The value as plain dicts and lists that may be changed."""
    if isinstance(value, FrozenDict):
        return {key: thaw(member) for key, member in value.items()}
    if isinstance(value, FrozenList):
        return [thaw(member) for member in value]
    if type(value) is tuple:
        return tuple(thaw(member) for member in value)
    return value


class ScheduledTime(datetime):
    """The moment a schedule was due; ``int()`` gives milliseconds since the epoch, fit for an instance id."""

    @classmethod
    def from_ms(cls, ms: int) -> ScheduledTime:
        """The moment ``ms`` milliseconds after the epoch, in UTC."""
        return cls.fromtimestamp(ms / 1000, tz=UTC)

    def __int__(self) -> int:
        return round(self.timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Why a scheduled instance was created: the cron expression, the moment it was due, and the zone of its clock."""

    cron: str
    scheduled_time: ScheduledTime
    timezone: str = "UTC"

    @property
    def scheduledTime(self) -> int:  # noqa: N802  # Cloudflare's spelling, and its unit: milliseconds
        return round(self.scheduled_time.timestamp() * 1000)

    def __getitem__(self, name: str) -> Any:
        if name in ("cron", "scheduled_time", "scheduledTime", "timezone"):
            return getattr(self, name)
        raise KeyError(name)


_EVENT_KEYS: Final = ("payload", "timestamp", "instanceId", "workflowName")
_EVENT_ALIASES: Final = {
    "payload": "_payload",
    "params": "_payload",
    "timestamp": "_timestamp",
    "instance_id": "_instance_id",
    "instanceId": "_instance_id",
    "workflow_name": "_workflow_name",
    "workflowName": "_workflow_name",
    "schedule": "_schedule",
}


class _ReadOnly:
    __slots__ = ()
    __setattr__ = __delattr__ = _refuse
    __setitem__ = __delitem__ = _refuse


class WorkflowEvent(_ReadOnly, Mapping[str, Any], Generic[Params]):
    """Why this instance runs and what it was given. The same in every replay, and after a restart.

    Args:
        payload: the params of ``create``; ``{}`` where none were given, or the declared model.
        timestamp: when the instance was created, aware.
        schedule: set for an instance that a schedule created.
    """

    __slots__ = ("_instance_id", "_payload", "_schedule", "_timestamp", "_workflow_name")

    _payload: Params
    _timestamp: datetime
    _instance_id: str
    _workflow_name: str
    _schedule: Schedule | None

    def __init__(
        self,
        payload: Params,
        *,
        timestamp: datetime,
        instance_id: str,
        workflow_name: str,
        schedule: Schedule | None = None,
    ) -> None:
        if timestamp.tzinfo is None:
            raise ValueError("the timestamp of an event has a time zone")
        put = object.__setattr__
        put(self, "_payload", freeze(payload))
        put(self, "_timestamp", timestamp.astimezone(UTC))
        put(self, "_instance_id", instance_id)
        put(self, "_workflow_name", workflow_name)
        put(self, "_schedule", schedule)

    @property
    def payload(self) -> Params:
        """The params the instance was created with."""
        return self._payload

    @property
    def params(self) -> Params:
        """The same as ``payload``."""
        return self._payload

    @property
    def timestamp(self) -> datetime:
        """When the instance was created, in UTC."""
        return self._timestamp

    @property
    def instance_id(self) -> str:
        """The instance's id."""
        return self._instance_id

    @property
    def instanceId(self) -> str:  # noqa: N802  # Cloudflare's spelling
        """The instance's id."""
        return self._instance_id

    @property
    def workflow_name(self) -> str:
        """The workflow's name."""
        return self._workflow_name

    @property
    def workflowName(self) -> str:  # noqa: N802  # Cloudflare's spelling
        """The workflow's name."""
        return self._workflow_name

    @property
    def schedule(self) -> Schedule | None:
        """Which schedule created the instance, and for which moment; ``None`` where somebody else did."""
        return self._schedule

    @property
    def scheduled_time(self) -> ScheduledTime:
        """The moment a scheduled instance was due; ``int()`` of it is milliseconds since the epoch."""
        return self._scheduled().scheduled_time

    @property
    def scheduledTime(self) -> int:  # noqa: N802  # Cloudflare's spelling
        """The moment a scheduled instance was due, in milliseconds since the epoch."""
        return self._scheduled().scheduledTime

    @property
    def cron(self) -> str:
        """The cron expression of a scheduled instance."""
        return self._scheduled().cron

    def _scheduled(self) -> Schedule:
        if self._schedule is None:
            # LookupError and not AttributeError, so that it is not mistaken for a wrong name.
            raise LookupError("This instance was not created by a schedule: event.schedule is None.")
        return self._schedule

    def __getitem__(self, name: str) -> Any:
        slot = _EVENT_ALIASES.get(name)
        if slot is None:
            raise KeyError(_no_such(name, self))
        return getattr(self, slot)

    def __iter__(self) -> Iterator[str]:
        yield from _EVENT_KEYS
        if self._schedule is not None:
            yield "schedule"

    def __len__(self) -> int:
        return len(_EVENT_KEYS) + (self._schedule is not None)

    def __hash__(self) -> int:
        return hash((self._workflow_name, self._instance_id))

    def __repr__(self) -> str:
        return f"<WorkflowEvent {self._workflow_name}/{self._instance_id} payload={self._payload!r}>"


class ReceivedEvent(_ReadOnly, Mapping[str, Any]):
    """An event that ``wait_for_event`` received: ``payload``, ``type`` and ``timestamp``.

    Where the payload is a mapping, its keys are within reach directly: ``reply.approved`` is
    ``reply.payload["approved"]``, unless the name is one of the three above or a method of mappings.
    """

    __slots__ = ("_payload", "_timestamp", "_type")

    _payload: Any
    _type: str
    _timestamp: datetime

    def __init__(self, payload: Any, *, type: str, timestamp: datetime) -> None:
        put = object.__setattr__
        put(self, "_payload", payload)
        put(self, "_type", type)
        put(self, "_timestamp", timestamp)

    @property
    def payload(self) -> Any:
        """What was sent."""
        return self._payload

    @property
    def type(self) -> str:
        """The event's type, the one waited for."""
        return self._type

    @property
    def timestamp(self) -> datetime:
        """When it was accepted, in UTC."""
        return self._timestamp

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        payload = self._payload
        if isinstance(payload, Mapping) and name in payload:
            return payload[name]
        raise AttributeError(_no_such(name, [*self, *(payload if isinstance(payload, Mapping) else ())]))

    def __getitem__(self, name: str) -> Any:
        if name in ("payload", "type", "timestamp"):
            return getattr(self, "_" + name)
        if isinstance(self._payload, Mapping):
            return cast("Mapping[str, Any]", self._payload)[name]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        yield from ("payload", "type", "timestamp")

    def __len__(self) -> int:
        return 3

    def __contains__(self, name: object) -> bool:
        return name in ("payload", "type", "timestamp") or (
            isinstance(self._payload, Mapping) and name in self._payload
        )

    def __repr__(self) -> str:
        return f"<ReceivedEvent {self._type} payload={self._payload!r}>"


def moment(ms: int) -> datetime:
    """Milliseconds since the epoch as an aware datetime in UTC."""
    return datetime.fromtimestamp(ms / 1000, tz=UTC)


def _no_such(name: object, names: Any) -> str:
    return f"there is no {name!r} here; there are: {', '.join(map(str, names)) or 'none'}"
