"""Reading one instance: its header in one moment, and its journal and open records page by page."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from workflows.client import history
from workflows.client.history import StepStatus
from workflows.client.requests import READ, Request, check_known, unreadable
from workflows.errors import CorruptPayload
from workflows.insight.standing import Standing
from workflows.storage import cuts, journal
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.records import Open, open_record
from workflows.storage.status import FINAL, Status
from workflows.storage.store import call_one, unpackb

PAGE_ENTRIES: Final = 200
PAGE_BYTES: Final = 1024 * 1024
MAIL_TYPES: Final = 20

_FIELDS: Final = (
    *("st", "gen", "want", "turn", "queue", "strikes", "started", "created", "ended", "params", "sched", "out", "err"),
    *(
        "warn",
        "reason",
        "paused_at",
        "declined",
        "stood",
        "slot",
        "meta",
        "rb",
        "undone",
        "pos",
        "rest",
        "fault",
        "vals",
        "stop",
        "stop_for",
    ),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What ``read.lua`` saw: the header and, if asked for, a page of the journal."""

    instance: Instance
    now_ms: int
    header: Mapping[str, bytes | None]
    journal_length: int
    start: int
    entries: Sequence[bytes]
    records: Sequence[bytes]
    starting: Sequence[int] = ()
    cursor: str = ""
    mail: Mapping[str, int] | None = None

    def standing(self) -> Standing:
        """As far as it takes to say why it stands where it stands."""
        newest = None
        # It may be large, and matters only where something waits for its turn.
        is_asked_for = self.mail is not None or self.text("turn").startswith("r|")
        if is_asked_for and self.end >= self.journal_length and self.entries:
            with suppress(CorruptPayload):
                newest = journal.decode(self.entries[-1])
        return Standing(
            self.instance,
            self.now_ms,
            {field: value for field, value in self.header.items() if value is not None},
            self.journal_length,
            newest,
            readable_records(self.records),
            frozenset(self.starting),
            self.mail,
            is_partial=self.end < self.journal_length,
        )

    def text(self, field: str) -> str:
        value = self.header.get(field)
        return value.decode() if value else ""

    @property
    def status(self) -> Status:
        return Status(self.text("st"))

    @property
    def queue(self) -> str:
        """Where its turns wait; the default is not stored."""
        return self.text("queue") or "default"

    @property
    def stood_ms(self) -> int | None:
        """How far the instance's own time is behind by its pauses; None while it stands still."""
        return None if self.text("want") else int(self.text("stood") or 0)

    @property
    def end(self) -> int:
        """Where the next page begins."""
        return self.start + len(self.entries)

    @property
    def is_last(self) -> bool:
        return self.end >= self.journal_length and not self.cursor


class Mark(NamedTuple):
    """Where a page begins: an entry of the journal, and a cursor among the open records."""

    entry: int = 0
    cursor: str = "0"


class History:
    """Collects pages of one instance's journal and open records until all are read. A restart between begins anew."""

    def __init__(self, first: Reading) -> None:
        self._begin(first)

    def _begin(self, first: Reading) -> None:
        self._generation = first.text("gen")
        self._entries = list(first.entries)
        self._records = list(first.records)
        self._starting = set(first.starting)
        self.last = first

    @property
    def generation(self) -> str:
        """The life that they are of."""
        return self._generation

    @property
    def next_page(self) -> Mark | None:
        """What is still missing; None when nothing is. A step that is answered while its record is being looked for
        among others has its entry in a later page."""
        return None if self.last.is_last else Mark(len(self._entries), self.last.cursor)

    def entries(self) -> list[journal.Entry]:
        return [journal.decode(blob) for blob in self._entries]

    def add(self, page: Reading) -> None:
        if page.text("gen") != self._generation:
            if page.start:
                # The page belongs to the middle of another life; ask again from the start.
                page = dataclasses.replace(page, start=0, entries=(), records=(), starting=(), cursor="0")
            self._begin(page)
            return
        self._entries.extend(page.entries)
        self._records.extend(page.records)
        self._starting.update(page.starting)
        self.last = page

    def records(self) -> list[Open]:
        """What is open, as far as it can be read."""
        return readable_records(self._records)

    def steps(self) -> list[StepStatus]:
        return history.steps_of(
            [entry for entry in cuts.kept(self.entries()) if entry is not None],
            self.records(),
            self._starting,
            ended=self.last.status in FINAL,
            stood_ms=self.last.stood_ms,
        )


def read(
    keys: Keyspace, instance: Instance, *, page: Mark | int | None = 0, with_mail: bool = False
) -> Request[Reading]:
    """Read header and a page of the journal, which begins with entry ``page``; -1: with the last one; None: no journal.

    Args:
        with_mail: and how many events of each type are kept, of the first of them by name.
    Raises, from the answer:
        InstanceNotFound.
    """
    arguments: dict[str, Any] = {"fields": _FIELDS}
    mark = Mark(page) if isinstance(page, int) else page or Mark()
    if page is not None:
        arguments |= {"from": mark.entry, "page": PAGE_ENTRIES, "bytes": PAGE_BYTES}
        arguments |= {"cursor": mark.cursor, "records": PAGE_ENTRIES}
    if with_mail:
        arguments["mail"] = MAIL_TYPES

    def parse(answer: Any) -> Reading:
        check_known(instance, answer)
        now, values, length, entries, records, starting, cursor, mail = answer
        header = {field: value or None for field, value in zip(_FIELDS, values, strict=True)}
        _check_header(instance, header)
        start = mark.entry if mark.entry >= 0 else max(0, length + mark.entry)
        kept = {type.decode(errors="backslashreplace"): count for type, count in mail} if with_mail else None
        return Reading(instance, int(now), header, length, start, entries, records, starting, cursor.decode(), kept)

    return Request(call_one(keys, READ, instance, arguments), parse)


def read_standing(keys: Keyspace, instance: Instance) -> Request[Standing]:
    """Read what it takes to say why an instance stands where it stands, however long its journal is.

    Raises, from the answer:
        InstanceNotFound; InstanceError: its header cannot be read.
    """
    found = read(keys, instance, page=-1, with_mail=True)
    return Request(found.call, lambda answer: found.parse(answer).standing())


def readable_records(blobs: Iterable[bytes]) -> list[Open]:
    """The open records that can be read; one that cannot parks its instance, whose reason says so."""
    found = []
    for blob in blobs:
        with suppress(Exception):  # msgpack has no common root of what it raises
            found.append(open_record(unpackb(blob)))
    return found


def _check_header(instance: Instance, header: Mapping[str, bytes | None]) -> None:
    """What everything that reads a header relies on. Raises: InstanceError."""
    try:
        Status((header["st"] or b"").decode())
        for field in ("created", "started", "ended", "paused_at"):
            history.moment(header[field])
        int(header["created"] or b"")
        for field in ("strikes", "declined", "stood"):
            int(header[field] or 0)
        for field in ("gen", "want", "turn", "queue", "reason", "slot"):
            (header[field] or b"").decode()
    except (ValueError, OverflowError, OSError):
        raise unreadable(instance) from None
