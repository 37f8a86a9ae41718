"""What a replay of the journal says must be there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.invariants.programs import app
from tests.invariants.simulation.seen import Seen
from tests.invariants.simulation.violation import Violation
from workflows.authoring.callback import Callback
from workflows.authoring.commands import Command
from workflows.authoring.rollback import RollbackCallback
from workflows.errors import NonDeterminismError
from workflows.replay.replay import Raised, Replay, Returned
from workflows.replay.start import replay_of
from workflows.storage import journal
from workflows.storage.records import Value


@dataclass(frozen=True, slots=True)
class Prefix:
    """What a replay says after so many entries."""

    pending: dict[int, tuple[str, str, int, Any]]
    cancelled: frozenset[int]
    end: Returned | Raised | None
    voids: int
    published: Mapping[str, Value] = field(default_factory=dict)


class Oracle:
    """Replays one life of one instance, entry by entry, and remembers what it said after each."""

    def __init__(self, seen: Seen) -> None:
        start = journal.decode_start(seen.journal[0])
        # What was kept of other lives is there from the beginning.
        self._kept = seen.counting[: seen.begin]
        self._replay = replay_of(Replay, app, seen.instance, seen.generation, start)
        self.blobs: list[bytes] = []
        self.prefixes = [Prefix({}, frozenset(), None, 0)]
        self.expected_inputs: dict[int, tuple[Any, ...]] = {}
        self.void_entries: set[int] = set()
        self.handled: set[int] = set()

    def feed(self, blob: bytes) -> None:
        at = len(self.blobs)
        entry = self._kept[at] if at < len(self._kept) else journal.decode(blob)
        replay = self._replay
        try:
            replay.feed([entry])
        except NonDeterminismError as error:
            raise Violation(f"journal and code disagree: {error}") from error
        snapshot = replay.snapshot()
        if entry is None or len(snapshot.voids) > self.prefixes[-1].voids:
            self.void_entries.add(len(self.blobs))
        self.blobs.append(blob)
        pending = {seq: _told(replay.command(seq)) for seq in snapshot.pending}
        for seq in snapshot.pending:
            if getattr(replay.command(seq), "rollback", None) is not None:
                self.handled.add(seq)
            callback = replay.callback(seq)
            if callback is not None:
                self.expected_inputs[seq] = inputs_of(callback)
        asked = {*snapshot.gone, *self.prefixes[-1].cancelled, getattr(entry, "seq", 0)}
        cancelled = frozenset(seq for seq in asked if replay.is_cancelled(seq))
        published = {} if replay.published is None else replay.published.since(0)
        self.prefixes.append(Prefix(pending, cancelled, replay.end, len(snapshot.voids), published))

    def void_steps(self, start: int) -> set[int]:
        """Steps with an answer in vain, from entry ``start`` on."""
        entries = [journal.decode(self.blobs[at]) for at in self.void_entries if at >= start]
        return {entry.seq for entry in entries if not isinstance(entry, journal.NoAnswer)}

    def close(self) -> None:
        self._replay.close()


def inputs_of(callback: Callback) -> tuple[Any, ...]:
    """What a result is made of here: the arguments of a step, or what its handler is told."""
    if isinstance(callback, RollbackCallback):
        return (callback.output, str(callback.error))
    return callback.args


def _told(command: Command) -> tuple[str, str, int, Any]:
    return command.kind, command.name, command.count, getattr(command, "listens", None)
