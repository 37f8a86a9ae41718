"""What has already happened to an instance, in the order ``run`` must see it.

The journal is a Redis list; each element is one blob: a format byte, a kind byte, an eight-character nonce, then a
msgpack map. Scripts append, this module reads. Only what ``run`` must see is here: failed attempts that
will be retried live in the open record of their step and are copied into its ``Settled`` entry.

What an instance was created with stands in its first entry, and what it ended with in one more element behind the last
(kind ``Z``), which is no entry: only ``read.lua``, ``look.lua`` and ``watch.lua`` look at it. In the header a value
of more than 64 bytes would make Redis take three times the memory for all of it. The first entry also says what no
longer counts since the instance was restarted from a step: see ``cuts.py``.

An entry is identified by its position in the list. The nonce tells two timelines apart: after Redis lost its last
second, position 7 may exist again with other content, and only the nonce shows it (F42).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgpack

from workflows.errors import CorruptPayload
from workflows.values.codec import unpack_plain
from workflows.values.listening import type_of

FORMAT = b"\x01"
EVENT = b"E"
ROLLING_BACK = b"R"
CANCEL = b"K"
ENDED = b"Z"
NONCE_BYTES = 8
HEADER_BYTES = 2 + NONCE_BYTES


@dataclass(frozen=True, slots=True)
class Cut:
    """What a restart from a step left out: of the entries before ``upto``, those about ``seq`` and what was asked
    after it.

    Attributes:
        generation: the life in which the steps before ``seq`` were asked for, as far as no cut before this one says so.
    """

    upto: int
    seq: int
    generation: str


# Not frozen, like what else is made at every step: that would make each one several times as dear.


@dataclass(slots=True)
class Start:
    """The instance was created; always entry 0, so that the first turn is a turn like any other.

    Attributes:
        params: the codec blob of what it was created with.
        schedule: what created it at which moment, for one that a cron line made.
        cuts: in their order; both ``upto`` and ``seq`` grow.
    """

    at_ms: int
    params: bytes = b""
    schedule: bytes | None = None
    cuts: tuple[Cut, ...] = ()


@dataclass(slots=True)
class _Answer:
    seq: int
    name: str
    count: int
    at_ms: int
    started_at_ms: int = 0
    kind: ClassVar[str]


@dataclass(slots=True)
class Settled(_Answer):
    """A step ended: exactly one of ``value`` (codec blob) and ``error`` (failure blob) is set.

    Attributes:
        rollback: it was begun with a handler that undoes it.
    """

    value: bytes | None = None
    error: bytes | None = None
    attempts: int = 1
    failures: tuple[tuple[int, int, int, bytes], ...] = ()
    config: bytes | None = None
    rollback: bool = False
    kind: ClassVar[str] = "do"


@dataclass(slots=True)
class Undone(Settled):
    """The handler of a step ended, well or not; name and count are the step's."""

    kind: ClassVar[str] = "rb"


@dataclass(slots=True)
class CancelRequested:
    """The instance is asked to end: ``run`` is told at whatever it waits for.

    Attributes:
        reason: why, as whoever asks says it.
        is_late: nobody asks but its deadline.
    """

    at_ms: int
    reason: str = ""
    is_late: bool = False

    @property
    def type(self) -> str:
        """As subscribers and observers are told."""
        return "deadline_exceeded" if self.is_late else "cancel_requested"


@dataclass(slots=True)
class RollingBack:
    """The instance has failed or is to be terminated, and nothing of it is open: from here on handlers run.

    Everything that was begun is answered or withdrawn before this entry, so which handlers there are follows from it.

    Attributes:
        is_terminated: it was not ``run`` that failed.
    """

    at_ms: int
    is_terminated: bool = False


@dataclass(slots=True)
class Slept(_Answer):
    """A sleep is over."""

    kind: ClassVar[str] = "sleep"


@dataclass(slots=True)
class TimedOut(_Answer):
    """A wait ended without its event after ``timeout_ms``.

    Attributes:
        is_silent: of silence: whoever had its token sent no heartbeat for so long.
    """

    timeout_ms: int = 0
    is_silent: bool = False
    kind: ClassVar[str] = "wait"


@dataclass(slots=True)
class EventReceived(_Answer):
    """A wait received its event.

    Attributes:
        error: the failure blob of one with which the wait raises.
        is_sensitive: people are not shown its payload: the wait was asked so, or one that has given it back.
    """

    type: str = ""
    payload: bytes = b""
    error: bytes | None = None
    sent_at_ms: int = 0
    event_id: str = ""
    number: int = 0
    """Of its acceptance, in the life that accepted it."""
    is_sensitive: bool = False
    kind: ClassVar[str] = "wait"

    @property
    def name_of_event(self) -> tuple[str, int, int]:
        """What no other event of the instance has, in whatever life."""
        return self.event_id, self.number, self.sent_at_ms


@dataclass(slots=True)
class ChildEnded(_Answer):
    """Another instance, which this one waited for, ended."""

    workflow: str = ""
    id: str = ""
    value: bytes | None = None
    error: bytes | None = None
    kind: ClassVar[str] = "child"


@dataclass(slots=True)
class Withdrawn(_Answer):
    """A command was cancelled before it was answered. Never fed: it asserts "cancelled by here".

    Attributes:
        rollback: it was to be undone by a handler.
        is_ended: it was not ``run`` that gave it up, but the end of the instance.
    """

    command: str = "do"
    attempts: int = 0
    due_ms: int | None = None
    rollback: bool = False
    is_ended: bool = False
    kind: ClassVar[str] = "withdrawn"


Answer = Settled | Slept | TimedOut | EventReceived | ChildEnded | Withdrawn
NoAnswer = Start | RollingBack | CancelRequested
Entry = NoAnswer | Answer


