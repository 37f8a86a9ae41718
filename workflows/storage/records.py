"""The structures that scripts and Python share, each declared once: what stands where, under which name.

The same tables stand at the head of the Lua part that reads them (``parts/record.lua``, ``parts/instance.lua``,
``parts/decision.lua``); a test compares both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, TypeVar

import msgpack

from workflows.errors import CorruptPayload
from workflows.storage.keys import checked_name
from workflows.values.codec import unpack_plain
from workflows.values.listening import type_of

HEADER: Mapping[str, str] = {
    "st": "status",
    "gen": "generation: the name of this life",
    "created": "ms",
    "want": "pause | park: time is to stand still; no field: it goes on",
    "pos": "entries of the journal that a decision has been taken over",
    "turn": "r|nonce: somebody shall take it; h|worker|token: somebody has",
    "act": "attempts that are ready or held",
    "queue": "of its turns; no field: default",
    "strikes": "processes that ended in its turns, one after the other, or were interrupted there",
    "lost": "workers that were found gone while they held its turn",
    "started": "ms of the first claim",
    "keep_ok": "ms it stays readable after success; no field: limits.RETENTION_MS",
    "keep_err": "the same after an error or termination",
    "stood": "ms its time has stood still",
    "parents": "who waits for the end: creator, or a packed list",
    "tell": "version of the code whose app wants to hear of it (notices.lua); no field: it does not",
    "rest": "what a call has left over (I12), packed",
    "slot": "what it has of the limit of its workflow: Slot; no field: there was never a limit",
    "meta": "metadata and the tags it is found by, packed",
    "vals": "what `run` has published, packed (parts/published.lua); no field: nothing",
    "cid": "id of the command that created it",
    "paused_at": "ms",
    "reason": "why it is paused or was struck",
    "fault": "what kind of thing parked it: mismatch | params | corrupt | other",
    "ended": "ms",
    "stop": "when it is asked to end, or ended (deadline.lua); no field: never",
    "stop_for": "why it was asked to end",
    "rb": "it is rolled back: why, the failure blob of its error, or terminate",
    "declined": "how often a worker did not know its workflow",
}
"""The header of an instance, a hash. No field, or an empty one, is the default: no text, 0. Others are left alone."""

Fields = Mapping[bytes, Any]


@dataclass(frozen=True, slots=True)
class Firing:
    """What created an instance that a cron line made: ``sched`` of ``create.lua``, ``sc`` of the first entry. Fields of
    a later version are passed over.

    Attributes:
        at_ms: the moment it was due.
        zone: of the clock that the line is compared with; not stored where it is UTC.
    """

    cron: str
    at_ms: int
    zone: str = "UTC"

    def wire(self) -> bytes:
        zone = {} if self.zone == "UTC" else {"zone": self.zone}
        packed: bytes = msgpack.packb({"cron": self.cron, "at": self.at_ms, **zone}, use_bin_type=False)
        return packed

    @classmethod
    def of(cls, blob: bytes) -> Firing:
        """Raises:
        CorruptPayload: it is none.
        """
        try:
            found = unpack_plain(blob, raw=True)
            return cls(found[b"cron"].decode(), int(found[b"at"]), found.get(b"zone", b"UTC").decode())
        except Exception as error:  # msgpack has no common root of what it raises
            raise CorruptPayload(
                f"the schedule of an instance cannot be read: {type(error).__name__}: {error}"
            ) from error


@dataclass(frozen=True, slots=True)
class ParentStep:
    """Who waits for the end of an instance: an open step of another one. Stands in the first entry of the one it
    created (``pa``), and in the header of the one it watches. Scripts keep fields of a later version; here they are
    passed over.
    """

    workflow: str
    id: str
    generation: str
    seq: int

    def wire(self) -> dict[str, Any]:
        return {"wf": self.workflow, "id": self.id, "gen": self.generation, "seq": self.seq}

    @classmethod
    def of(cls, fields: Fields) -> ParentStep:
        """Raises: see ``name_of``."""
        return cls(name_of(fields, b"wf"), name_of(fields, b"id"), name_of(fields, b"gen"), number_of(fields, b"seq"))


_SLOT = re.compile(r"([-ahu])\|([0-9]{1,9})\|([0-9]{0,16})\|([0-9a-f]{1,8})\|(-|=[A-Za-z0-9_.~-]{0,100})")


class Slot(NamedTuple):
    """What an instance has of the limit of its workflow; see ``parts/slot.lua``.

    Attributes:
        state: ``-`` it has no slot, ``a`` has asked for one, ``h`` has one, ``u``: there is no limit any more.
        n: how often it has asked.
        order: of those that wait.
        tag: of the path to the key.
        key: whose slots these are, as members have it.
    """

    state: str
    n: int
    order: str
    tag: str
    key: str

    @classmethod
    def parse(cls, text: str | bytes) -> Slot:
        """Raises ValueError: it is none."""
        match = _SLOT.fullmatch(text if isinstance(text, str) else text.decode("ascii", "replace"))
        if match is None:
            raise ValueError(f"not what an instance has of a limit: {text!r:.100}")
        state, n, order, tag, key = match.groups()
        return cls(state, int(n), order, tag, key)

    @property
    def text(self) -> str:
        """As the header has it."""
        return "|".join(map(str, self))


_STOP = re.compile(r"([tcxCX])\|([0-9]{0,15})\|[0-9]{0,9}")


class Deadline(NamedTuple):
    """When an instance is asked to end, or ended; see ``parts/deadline.lua``.

    Attributes:
        is_asked: it was asked by now.
        is_late: by its deadline, or is going to be.
        due_ms: in ms of its own time; None: handlers run, however long they take.
    """

    is_asked: bool
    is_late: bool
    due_ms: int | None

    @classmethod
    def parse(cls, text: str) -> Deadline | None:
        """None: there is nothing of the kind."""
        match = _STOP.fullmatch(text)
        if match is None:
            return None
        kind, due = match.groups()
        return cls(kind != "t", kind in "txX", int(due) if due else None)

    def moment_ms(self, stood_ms: int | None) -> int | None:
        """The same by the server's clock.

        Args:
            stood_ms: for how long time stood still for the instance; None while it does.
        """
        return None if self.due_ms is None or stood_ms is None else self.due_ms + stood_ms


def name_of(fields: Fields, field: bytes) -> str:
    """One field of a structure that scripts have packed; ``number_of`` and ``blob_of`` are its like.

    Raises:
        KeyError, TypeError, ValueError: it is not there, or none.
    """
    return checked_name(fields[field])


def number_of(fields: Fields, field: bytes) -> int:
    value = fields[field]
    # Lua has floats only, and writes whole ones as integers.
    if not isinstance(value, (int, float)) or not 0 <= value < 1e15:
        raise ValueError(f"{field!r} is {value!r:.100}")
    return int(value)


def blob_of(fields: Fields, field: bytes) -> bytes:
    value = fields[field]
    if not isinstance(value, bytes):
        raise TypeError(f"{field!r} is {value!r:.100}")
    return value


Values = list[Any]
_Record = TypeVar("_Record", bound="_Open")


@dataclass(slots=True)
class _Open:
    """An open record, stored as the list of its kind and its values; ``False`` and what is missing at the end: absent.

    Values behind those declared are those of a later version: scripts keep them, and they are passed over here.
    """

    kind: ClassVar[str]
    seq: int
    name: str
    count: int
    asked: int = 0
    """In ms of the instance's own time."""

    @classmethod
    def of(cls: type[_Record], values: Sequence[Any]) -> _Record:
        """From values as they come out of msgpack, with bytes for text."""
        found = {}
        for (name, is_text), value in zip(_VALUES[cls.kind], values[1:], strict=False):
            if value is not False:
                found[name] = value.decode() if is_text else value
        return cls(**found)


