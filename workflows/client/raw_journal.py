"""The journal of an instance as it is stored, for whoever has to know exactly: each entry with its place and nonce."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from workflows.client import facts, reading
from workflows.client.batches import Plan
from workflows.client.history import ErrorInfo, iso, moment, readable, shown_payload, shown_result
from workflows.errors import ConfigError, CorruptPayload, InstanceError
from workflows.storage import journal
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.records import Firing
from workflows.values import codec

VALUES: Final = ("params", "value", "payload")
"""What of the content of an entry is somebody's value."""

_CURSOR: Final = re.compile(r"([0-9]{1,9})")
_MOMENTS: Final = ("at_ms", "started_at_ms", "sent_at_ms", "due_ms")


@dataclass(frozen=True, slots=True)
class RawEntry:
    """One entry.

    Attributes:
        position: in the journal, from 0.
        bytes: how many it takes.
        kind: ``Start``, ``Settled``, ``Slept`` and so on; ``unreadable``.
        content: what it says, as JSON can hold it.
    """

    position: int
    nonce: str
    bytes: int
    kind: str
    content: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class RawPage:
    """Some entries, in their order; ``cursor`` asks for those that follow and is None at the end."""

    entries: tuple[RawEntry, ...]
    cursor: str | None = None


def raw_journal(keys: Keyspace, instance: Instance, cursor: str | None = None) -> Plan[RawPage]:
    """Read up to 200 entries, or the first whole MiB of them.

    Raises:
        ConfigError: no such cursor.
        InstanceNotFound, InstanceError.
    """
    if cursor is not None and _CURSOR.fullmatch(cursor) is None:
        raise ConfigError(f"{cursor!r:.100} is not a cursor; use the one that came with the page before")
    start = int(cursor or 0)
    (seen,) = yield [reading.read(keys, instance, page=start)]
    if isinstance(seen, InstanceError):
        raise seen
    return RawPage(
        tuple(_raw(start + place, blob) for place, blob in enumerate(seen.entries)),
        str(seen.end) if seen.end < seen.journal_length and seen.entries else None,
    )


def _raw(position: int, blob: bytes) -> RawEntry:
    try:
        entry = journal.decode(blob)
    except CorruptPayload as error:
        nonce = blob[2 : journal.HEADER_BYTES].decode(errors="backslashreplace")
        return RawEntry(position, nonce, len(blob), "unreadable", {"reason": str(error)})
    if isinstance(entry, journal.Settled):
        entry = dataclasses.replace(entry, value=shown_result(entry))
    elif isinstance(entry, journal.EventReceived):
        entry = dataclasses.replace(entry, payload=shown_payload(entry.payload, entry.is_sensitive))
    return RawEntry(position, journal.nonce_of(blob), len(blob), type(entry).__name__, _content(entry))


def _content(entry: journal.Entry) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in dataclasses.fields(entry):
        stored = getattr(entry, field.name)
        if field.name in _MOMENTS:
            found[field.name.removesuffix("_ms")] = iso(moment(stored or None))
        elif field.name in VALUES:
            found[field.name] = None if stored is None else _value(stored)
        else:
            found[field.name] = _shown(field.name, stored)
    return found


def _value(stored: bytes) -> Any:
    return readable(lambda: codec.decode(stored))


def _shown(name: str, stored: Any) -> Any:
    if stored is None:
        return None
    match name:
        case "error":
            return ErrorInfo.from_blob(stored).as_dict()
        case "failures":
            return [_failure(one) for one in stored]
        case "config":
            return facts.config_shown(stored)
        case "schedule":
            return readable(lambda: dataclasses.asdict(Firing.of(stored)))
        case "cuts":
            return [dataclasses.asdict(cut) for cut in stored]
    return stored


def _failure(stored: Sequence[Any]) -> dict[str, Any]:
    attempt, started, ended, error = stored
    return {
        "attempt": attempt,
        "started_at": iso(moment(started)),
        "ended_at": iso(moment(ended)),
        "error": ErrorInfo.from_blob(error).as_dict(),
    }