def encode_settled(
    *,
    nonce: str,
    seq: int,
    name: str,
    count: int,
    at_ms: int,
    started_at_ms: int,
    attempts: int,
    value: bytes | None = None,
    error: bytes | None = None,
    failures: list[list[Any]] | None = None,
    config: bytes | None = None,
    kind: str = Settled.kind,
    rollback: bool = False,
) -> bytes:
    """What a worker writes itself, of a step or of what undoes it; all other entries are built inside scripts."""
    body: dict[str, Any] = {"q": seq, "n": name, "c": count, "t": at_ms, "s": started_at_ms, "a": attempts}
    if value is not None:
        body["v"] = value
    if error is not None:
        body["x"] = error
    if failures:
        body["f"] = failures
    if config is not None:
        body["g"] = config
    if rollback:
        body["rb"] = True
    return FORMAT + (b"B" if kind == Undone.kind else b"S") + nonce.encode() + msgpack.packb(body, use_bin_type=False)


def cuts_from(values: Iterable[Sequence[Any]]) -> tuple[Cut, ...]:
    """Cuts as the first entry has them."""
    return tuple(Cut(int(upto), int(seq), generation.decode()) for upto, seq, generation in values)


def kind_of(blob: bytes) -> bytes:
    """The kind byte of an encoded entry."""
    return blob[1:2]


def nonce_of(blob: bytes) -> str:
    """The nonce of an encoded entry."""
    return blob[2:HEADER_BYTES].decode(errors="replace")


def decode_start(blob: bytes) -> Start:
    """Read entry 0.

    Raises:
        CorruptPayload: it is none.
    """
    entry = decode(blob)
    if not isinstance(entry, Start):
        raise CorruptPayload("the journal does not begin with the start of the instance")
    return entry


def outcome_of(blob: bytes) -> tuple[bytes | None, bytes | None]:
    """Output and error of the element behind the last entry, which says how the instance ended.

    Raises:
        CorruptPayload: it is none.
    """
    if blob[:1] != FORMAT or kind_of(blob) != ENDED:
        raise CorruptPayload("how the instance ended does not stand here")
    try:
        body = unpack_plain(blob[HEADER_BYTES:], raw=True)
    except Exception as error:
        raise CorruptPayload(f"how the instance ended cannot be read: {error}") from error
    if not isinstance(body, dict) or not all(isinstance(body.get(name, b""), bytes) for name in (b"v", b"x")):
        raise CorruptPayload("how the instance ended cannot be read")
    return body.get(b"v"), body.get(b"x")


def _failures(values: list[Any]) -> tuple[tuple[int, int, int, bytes], ...]:
    return tuple((int(f[0]), int(f[1]), int(f[2]), f[3]) for f in values)


def decode(blob: bytes) -> Entry:
    """Read one entry.

    Raises:
        CorruptPayload: the bytes are not an entry of a format this version knows (F49, F54).
    """
    if len(blob) < HEADER_BYTES or blob[:1] != FORMAT:
        raise CorruptPayload(f"journal entry has format {blob[:1]!r}; this version reads {FORMAT!r}")
    if not blob[2:HEADER_BYTES].isascii():
        raise CorruptPayload(f"journal entry has the nonce {blob[2:HEADER_BYTES]!r}, which is no text")
    kind = blob[1:2]
    try:
        body = unpack_plain(blob[HEADER_BYTES:], raw=True)
        if kind == b"0":
            return Start(int(body[b"t"]), body[b"p"], body.get(b"sc"), cuts_from(body.get(b"cu") or ()))
        if kind == ROLLING_BACK:
            return RollingBack(int(body[b"t"]), bool(body.get(b"te")))
        if kind == CANCEL:
            return CancelRequested(int(body[b"t"]), body[b"r"].decode(), bool(body.get(b"d")))
        key = (int(body[b"q"]), body[b"n"].decode(), int(body[b"c"]), int(body[b"t"]), int(body.get(b"s") or 0))
        match kind:
            case b"S" | b"B":
                return (Settled if kind == b"S" else Undone)(
                    *key,
                    value=body.get(b"v"),
                    error=body.get(b"x"),
                    attempts=int(body.get(b"a", 1)),
                    failures=_failures(failures) if (failures := body.get(b"f")) else (),
                    config=body.get(b"g"),
                    rollback=bool(body.get(b"rb")),
                )
            case b"T":
                return Slept(*key)
            case b"X":
                return TimedOut(*key, timeout_ms=int(body[b"ms"]), is_silent=bool(body.get(b"si")))
            case b"E":
                return EventReceived(
                    *key,
                    type=type_of(body[b"ty"].decode()),
                    payload=body[b"p"],
                    error=body.get(b"x"),
                    sent_at_ms=int(body[b"et"]),
                    event_id=body[b"ev"].decode(),
                    number=int(body.get(b"ac") or 0),
                    is_sensitive=bool(body.get(b"se")),
                )
            case b"C":
                return ChildEnded(
                    *key,
                    workflow=body[b"wf"].decode(),
                    id=body[b"id"].decode(),
                    value=body.get(b"v"),
                    error=body.get(b"x"),
                )
            case b"W":
                due = body.get(b"due")
                attempts = int(body.get(b"a") or 0)
                return Withdrawn(
                    *key,
                    command=body[b"k"].decode(),
                    attempts=attempts,
                    due_ms=None if due is None else int(due),
                    rollback=bool(body.get(b"rb")),
                    is_ended=bool(body.get(b"e")),
                )
    except CorruptPayload:
        raise
    except Exception as error:
        raise CorruptPayload(f"journal entry of kind {kind!r} cannot be read: {error}") from error
    raise CorruptPayload(f"journal entry has the unknown kind {kind!r}")