@dataclass(slots=True)
class OpenStep(_Open):
    """A step that runs, is to run, or waits for its next attempt."""

    kind: ClassVar[str] = "do"
    state: str = ""
    """``due``, ``ready`` (handed out under ``intent``), ``held`` (by a worker), ``back`` (off until ``due``)."""
    queue: str = "default"
    timeout: int = 0
    config: bytes = b""
    """Retries and back-off (``retries.to_wire``)."""
    attempts: int = 0
    failed: int = 0
    deaths: int = 0
    losses: int = 0
    due: int | None = None
    intent: str = ""
    token: str = ""
    by: str = ""
    begun: int = 0
    """In ms, of the attempt that is held or was held last."""
    failures: Sequence[Any] = ()
    """The last few, each attempt, begun, ended, failure blob."""
    rollback: bool = False
    """A handler undoes it."""
    details: bytes = b""
    """What an attempt has said with its last heartbeat; it stays for those after it."""
    heard: int = 0
    """In ms, when that was written."""


@dataclass(slots=True)
class OpenUndo(OpenStep):
    """A handler that undoes a step; name and count are that step's."""

    kind: ClassVar[str] = "rb"


@dataclass(slots=True)
class OpenSleep(_Open):
    """A sleep."""

    kind: ClassVar[str] = "sleep"
    due: int = 0
    ms: int = 0
    absolute: bool = False
    """``due`` is a moment of the server, else one of the instance's own time."""


