"""One instance at one moment, as far as it takes to say why it stands where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from workflows.storage.journal import Entry
from workflows.storage.keys import Instance, Intent, Timer
from workflows.storage.records import Open, OpenChild, OpenSleep, OpenStep, OpenWait, Slot
from workflows.storage.status import FINAL, Status
from workflows.storage.store import unpackb


@dataclass(frozen=True, slots=True)
class Standing:
    """What was read of an instance in one moment.

    Attributes:
        now_ms: by the clock that instances live by; a test's own may differ from the server's.
        header: fields of the header, without those it does not have.
        journal_length: how many entries there are.
        newest: the last entry, as far as it was read and can be read.
        records: what is open, as far as it was read and can be read.
        starting: seqs of those whose message to another shard is still on its way.
        mail: how many events of each type are kept; None: not asked.
        is_partial: the end of the journal was not read, and so nothing of what is open.
    """

    instance: Instance
    now_ms: int
    header: Mapping[str, bytes]
    journal_length: int
    newest: Entry | None = None
    records: Sequence[Open] = ()
    starting: frozenset[int] = field(default_factory=frozenset)
    mail: Mapping[str, int] | None = None
    is_partial: bool = False

    def text(self, name: str) -> str:
        """A field of the header; ``""`` when there is none."""
        return self.header.get(name, b"").decode(errors="backslashreplace")

    def number(self, name: str) -> int:
        """The same as a number; 0 when there is none."""
        return int(self.header.get(name) or 0)

    @property
    def status(self) -> Status:
        """As the header has it."""
        return Status(self.text("st"))

    @property
    def is_live(self) -> bool:
        """Whether it has not ended."""
        return self.status not in FINAL

    @property
    def moves(self) -> bool:
        """Whether it has not ended, and time goes on for it."""
        return self.is_live and not self.text("want")

    @property
    def queue(self) -> str:
        """Where its turns wait; the default is not stored."""
        return self.text("queue") or "default"

    @property
    def holder(self) -> str | None:
        """The worker that decides what is next; None when none does."""
        kind, _, rest = self.text("turn").partition("|")
        return rest.partition("|")[0] if kind == "h" else None

    @property
    def slot(self) -> Slot | None:
        """What it has of the limit of its workflow; None when it never had one, or it cannot be read."""
        with suppress(ValueError):
            return Slot.parse(self.text("slot"))
        return None

    def intent(self, record: Open | None) -> str | None:
        """The member under which an attempt, or for None the turn, waits to be claimed; None when it does not."""
        who = (self.instance.workflow, self.instance.id, self.text("gen"))
        if record is None:
            kind, _, nonce = self.text("turn").partition("|")
            return Intent("t", *who, 0, nonce, self.queue).member if kind == "r" else None
        if isinstance(record, OpenStep) and record.state == "ready":
            return Intent("a", *who, record.seq, record.intent, record.queue).member
        return None

    def timer(self, record: Open) -> str | None:
        """The member under which the timer of a record is armed while time goes on; None when it has none."""
        if isinstance(record, OpenChild) or (isinstance(record, OpenStep) and record.state != "back"):
            return None
        kind = {"sleep": "s", "wait": "w"}.get(record.kind, "b")
        return Timer(kind, self.instance.workflow, self.instance.id, self.text("gen"), record.seq).member

    def due_ms(self, record: Open) -> int:
        """When a record's timer is due, by the clock that instances live by, while time goes on."""
        due: int = record.fires if isinstance(record, OpenWait) else getattr(record, "due", None) or 0
        return due if isinstance(record, OpenSleep) and record.absolute else due + self.number("stood")

    @property
    def is_unfinished(self) -> bool:
        """Whether there was more to do than one call may, and it is gone on with (`instance.lua:is_unfinished`)."""
        blob = self.header.get("rest")
        if not blob:
            return False
        try:
            due, walk, mail, at, _, _, clear, told = unpackb(blob)
        except Exception:  # msgpack has no common root of what it raises; such an instance is parked
            return False
        waits = self.slot is not None and self.slot.state in "-a"
        return any(part != b"" for part in (walk, mail, at, clear, told)) or (due != b"" and not waits)

    @property
    def moved_ms(self) -> int:
        """When it has moved last, as far as that can be seen."""
        moments = [self.number("created"), self.number("started"), *(record.asked for record in self.records)]
        if self.newest is not None:
            moments.append(self.newest.at_ms)
        return max(moments)
