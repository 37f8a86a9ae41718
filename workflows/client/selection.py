"""Which instances of a workflow are meant: by status, by when they were created or ended, by their metadata."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final, TypedDict

from workflows.errors import ConfigError
from workflows.storage.status import FINAL, Status
from workflows.values.metadata import Metadata, metadata_of, tag

# Moments stand in the index as text of as many digits, until the year 2286.
_DIGITS: Final = 13
NEVER: Final = 10**_DIGITS - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Where(TypedDict, total=False):
    """Conditions beside the status, all of which must hold; each may be left out. Moments are aware datetimes.

    Attributes:
        created_from, created_before: created at this moment or later; before this one.
        ended_from, ended_before: ended at this moment or later; before this one.
        metadata: created with these texts, under names that ``@app.workflow(metadata=…)`` had declared by then.
    """

    created_from: datetime | None
    created_before: datetime | None
    ended_from: datetime | None
    ended_before: datetime | None
    metadata: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Span:
    """Moments in ms since the epoch, from the first up to the second, without it."""

    start: int = 0
    stop: int = NEVER

    def holds(self, ms: int) -> bool:
        return self.start <= ms < self.stop


@dataclass(frozen=True, slots=True)
class Selection:
    """Conditions that have been checked.

    Attributes:
        ended: None: whether or not it has ended.
        metadata: names and texts.
    """

    statuses: tuple[Status, ...]
    created: Span = Span()
    ended: Span | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def needs_headers(self) -> bool:
        """Whether the index alone does not say which are meant."""
        return self.ended is not None or bool(self.metadata)

    @property
    def tags(self) -> list[str]:
        """Each of which leads to all that are meant."""
        return [tag(key, value) for key, value in self.metadata.items()]

    def bounds(self) -> tuple[bytes, bytes]:
        """The moments of creation, as the index has them: the first one, and the first one that is too late."""
        return f"{self.created.start:0{_DIGITS}}".encode(), f"{self.created.stop:0{_DIGITS}}".encode()

    def fits(self, status: str, ended: bytes, metadata: Metadata) -> bool:
        """Whether an instance with such a header is meant."""
        return (
            status in self.statuses
            and (self.ended is None or (ended.isdigit() and self.ended.holds(int(ended))))
            # One that was created before its key was declared has the value and not the tag, and is never found.
            and self.metadata.items() <= metadata.values.items()
            and {*self.tags} <= {*metadata.tags}
        )


def selection(status: str | Iterable[str] | None, where: Where, declared: Collection[str] | None = None) -> Selection:
    """What is asked for.

    Args:
        declared: the names of metadata that instances are found by; None: nobody can say.
    Raises:
        ConfigError: no such status or condition, not a moment, or a name of metadata that was not declared.
        BadParams: it cannot be metadata.
    """
    unknown = sorted(str(key) for key in where if key not in Where.__annotations__)
    if unknown:
        raise ConfigError(f"There is no condition {', '.join(unknown)}; there are: {', '.join(Where.__annotations__)}")
    statuses = _statuses(status)
    metadata = metadata_of(where.get("metadata"), ())
    values = {} if metadata is None else metadata.values
    if declared is not None and (strange := sorted(values.keys() - {*declared})):
        raise ConfigError(
            f"Instances are not found by {', '.join(strange)}: @app.workflow(metadata=…) declares "
            f"{', '.join(declared) or 'nothing'}"
        )
    created = _span("created", where.get("created_from"), where.get("created_before"))
    if where.get("ended_from") is None and where.get("ended_before") is None:
        return Selection(statuses, created, metadata=values)
    ended = _span("ended", where.get("ended_from"), where.get("ended_before"))
    # Nothing ends before it was created.
    created = Span(created.start, min(created.stop, ended.stop))
    return Selection(tuple(one for one in statuses if one in FINAL), created, ended, values)


def read_moment(text: str, *, end: bool = False) -> datetime:
    """A moment as people write it: ISO 8601, in UTC unless it says otherwise; a date alone is a whole day.

    Args:
        end: of a day its end, not its start.
    Raises:
        ConfigError.
    """
    try:
        day = date.fromisoformat(text)
        moment = datetime(day.year, day.month, day.day) + timedelta(days=1 if end else 0)
    except OverflowError:  # the last day there is
        moment = datetime.max
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            hint = "it must be ISO 8601, such as 2026-01-31 or 2026-01-31T12:00:00Z"
            raise ConfigError(f"{text!r:.100} is no moment; {hint}") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _statuses(status: str | Iterable[str] | None) -> tuple[Status, ...]:
    wanted = [status] if isinstance(status, str) else list(Status) if status is None else list(status)
    known = {str(one) for one in Status}
    for one in wanted:
        if one not in known:
            raise ConfigError(f"There is no status {one!r:.100}; there are: {', '.join(Status)}")
    return tuple(dict.fromkeys(Status(one) for one in wanted))


def _span(what: str, start: datetime | None, stop: datetime | None) -> Span:
    from_ms = 0 if start is None else _moment_ms(f"{what}_from", start)
    before_ms = NEVER if stop is None else _moment_ms(f"{what}_before", stop)
    return Span(from_ms, before_ms)


def _moment_ms(what: str, moment: object) -> int:
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ConfigError(f"{what} is {moment!r:.100}; it must be a datetime with a time zone")
    # Rounded up, and exactly: what is before a part of a millisecond is before the next whole one.
    return min(max(-((_EPOCH - moment) // timedelta(milliseconds=1)), 0), NEVER)