@dataclass(slots=True)
class OpenWait(_Open):
    """A wait for an event; ``ms`` is its timeout, ``due`` when that is over."""

    kind: ClassVar[str] = "wait"
    due: int = 0
    ms: int = 0
    type: str = ""
    """What it listens to (``listening.py``), with bars between."""
    heartbeat: int = 0
    """How long whoever has its token may be silent, in ms; 0: for ever."""
    heard: int = 0
    """When they last were not, in ms of the instance's own time; 0: never yet."""
    sensitive: bool = False
    """Whether people are not shown the payload of its event."""

    @property
    def silent_since(self) -> int:
        """In ms of the instance's own time."""
        return self.heard or self.due - self.ms

    @property
    def silent_at(self) -> int | None:
        """When they have been silent for too long, in the same; None: its timeout comes first."""
        at = self.silent_since + self.heartbeat
        return at if self.heartbeat and at < self.due else None

    @property
    def fires(self) -> int:
        """When its timer is due, in the same."""
        return self.silent_at or self.due

    @property
    def listens(self) -> list[str]:
        return self.type.split("|")

    @property
    def event_type(self) -> str:
        """The types among that, with bars between."""
        return "|".join(dict.fromkeys(map(type_of, self.listens)))


@dataclass(slots=True)
class OpenChild(_Open):
    """A wait for another instance's end."""

    kind: ClassVar[str] = "child"
    workflow: str = ""
    id: str = ""
    policy: str = ""
    """What becomes of it when it is waited for no more: ``terminate``, ``cancel``; else it goes on."""


Open = OpenStep | OpenUndo | OpenSleep | OpenWait | OpenChild
OPEN: Mapping[str, type[Open]] = {one.kind: one for one in (OpenStep, OpenUndo, OpenSleep, OpenWait, OpenChild)}
_VALUES = {kind: [(value.name, value.type == "str") for value in fields(one)] for kind, one in OPEN.items()}
"""Names, and whether each is a text."""


def open_record(values: Any) -> Open:
    """An open record, as ``unpackb`` gives it.

    Raises:
        CorruptPayload: it is none.
    """
    try:
        return OPEN[values[0].decode()].of(values)
    except (TypeError, KeyError, IndexError, AttributeError, UnicodeDecodeError) as error:
        raise CorruptPayload(f"an open record cannot be read: {type(error).__name__}: {error}") from error


class Asked(NamedTuple):
    """What a decision opens: the first values of an open record, and for a child the message to its shard."""

    values: Values
    message: dict[str, Any] | None = None

    @property
    def kind(self) -> str:
        return str(self.values[0])

    @property
    def seq(self) -> int:
        return int(self.values[1])

    @property
    def queue(self) -> str:
        """Of a step."""
        return str(self.values[6])

    @property
    def config(self) -> bytes:
        """Of a step."""
        blob: bytes = self.values[8]
        return blob


class GivenUp(NamedTuple):
    """What a decision gives up.

    Attributes:
        is_detached: it may be awaited again, so only an entry that has been fed counts as received.
    """

    seq: int
    kind: str
    is_detached: bool = False


