"""Being told what happens to an instance: first what has happened, then what does.

Nothing is written for that, neither by those who subscribe nor for them: events are what journal, open records and
header say beyond what has been told. So whoever subscribes looks again and again, and an instance that nobody watches
costs nothing more. Pure, but for the making of requests; the clients send them and wait in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from workflows import limits
from workflows.client import facts, history
from workflows.client.facts import Fact
from workflows.client.history import ErrorInfo
from workflows.client.instance_event import InstanceEvent, checked_types
from workflows.client.progress import Progress
from workflows.client.published import published_values
from workflows.client.reading import PAGE_BYTES, PAGE_ENTRIES, readable_records
from workflows.client.requests import Request, check_known, unreadable
from workflows.client.status import RollbackStatus
from workflows.clock import monotonic
from workflows.errors import ServerUnavailable
from workflows.storage import journal
from workflows.storage.cuts import is_cut_out
from workflows.storage.journal import CancelRequested, Cut, RollingBack, Start
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.records import Open
from workflows.storage.status import FINAL, Status
from workflows.storage.store import call_one, script

_LOOK = script(Path(__file__).with_name("look.lua"))
_FIELDS: Final = ("st", "gen", "started", "ended", "paused_at", "stood", "out", "err", "undone")
_TYPES: Final = {
    Status.QUEUED: "workflow_queued",
    Status.RUNNING: "workflow_running",
    Status.WAITING: "workflow_waiting",
    Status.WAITING_FOR_PAUSE: "workflow_waiting_for_pause",
    Status.PAUSED: "workflow_paused",
    Status.COMPLETE: "workflow_completed",
    Status.ERRORED: "workflow_errored",
    Status.TERMINATED: "workflow_terminated",
}
_LAST: Final = float("inf")
_UNDONE: Final = 999_999_999
"""In place of a step: how a rollback ended has been told."""
_STANDING: Final = (Status.PAUSED, Status.WAITING_FOR_PAUSE)
OUTAGE_PAUSE_SECONDS: Final = 0.2
SHORTEST_PAUSE_SECONDS: Final = 0.02
"""Between two looks, after something has happened; it grows to ``limits.SUBSCRIPTION_SECONDS``."""


class _Change(NamedTuple):
    """A fact, or another change of what has been told.

    Attributes:
        key: its place among those of one look.
        fact: what is told of it; without a type, nothing is.
        progress: what has been told with it, beyond how far the fact's step has been.
    """

    key: float
    fact: Fact
    progress: Mapping[str, Any] = {}


class _Seen:
    """An answer of ``look.lua``."""

    def __init__(self, instance: Instance, answer: Sequence[Any]) -> None:
        (
            self.now_ms,
            values,
            self.start,
            self.length,
            self.entries,
            self.records,
            cursor,
            self.mark,
            self.params,
            made,
            published,
        ) = answer
        self.published = published_values(published or None)
        self.cuts = journal.cuts_from(made or ())
        self.cursor = cursor.decode()
        header = dict(zip(_FIELDS, values, strict=True))
        try:
            self.status = Status((header["st"] or b"").decode())
            self.generation = (header["gen"] or b"").decode()
            self.started, self.ended, self.paused_at, self.stood = (
                int(header[name] or 0) for name in ("started", "ended", "paused_at", "stood")
            )
        except ValueError:
            raise unreadable(instance) from None
        self.output, self.error, self.undone = (header[name] or None for name in ("out", "err", "undone"))

    @property
    def is_last(self) -> bool:
        """Whether nothing else is to be read. What is still open at the end is nobody's, and taken back by and by."""
        has_whole_journal: bool = self.start + len(self.entries) >= self.length
        return has_whole_journal and (not self.cursor or self.status in FINAL)


