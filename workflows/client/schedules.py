"""Schedules, looked at and steered by hand. Each command is a plan that both clients carry out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from workflows import limits
from workflows.client.batches import Plan
from workflows.client.creation import batches_of
from workflows.client.requests import Request
from workflows.errors import BadSchedule, ConfigError
from workflows.storage import nonces
from workflows.storage.intake import create_call
from workflows.storage.keys import Keyspace
from workflows.storage.manifest import Manifest, read_manifest
from workflows.storage.schedules import KnownSchedule, ScheduleState, schedules_of, states_of
from workflows.storage.store import Call, script
from workflows.values.cron import firings
from workflows.values.schedules import Overlap

_HERE = Path(__file__).parent
_FIELDS: Final = script(_HERE / "fields.lua")
_PAUSED: Final = script(_HERE / "schedule_paused.lua")


@dataclass(frozen=True, slots=True)
class ScheduleStatus:
    """A schedule, as it is now. Moments are on the clock of its zone.

    Attributes:
        line: by which the verbs know it: the cron line, and the zone unless it is UTC.
        overlap, catch_up, jitter: see ``CronSchedule``.
        next_at: for which moment its next instance will be created, apart from jitter; None while it is paused.
        paused_at: since when it is paused; None: it is not.
        waiting_at: the firing that is held back until the one before has ended.
    """

    workflow: str
    line: str
    cron: str
    timezone: str
    overlap: Overlap
    catch_up: timedelta | None
    jitter: timedelta
    next_at: datetime | None
    paused_at: datetime | None
    waiting_at: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON allows it: moments in ISO 8601, durations in ms."""

        def iso(moment: datetime | None) -> str | None:
            return None if moment is None else moment.isoformat()

        return {
            "workflow": self.workflow,
            "line": self.line,
            "cron": self.cron,
            "timezone": self.timezone,
            "overlap": self.overlap,
            "catch_up_ms": None if self.catch_up is None else _ms(self.catch_up),
            "jitter_ms": _ms(self.jitter),
            "next_instance": iso(self.next_at),
            "paused_at": iso(self.paused_at),
            "waiting_at": iso(self.waiting_at),
        }


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is published, and how far it has come."""

    now_ms: int
    manifest: Manifest
    states: dict[str, ScheduleState]

    def find(self, workflow: str, line: str | None) -> KnownSchedule:
        """Raises: UnknownWorkflow, ConfigError, BadSchedule: there is none such; the message names those there are."""
        target = self.manifest.workflow(workflow)
        known = [one for one in schedules_of(self.manifest) if one.target is target]
        if not known:
            raise ConfigError(f'The workflow "{workflow}" has no schedule.')
        listed = ", ".join(f'"{one.schedule.line}"' for one in known)
        if line is None:
            if len(known) > 1:
                raise BadSchedule(f'The workflow "{workflow}" has several schedules: say which of {listed}.')
            return known[0]
        text = " ".join(line.split())
        found = [one for one in known if one.schedule.line == text] or [
            one for one in known if one.schedule.cron == text
        ]
        if len(found) != 1:
            raise BadSchedule(f'The workflow "{workflow}" has no schedule "{line:.300}"; it has {listed}.')
        return found[0]

    def status_of(self, known: KnownSchedule) -> ScheduleStatus:
        schedule, state = known.schedule, self.states.get(known.id)
        place = ZoneInfo(schedule.timezone)

        def moment(ms: int | None) -> datetime | None:
            return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).astimezone(place)

        following = known.next_due(state, self.now_ms)
        return ScheduleStatus(
            workflow=known.target.name,
            line=schedule.line,
            cron=schedule.cron,
            timezone=schedule.timezone,
            overlap=schedule.overlap,
            catch_up=None if schedule.catch_up_ms is None else timedelta(milliseconds=schedule.catch_up_ms),
            jitter=timedelta(milliseconds=schedule.jitter_ms),
            next_at=moment(None if following is None else following[0]),
            paused_at=moment(None if state is None else state.paused),
            waiting_at=moment(None if state is None else state.waits),
        )


def _look(keys: Keyspace) -> Plan[_Seen]:
    (_, published), (now, states) = yield [_fields(keys.manifest), _fields(keys.schedules)]
    return _Seen(now, read_manifest(published), states_of(states, now))


def _fields(key: str) -> Request[tuple[int, dict[bytes, bytes]]]:
    def parse(answer: Any) -> tuple[int, dict[bytes, bytes]]:
        now, found = answer
        return int(now), dict(zip(found[::2], found[1::2], strict=True))

    return Request(Call(_FIELDS, [key], {}), parse)


def schedules(keys: Keyspace) -> Plan[list[ScheduleStatus]]:
    """Those of all published workflows, by workflow."""
    seen = yield from _look(keys)
    known = sorted(schedules_of(seen.manifest), key=lambda one: one.id)
    return [seen.status_of(one) for one in known]


def set_paused(keys: Keyspace, workflow: str, line: str | None, paused: bool) -> Plan[bool]:
    """Pause a schedule, or let it go on. Returns: whether it was otherwise before. Raises: as ``_Seen.find``."""
    seen = yield from _look(keys)
    (changed,) = yield [Request(paused_call(keys, seen.find(workflow, line).id, paused), bool)]
    return bool(changed)


def paused_call(keys: Keyspace, id: str, paused: bool) -> Call:
    """A call of ``schedule_paused.lua``; it answers whether that is new."""
    return Call(_PAUSED, [keys.schedules], {"id": id, "paused": paused})


def trigger(keys: Keyspace, workflow: str, line: str | None) -> Plan[str]:
    """Create an instance as if the schedule had fired now. Returns: its id. Raises: as ``_Seen.find``."""
    seen = yield from _look(keys)
    known, token = seen.find(workflow, line), nonces.token()
    item = known.item(seen.now_ms, f"{known.schedule.instance_id(seen.now_ms)}-{token}", token)
    yield [Request(create_call(keys, item), lambda answer: answer)]
    return item.id


def backfill(
    keys: Keyspace, workflow: str, line: str | None, start: datetime, end: datetime, *, dry_run: bool
) -> Plan[list[str]]:
    """Create the instances of firings from ``start`` on and before ``end``, apart from those that are there.

    Returns: the ids of what is new; of all firings with ``dry_run``, which creates nothing.
    Raises: as ``_Seen.find``; ConfigError: it reaches into the future, or these are more than ``limits.BACKFILL``.
    """
    seen = yield from _look(keys)
    known = seen.find(workflow, line)
    schedule, place = known.schedule, ZoneInfo(known.schedule.timezone)
    first, last = (_moment_ms(moment, place) for moment in (start, end))
    if last > seen.now_ms:
        raise ConfigError("A backfill ends in the future: what is due then fires by itself.")
    moments: list[int] = []
    for at in firings(schedule.cron, schedule.timezone, first - 1, last - 1):
        moments.append(at)
        if len(moments) > limits.BACKFILL:
            raise ConfigError(f"A backfill has more than {limits.BACKFILL:,} firings; give a shorter span.")
    if dry_run:
        return [schedule.instance_id(at) for at in moments]
    created: set[str] = set()
    for begin in range(0, len(moments), limits.BATCH):
        some = moments[begin : begin + limits.BATCH]
        items = {known.instance(keys, at): known.item(at, command=nonces.token()) for at in some}
        for answer in (yield list(batches_of(keys, items))):
            created.update(answer)
    return [id for id in map(schedule.instance_id, moments) if id in created]


def _moment_ms(moment: datetime, place: ZoneInfo) -> int:
    """Without a zone of its own it is meant as the schedule's clock shows it."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=place)
    return round(aware.timestamp() * 1000)