@dataclass(slots=True)
class End:
    """How a decision ends the instance.

    Attributes:
        status: ``complete`` or ``errored``; ``continued``: this life only, and ``value`` are the params of the next.
        value, error: codec or failure blob.
        warnings: codec blob.
        asked: what ``run`` has asked for and not got, each ``seq|kind|count|name``; None: too much for one call.
        compared: how long the journal was when the worker compared that itself; None: it has not.
        rollback: ``begin``: first it is rolled back. ``none``: it would have been, but nothing was begun that has a
            handler. ``complete``, or the failure blob of what stopped it. None: it has nothing to do with handlers.
        generation: of the next life, where there is one.
        vain: names under which the mailbox may keep answers to waits of this life that nobody will ask for again.
    """

    status: str
    value: bytes | None = None
    error: bytes | None = None
    warnings: bytes | None = None
    asked: list[str] | None = None
    compared: int | None = None
    rollback: str | bytes | None = None
    generation: str | None = None
    vain: list[str] | None = None

    def wire(self) -> dict[str, Any]:
        compared = -1 if self.asked is None and self.compared is None else self.compared  # -1: as long as no journal
        every = {
            "st": self.status,
            "v": self.value,
            "x": self.error,
            "w": self.warnings,
            "q": self.asked,
            "l": compared,
            "rb": self.rollback,
            "gen": self.generation,
            "va": self.vain,
        }
        return {name: value for name, value in every.items() if value is not None}


class Value(NamedTuple):
    """What ``run`` has published under a name.

    Attributes:
        n: of all that this life has published, from 1. 0: an earlier life has (``continue_as``).
        at_ms: the moment of what it had seen last by then.
    """

    n: int
    at_ms: int
    blob: bytes

    def wire(self) -> dict[str, Any]:
        return {"n": self.n, "t": self.at_ms, "v": self.blob}

    @classmethod
    def of(cls, fields: Fields) -> Value:
        """Raises: see ``name_of``."""
        return cls(number_of(fields, b"n"), number_of(fields, b"t"), blob_of(fields, b"v"))


@dataclass(slots=True)
class Decision:
    """What ``run`` asks for next, relative to the decision before.

    Attributes:
        events: those it was fed, as seq of the wait and index of the entry.
        parts: in so many parts, sent beforehand, stands what it withdraws and opens.
        published: what ``run`` has published since the decision before, by name.
    """

    withdrawn: list[GivenUp] = field(default_factory=list)
    opened: list[Asked] = field(default_factory=list)
    end: End | None = None
    events: list[tuple[int, int]] = field(default_factory=list)
    parts: int = 0
    published: Mapping[str, Value] | None = None

    def wire(self) -> dict[str, Any]:
        """As ``apply`` in ``parts/decision.lua`` reads it."""
        wire: dict[str, Any] = {"w": self.withdrawn, "o": self.opened}
        if self.end is not None:
            wire["e"] = self.end.wire()
        if self.events:
            wire["g"] = self.events
        if self.parts:
            wire["n"] = self.parts
        if self.published:
            wire["v"] = {name: value.wire() for name, value in self.published.items()}
        return wire


@dataclass(slots=True)
class Settlement:
    """How a held attempt ended, and what follows from it where that is known. Put together here alone.

    Attributes:
        entry: the journal entry of its last outcome; else it is tried again.
        retry: in how many ms, and the failure: attempt, begun ms, ended ms, failure blob.
        stream: of a result that is a stream: how many chunks and bytes its attempt has written.
        again: of a poll: in how many ms it looks again, for how many in all, and the failure blob when that is over.
        details: of its last heartbeat, for the next attempt.
        base: how long the journal has to be for ``decision`` to hold.
        eager: token under which the one step of the decision may begin at once; '': none.
    """

    generation: str
    seq: int
    token: str
    entry: bytes | None = None
    retry: tuple[int, Values] | None = None
    again: tuple[int, int, bytes] | None = None
    details: bytes | None = None
    base: int = 0
    decision: Decision | None = None
    eager: str = ""
    stream: tuple[int, int] | None = None

    def wire(self) -> dict[str, Any]:
        """As ``settle.lua`` reads it, without its place ``i``."""
        wire: dict[str, Any] = {"g": self.generation, "s": self.seq, "t": self.token}
        if self.entry is not None:
            wire["e"] = self.entry
        if self.stream is not None:
            wire["st"] = self.stream
        if self.retry is not None:
            wire["r"] = self.retry
        if self.again is not None:
            wire["p"] = self.again
        if self.details is not None:
            wire["h"] = self.details
        if self.decision is not None:
            wire["b"] = self.base
            wire["d"] = self.decision.wire()
            if self.eager:
                wire["ea"] = self.eager
        return wire
