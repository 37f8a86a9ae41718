"""What there is in Redis, as the checks see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from workflows.storage import cuts, journal
from workflows.storage.keys import Instance
from workflows.storage.messages import Message
from workflows.storage.records import Open, OpenChild, OpenSleep, OpenStep, OpenWait, Slot, Value
from workflows.storage.status import FINAL, Status
from workflows.storage.store import unpackb
from workflows.values.listening import AnswerToken

Answer = (journal.Settled, journal.Slept, journal.TimedOut, journal.EventReceived, journal.ChildEnded)
_REST = ("due", "walk", "mail", "at", "parts", "token", "clear", "told")


@dataclass(slots=True)
class Seen:
    """One instance as stored; ``outcome`` is what stands behind the journal of one that has ended."""

    instance: Instance
    header: dict[str, bytes]
    journal: list[bytes]
    records: dict[int, Open]
    mail: dict[str, bytes]
    queues: list[str]
    outcome: dict[bytes, Any]

    def text(self, name: str) -> str:
        return self.header.get(name, b"").decode()

    @property
    def generation(self) -> str:
        return self.text("gen")

    @property
    def status(self) -> Status:
        return Status(self.text("st"))

    @property
    def position(self) -> int:
        return int(self.text("pos") or 0)

    @property
    def ended(self) -> bool:
        return self.status in FINAL

    @property
    def cuts(self) -> tuple[journal.Cut, ...]:
        return journal.decode_start(self.journal[0]).cuts

    @property
    def begin(self) -> int:
        """Where the entries of this life begin, behind the start and what was kept of other lives."""
        return self.cuts[-1].upto if self.cuts else 1

    @property
    def counting(self) -> Sequence[journal.Entry | None]:
        """Its entries, with None for what no longer counts."""
        return cuts.kept([journal.decode(blob) for blob in self.journal])

    @property
    def is_rolling_back(self) -> bool:
        """Whether handlers run, or are going to."""
        return "rb" in self.header

    @property
    def rest(self) -> dict[str, Any]:
        """What is left over, by the names that ``parts/instance.lua`` has for it."""
        stored = self.header.get("rest", b"")
        return (
            {name: value for name, value in zip(_REST, unpackb(stored), strict=True) if value != b""} if stored else {}
        )

    @property
    def values(self) -> dict[str, Value]:
        """What is published, by name."""
        stored = self.header.get("vals")
        return {name.decode(): Value.of(value) for name, value in unpackb(stored).items()} if stored else {}

    @property
    def unfinished(self) -> bool:
        rest = self.rest
        goes_on = not self.text("want") and not self.lacks_slot
        return bool(rest.keys() & {"walk", "mail", "at", "clear", "told"} or ("due" in rest and goes_on))

    @property
    def slot(self) -> Slot | None:
        """What it has of the limit of its workflow."""
        return Slot.parse(self.text("slot")) if self.text("slot") else None

    @property
    def lacks_slot(self) -> bool:
        return self.slot is not None and self.slot.state in "-a"

    def staged(self) -> tuple[dict[int, Any], set[int]]:
        """What the parts of a decision that are not applied yet withdraw and open."""
        withdrawn: dict[int, Any] = {}
        opened: set[int] = set()
        for n in range(self.rest.get("at", 1), self.rest.get("parts", 0) + 1) if "at" in self.rest else ():
            part = unpackb(self.mail[f"p:{n}"])
            withdrawn |= {one[0]: one for one in part[b"w"]}
            opened |= {one[0][1] for one in part[b"o"]}
        return withdrawn, opened

    def moment_of(self, record: Open) -> int:
        """When a record is due by the server's clock, unless time stands still."""
        assert not isinstance(record, OpenChild)
        is_absolute = isinstance(record, OpenSleep) and record.absolute
        due = record.fires if isinstance(record, OpenWait) else record.due or 0
        return int(due + (0 if is_absolute else float(self.text("stood") or 0)))

    @property
    def names(self) -> list[str]:
        """What somebody listens to, or an event is kept under."""
        return sorted({member.split("|")[1] for member in self.queues if member[:2] in ("w|", "m|")})

    def queue(self, *prefix: str) -> list[int]:
        """The numbers that stand behind a prefix in the queues, in their order there."""
        begins = "".join(f"{part}|" for part in prefix)
        return [int(member[len(begins) + 1 :]) for member in self.queues if member.startswith(begins)]


@dataclass(slots=True)
class Written:
    """Streams of an instance: which are known, by seq of their step; chunks by token; and those that expire."""

    index: dict[int, str]
    chunks: dict[str, list[bytes]]
    expiring: set[str]


@dataclass(slots=True)
class State:
    instances: dict[tuple[str, str], Seen] = field(default_factory=dict)
    timers: dict[str, int] = field(default_factory=dict)
    intents: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    workers: dict[int, set[str]] = field(default_factory=dict)
    relayed: dict[int, int] = field(default_factory=dict)
    index: list[str] = field(default_factory=list)
    retire: dict[str, int] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)
    slots: list[str] = field(default_factory=list)
    slotq: list[str] = field(default_factory=list)
    keyed: dict[int, list[str]] = field(default_factory=dict)
    sent: list[Message] = field(default_factory=list)
    remains: dict[tuple[str, str, str], dict[int, Open]] = field(default_factory=dict)
    streams: dict[tuple[str, str], Written] = field(default_factory=dict)

    def record(self, workflow: str, id: str, generation: str, seq: int) -> Open | None:
        """The open record that somebody in the shard speaks of, also of a life that is over."""
        seen = self.instances.get((workflow, id))
        if seen is not None and seen.generation == generation:
            return seen.records.get(seq)
        return self.remains.get((workflow, id, generation), {}).get(seq)


def state_of(record: Open) -> str:
    return record.state if isinstance(record, OpenStep) else "wait"


def ordered(n: int) -> str:
    return f"{chr(64 + len(str(n)))}{n}"


def events_of(seen: Seen) -> set[str]:
    found = {unpackb(blob)[b"ev"].decode() for name, blob in seen.mail.items() if name.startswith("e:")}
    for blob in seen.journal[seen.begin :]:
        if blob[1:2] == b"E":
            found.add(unpackb(blob[journal.HEADER_BYTES :])[b"ev"].decode())
    return found


def tokens_of(seen: Seen) -> set[AnswerToken]:
    """Of its open waits."""
    return {
        AnswerToken(
            *(seen.instance.workflow, seen.instance.id, cuts.generation_at(seen.cuts, seq, seen.generation)),
            *(seq, record.event_type),
        )
        for seq, record in seen.records.items()
        if isinstance(record, OpenWait) and "~" in record.type
    }