class Subscription:
    """What one subscriber has been told of an instance, and what it is told next.

    Args:
        cursor: ``event_id`` of the last event that was dealt with; None: from the beginning.
        filter: the types that are told; None: all.

    Attributes:
        is_over: the end of the instance has been told.
        pause_seconds: when to look again.
    """

    def __init__(
        self, keys: Keyspace, instance: Instance, cursor: str | None = None, filter: str | Iterable[str] | None = None
    ) -> None:
        """Raises: ConfigError: no such cursor, or no such type."""
        self._keys = keys
        self._instance = instance
        self._types = checked_types(filter)
        self._told = Progress.of(cursor)
        # Of the life that is told; None: not known yet.
        self._cuts: tuple[Cut, ...] | None = None
        self._cursor = "0"
        self._mark = b""
        self._pages: dict[int, Open] = {}
        self._has_caught_up = False
        # Nothing has been answered yet: what cannot be reached at first is not waited for.
        self._down_since: float | None = float("-inf")
        self.is_over = False
        self.pause_seconds = 0.0

    def look(self) -> Request[Iterator[InstanceEvent]]:
        """Look once. The events of the answer are to be taken before the next look.

        Raises, from the answer: InstanceNotFound; InstanceError: it cannot be read.
        """
        told = self._told
        arguments: dict[str, Any] = {"fields": _FIELDS, "gen": told.generation, "from": told.position}
        arguments |= {"nonce": told.nonce, "mark": self._mark, "page": PAGE_ENTRIES, "bytes": PAGE_BYTES}
        arguments |= {"records": limits.SCRIPT_ELEMENTS, "cursor": self._cursor, "values": told.published}
        if not told.started:
            arguments["params"] = 1
        if self._cuts is None:
            arguments["cuts"] = 1

        def parse(answer: Any) -> Iterator[InstanceEvent]:
            check_known(self._instance, answer)
            self._down_since = None
            return self._tell(_Seen(self._instance, answer))

        return Request(call_one(self._keys, _LOOK, self._instance, arguments), parse)

    def missed(self, error: ServerUnavailable) -> None:
        """A look was not answered. Redis is asked again for a while, if it has answered before. Raises: the error."""
        now = monotonic()
        self._down_since = self._down_since or now
        if now - self._down_since > limits.OUTAGE_SECONDS:
            raise error
        self.pause_seconds = OUTAGE_PAUSE_SECONDS

    def _tell(self, seen: _Seen) -> Iterator[InstanceEvent]:
        if seen.generation != self._told.generation or seen.start != self._told.position:
            # Another life, or one of which entries that were told are lost: it is told from its beginning.
            self._told, self._mark, self._pages, self._cuts = Progress(seen.generation), b"", {}, None
        if self._cuts is None:
            self._cuts = seen.cuts
        changes = sorted(self._changes(seen), key=lambda change: change.key)
        self._mark, self._cursor = seen.mark, seen.cursor or "0"
        self._has_caught_up = self._has_caught_up or seen.is_last
        longer = SHORTEST_PAUSE_SECONDS if changes else max(SHORTEST_PAUSE_SECONDS, self.pause_seconds * 1.5)
        self.pause_seconds = min(longer, limits.SUBSCRIPTION_SECONDS) if self._has_caught_up else 0.0
        for change in changes:
            fact = change.fact
            if fact.seq:
                self._told.steps.set(fact.seq, fact.number)
            for name, value in change.progress.items():
                setattr(self._told, name, value)
            if fact.type and (self._types is None or fact.type in self._types):
                at = history.moment(fact.at_ms)
                assert at is not None
                yield InstanceEvent(fact.type, self._instance.id, str(self._told), at, **fact.details)
        self.is_over = seen.is_last and seen.status in FINAL

    def _changes(self, seen: _Seen) -> list[_Change]:
        """What is to be told, in the order in which it has to be where moments do not say otherwise."""
        changes = [*self._answered(seen), *self._begun(seen), *self._open(seen)]
        if seen.is_last:
            changes += self._published(seen)
            changes += self._standing(seen, max((change.fact.at_ms for change in changes), default=0))
        return changes

    def _answered(self, seen: _Seen) -> Iterator[_Change]:
        """Journal entries, each behind the one before it, and before it what is to be told of its step."""
        floor = 0.0
        for place, blob in enumerate(seen.entries, seen.start + 1):
            entry = journal.decode(blob)
            behind = {"position": place, "nonce": journal.nonce_of(blob)}
            if isinstance(entry, Start):
                self._cuts = entry.cuts
                yield _moved(0, Status.QUEUED, entry.at_ms, behind)
                continue
            if is_cut_out(self._cuts or (), place - 1, entry):
                yield _Change(floor, Fact("", 0, 0, floor), behind)
                continue
            if isinstance(entry, CancelRequested):
                floor = max(floor, entry.at_ms)
                yield _Change(floor, Fact(entry.type, 0, 0, entry.at_ms, {"reason": entry.reason}), behind)
                continue
            if isinstance(entry, RollingBack):
                floor = max(floor, entry.at_ms)
                yield _Change(floor, Fact("rollback_started", 0, 0, entry.at_ms), behind)
                continue
            self._pages.pop(entry.seq, None)
            floor = max(floor, entry.at_ms)
            *before, last = self._untold(facts.of_entry(entry))
            yield from (_Change(min(key, floor), fact) for key, fact in _in_order(before))
            yield _Change(floor, last, behind)

    def _open(self, seen: _Seen) -> Iterator[_Change]:
        """Open records, told when all pages of them are there: side by side they take less room in a cursor."""
        self._pages.update((record.seq, record) for record in readable_records(seen.records or ()))
        if not seen.is_last:
            return
        pages, self._pages = self._pages, {}
        for _, record in sorted(pages.items()) if seen.status not in FINAL else ():
            for key, fact in _in_order(self._untold(facts.of_record(record, seen.stood))):
                yield _Change(key, fact)

    def _untold(self, found: Iterable[Fact]) -> list[Fact]:
        """Those beyond what has been told of their step."""
        untold: list[Fact] = []
        for fact in found:
            known = untold[-1].number if untold else self._told.steps.get(fact.seq)
            if fact.number == facts.CLOSED or fact.number > known:
                untold.append(fact)
        return untold

    def _begun(self, seen: _Seen) -> Iterator[_Change]:
        """The start, and a pause before it: nothing else has happened by then."""
        if seen.started and not self._told.started:
            if 0 < seen.paused_at < seen.started and self._told.paused_at != seen.paused_at:
                yield _moved(0, Status.PAUSED, seen.paused_at, {"paused_at": seen.paused_at})
            started = {"type": "workflow_started", "value": seen.params or None}
            yield _moved(0, Status.RUNNING, seen.started, {"started": True}, **started)

    def _published(self, seen: _Seen) -> Iterator[_Change]:
        """Of each value the latest, behind the answer that ``run`` had seen by then."""
        for one in sorted(seen.published, key=lambda one: one.stored.n):
            number, at = one.stored.n, one.stored.at_ms
            if number > self._told.published:
                details = {"published_name": one.name, "value": one.stored.blob}
                yield _Change(at, Fact("value_published", 0, 0, at, details), {"published": number})

    def _standing(self, seen: _Seen, latest: float) -> Iterator[_Change]:
        """How the instance stands, of which nothing but its header tells: what comes and goes between two looks is not
        seen."""
        begins = seen.started and not self._told.started
        status = Status.RUNNING if begins else Status(self._told.status or Status.QUEUED)
        going_on = 0
        if seen.paused_at != self._told.paused_at and not (begins and seen.paused_at < seen.started):
            status = seen.status if seen.status in _STANDING else Status.PAUSED
            going_on = seen.paused_at
            yield _moved(going_on, status, going_on, {"paused_at": going_on})
        if seen.status is status:
            return
        if seen.status in FINAL:
            if seen.undone is not None and self._told.steps.get(_UNDONE) < 0:
                how = RollbackStatus.of(seen.undone)
                type, details = ("rollback_errored", {"error": how.error}) if how.error else ("rollback_completed", {})
                yield _Change(_LAST, Fact(type, _UNDONE, 0, seen.ended, details))
            error = None if seen.error is None else ErrorInfo.from_blob(seen.error)
            yield _moved(_LAST, seen.status, seen.ended, value=seen.output, error=error)
        else:
            # Going on comes before what has happened since, standing still after it.
            key = going_on if seen.status in (Status.RUNNING, Status.QUEUED) else _LAST
            yield _moved(key, seen.status, max(going_on, latest) or seen.now_ms)


def _moved(
    key: float,
    status: Status,
    at_ms: float,
    progress: Mapping[str, Any] | None = None,
    *,
    type: str | None = None,
    **details: Any,
) -> _Change:
    return _Change(key, Fact(type or _TYPES[status], 0, 0, at_ms, details), {"status": str(status), **(progress or {})})


def _in_order(found: Iterable[Fact]) -> Iterator[tuple[float, Fact]]:
    """Facts of one step with keys that keep their order, whatever their moments."""
    key = 0.0
    for fact in found:
        key = max(key, fact.at_ms)
        yield key, fact
