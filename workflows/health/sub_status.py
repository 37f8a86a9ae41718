"""What the instances of a listing are doing: more than their status says, for one round trip a page.

"Running" alone does not tell an attempt that runs from one that has failed twice and is tried again, nor from work that
no worker has taken. The open records do, so they are read for those instances that are shown, and for no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from workflows.authoring.retries import looks_again
from workflows.client import history
from workflows.client.history import ErrorInfo, iso
from workflows.client.listing import InstancePage, InstanceSummary
from workflows.client.reading import readable_records
from workflows.client.requests import READ
from workflows.storage.outage import server_errors
from workflows.storage.records import Open, OpenChild, OpenSleep, OpenStep, OpenWait, Slot
from workflows.storage.status import FINAL, Status
from workflows.storage.store import Store, call_one

WORDS: Final[Mapping[str, tuple[Status, ...]]] = {
    "retrying": (Status.RUNNING, Status.WAITING),
    "unclaimed": (Status.QUEUED, Status.RUNNING),
    "slot": (Status.QUEUED,),
    "running": (Status.RUNNING,),
    "event": (Status.WAITING,),
    "child": (Status.WAITING,),
    "sleeping": (Status.WAITING,),
    "parked": (Status.PAUSED,),
}
"""What an instance can be found doing, and in which statuses: an attempt has failed and is tried again; no worker has
taken its work; it waits for a slot of its workflow's limit; a worker has it; it waits for an event, for another
instance, for time to pass, be it in a poll; something is wrong with it and it waits for a person. Of several the first
here."""

LOOKED_AT: Final = 1_000
"""Instances, the newest ones, when those that do one thing are looked for: the index does not tell what they do."""

_FIELDS: Final = ("st", "want", "turn", "queue", "started", "ended", "reason", "slot", "stood", "rb", "err")
_RECORDS: Final = 50
_BYTES: Final = 64 * 1024
# Behind every journal, so that none of it comes with the open records.
_BEHIND: Final = 10**9
_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class SubStatus:
    """What an instance is doing.

    Attributes:
        word: one of ``WORDS``; '' where the status says it all.
        detail: the step, the queue, the type of event, the other instance, or the reason that it is about.
        until: when time moves it on; None: time does not.
        is_rolling_back: handlers undo what it did.
        started_at, ended_at: None: not yet.
        error: what it failed with; with ``retrying`` that of the last attempt.
    """

    word: str = ""
    detail: str = ""
    until: datetime | None = None
    is_rolling_back: bool = False
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: ErrorInfo | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "word": self.word,
            "detail": self.detail,
            "until": iso(self.until),
            "is_rolling_back": self.is_rolling_back,
            "started_at": iso(self.started_at),
            "ended_at": iso(self.ended_at),
            "error": None if self.error is None else self.error.as_dict(),
        }


def sub_statuses(store: Store, page: Sequence[InstanceSummary]) -> list[SubStatus]:
    """What each of them is doing, in one round trip. Nothing is known of one that is gone or cannot be read.

    Raises: ServerUnavailable.
    """
    arguments = {"fields": _FIELDS, "from": _BEHIND, "page": 1, "bytes": _BYTES, "cursor": "0", "records": _RECORDS}
    calls = [call_one(store.keys, READ, store.keys.instance(one.workflow, one.id), arguments) for one in page]
    with server_errors(store.redis):
        answers = store.call_all(calls) if calls else []
    return [_read(answer) for answer in answers]


def find(
    store: Store, listed: Callable[[int, str | None], InstancePage], word: str, limit: int, cursor: str | None
) -> tuple[list[tuple[InstanceSummary, SubStatus]], str | None]:
    """Those of a listing that are doing one thing; at most ``LOOKED_AT`` are looked at.

    Args:
        listed: gives the page of so many instances behind a cursor.
    Returns: up to ``limit`` of them and those of the same page, and where to look on; None: these are all.
    """
    found: list[tuple[InstanceSummary, SubStatus]] = []
    for _ in range(LOOKED_AT // _PAGE):
        page = listed(_PAGE, cursor)
        cursor = page.cursor
        found += [(one, sub) for one, sub in zip(page, sub_statuses(store, page), strict=True) if sub.word == word]
        if cursor is None or len(found) >= limit:
            break
    return found, cursor


def _read(answer: Any) -> SubStatus:
    """Of an answer of ``read.lua``."""
    if answer is False or answer == b"unreadable":
        return SubStatus()
    header = {name: value or b"" for name, value in zip(_FIELDS, answer[1], strict=True)}
    try:
        return sub_status(header, readable_records(answer[4]))
    except (ValueError, OverflowError, OSError):
        return SubStatus()  # what somebody else has written; `doctor` says so


def sub_status(header: Mapping[str, bytes], records: Sequence[Open]) -> SubStatus:
    """What an instance is doing, by its header and what is open of it.

    Raises: ValueError, OverflowError, OSError: the header cannot be read.
    """
    status = Status(header["st"].decode())
    facts: dict[str, Any] = {
        "started_at": history.moment(header["started"]),
        "ended_at": history.moment(header["ended"]),
        "is_rolling_back": bool(header["rb"]) and status not in FINAL,
    }
    if status in FINAL or status in (Status.PAUSED, Status.WAITING_FOR_PAUSE):
        if header["want"] == b"park":
            facts |= {"word": "parked", "detail": header["reason"].decode(errors="backslashreplace")}
        error = ErrorInfo.from_blob(header["err"]) if header["err"] else None
        return SubStatus(**facts, error=error)
    doing = {found["word"]: found for found in reversed([*_doing(status, header, records)])}
    return SubStatus(**facts, **next((doing[word] for word in WORDS if word in doing), {}))


def _doing(status: Status, header: Mapping[str, bytes], records: Sequence[Open]) -> Iterator[dict[str, Any]]:
    stood = int(header["stood"] or 0)
    turn = header["turn"]
    if status is Status.QUEUED:
        try:
            is_waiting = Slot.parse(header["slot"]).state == "a"
        except ValueError:
            is_waiting = False
        if is_waiting:
            yield {"word": "slot"}
            return
    if turn.startswith(b"r|"):
        yield {"word": "unclaimed", "detail": (header["queue"] or b"default").decode()}
    elif turn:
        yield {"word": "running"}
    for one in sorted(records, key=lambda record: record.seq):
        match one:
            case OpenStep(state="back") if looks_again(one.config, one.attempts, one.failures):
                until = None if one.due is None else one.due + stood
                yield {"word": "sleeping", "detail": one.name, "until": history.moment(until)}
            case OpenStep():
                if one.failures or one.state == "back":
                    due = None if one.state != "back" or one.due is None else one.due + stood
                    error = ErrorInfo.from_blob(one.failures[-1][3]) if one.failures else None
                    yield {"word": "retrying", "detail": one.name, "until": history.moment(due), "error": error}
                elif one.state == "held":
                    yield {"word": "running", "detail": one.name}
                else:
                    yield {"word": "unclaimed", "detail": one.queue}
            case OpenWait():
                yield {"word": "event", "detail": one.event_type, "until": history.moment(one.due + stood)}
            case OpenChild():
                yield {"word": "child", "detail": f"{one.workflow}/{one.id}"}
            case OpenSleep():
                due = one.due if one.absolute else one.due + stood
                yield {"word": "sleeping", "detail": one.name, "until": history.moment(due)}
