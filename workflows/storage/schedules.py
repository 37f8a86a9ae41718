"""How far each schedule has come, as it stands in Redis, and the schedules that apps have published.

A schedule is known by its workflow and its line: with another line it is another schedule, which begins anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from workflows import limits
from workflows.errors import ConfigError
from workflows.storage.intake import CreateItem, new_instance
from workflows.storage.keys import Instance, Keyspace
from workflows.storage.manifest import KnownWorkflow, Manifest
from workflows.storage.records import Firing
from workflows.storage.store import Call, packb, script, unpackb
from workflows.values import codec
from workflows.values.cron import next_firing
from workflows.values.schedules import CronSchedule

_SCHEDULE = script(Path(__file__).with_name("schedule.lua"))


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """How far a schedule has come: a value of ``{ns/schedules}``.

    Attributes:
        at: the last firing that was decided about, by what its line says. As all moments here in ms.
        paused: since when; None: it is not.
        last: the last firing that was created; kept where the next one asks whether it still runs.
        waits: the firing that is created when the last one has ended.
        make: firings that are to be created now, whatever is decided afterwards.
        ends: the firing whose instance is to be terminated before.
    """

    at: int
    paused: int | None = None
    last: int | None = None
    waits: int | None = None
    make: tuple[int, ...] = ()
    ends: int | None = None

    def wire(self) -> bytes:
        fields = {name: getattr(self, name) for name in ("at", "paused", "last", "waits", "ends")}
        kept = {name: value for name, value in fields.items() if value is not None}
        return packb({**kept, "make": list(self.make)} if self.make else kept)

    @classmethod
    def of(cls, blob: bytes, now_ms: int) -> ScheduleState:
        """Raises ValueError: it is none, or so far ahead that the schedule would not fire for days."""
        try:
            found = {name.decode(): value for name, value in unpackb(blob).items()}
            optional = {name: _moment(found.get(name)) for name in ("paused", "last", "waits", "ends")}
            state = cls(int(found["at"]), make=tuple(int(at) for at in found.get("make", ())), **optional)
        except Exception as error:  # msgpack has no common root of what it raises
            raise ValueError(f"{type(error).__name__}: {error}") from error
        if any(not 0 <= at <= now_ms + limits.DAY_MS for at in (state.at, *state.make)):
            raise ValueError(f"a firing at {state.at}")
        return state


def _moment(value: object) -> int | None:
    return None if value is None else int(value)  # type: ignore[call-overload]


@dataclass(frozen=True, slots=True)
class KnownSchedule:
    """A schedule of a published workflow."""

    target: KnownWorkflow
    schedule: CronSchedule

    @property
    def id(self) -> str:
        """Its field in ``{ns/schedules}``."""
        return f"{self.target.name} {self.schedule.line}"

    def instance(self, keys: Keyspace, at_ms: int) -> Instance:
        """The one that a firing creates."""
        return keys.instance(self.target.name, self.schedule.instance_id(at_ms))

    def item(self, at_ms: int, id: str | None = None, command: str | None = None) -> CreateItem:
        """What creates the instance of a firing; under its own id, unless another is given."""
        params = codec.encode(self.target.validate_params(None), what="the params of a scheduled instance")
        firing = Firing(self.schedule.cron, at_ms, self.schedule.timezone)
        return new_instance(self.target, id or self.schedule.instance_id(at_ms), params, command=command, firing=firing)

    def next_due(self, state: ScheduleState | None, now_ms: int) -> tuple[int, int] | None:
        """The next firing, by what its line says, and when it will be created; None: it is paused.

        Raises: ValueError, KeyError, OverflowError: the line cannot be read.
        """
        if state is not None and state.paused is not None:
            return None
        schedule = self.schedule
        at = next_firing(schedule.cron, schedule.timezone, now_ms if state is None else state.at)
        return at, schedule.due_ms(at)


@lru_cache(maxsize=1024)
def _read(text: str) -> CronSchedule:
    return CronSchedule.of(json.loads(text))


def schedules_of(manifest: Manifest, unreadable: list[tuple[str, str]] | None = None) -> Iterator[KnownSchedule]:
    """The schedules of published workflows.

    Args:
        unreadable: gets workflow and reason of each that cannot be read here, because its zone is not known say.
    """
    for known in manifest.workflows.values():
        for wire in known.schedules:
            try:
                yield KnownSchedule(known, _read(json.dumps(wire, sort_keys=True)))
            except (ConfigError, ValueError, TypeError) as error:
                if unreadable is not None:
                    unreadable.append((f"{known.name} {wire}", str(error)))


def lines_of(known: KnownWorkflow) -> list[str]:
    """How the schedules of a workflow are shown; one that cannot be read here, as it was published."""
    lines = []
    for wire in known.schedules:
        try:
            lines.append(_read(json.dumps(wire, sort_keys=True)).line)
        except (ConfigError, ValueError, TypeError):
            lines.append(str(wire))
    return lines


def schedule_call(keys: Keyspace, id: str | bytes, found: bytes, wanted: bytes) -> Call:
    """A call of ``schedule.lua``; it answers with 1 or 0."""
    return Call(_SCHEDULE, [keys.schedules], {"id": id, "from": found, "to": wanted})


def states_of(fields: Mapping[bytes, bytes], now_ms: int) -> dict[str, ScheduleState]:
    """Those states that can be read, by the schedule's id."""
    found = {}
    for id, blob in fields.items():
        try:
            found[id.decode()] = ScheduleState.of(blob, now_ms)
        except (ValueError, UnicodeDecodeError):
            continue
    return found
