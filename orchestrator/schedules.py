"""Cron lines that create instances: one instance per firing, however many orchestrators there are (F38).

The instance id is made of the schedule and its moment, so creating a firing twice is one instance. A firing that is
late by more than ``limits.CATCH_UP_MS`` is skipped, except for the last one missed: after an hour of silence a schedule
fires once, not sixty times (F39). Cron lines are read in UTC.
"""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from croniter import croniter

from workflows import limits
from workflows.storage.aside import note, shown
from workflows.storage.intake import create_call, new_instance
from workflows.storage.manifest import KnownWorkflow, Manifest, read_manifest
from workflows.storage.records import Firing
from workflows.storage.store import Call, Store, script
from workflows.values import codec

_SCHEDULE = script(Path(__file__).with_name("schedule.lua"))
_log = logging.getLogger("workflows.orchestrator")

FIRINGS_PER_LOOK = 100


@dataclass(frozen=True, slots=True)
class CronLine:
    """One cron line of one workflow."""

    target: KnownWorkflow
    cron: str

    @property
    def id(self) -> str:
        return f"{self.target.name} {self.cron}"

    def instance_id(self, at_ms: int) -> str:
        """Same firing, same id; the cron line itself has characters that ids cannot have."""
        return f"cron-{zlib.crc32(self.cron.encode()):08x}-{at_ms}"


def schedules_of(manifest: Manifest) -> list[CronLine]:
    """The schedules of published workflows."""
    return [CronLine(known, cron) for known in manifest.workflows.values() for cron in known.schedules]


def firings(cron: str, after_ms: int, now_ms: int) -> list[int]:
    """The moments a cron line fires in (after, now], oldest first, without those too late to matter."""
    start = after_ms
    if now_ms - after_ms > limits.CATCH_UP_MS:
        # The last missed firing, found backwards, so that a year of silence costs nothing.
        last = croniter(cron, datetime.fromtimestamp((now_ms - limits.CATCH_UP_MS) / 1000, UTC)).get_prev(float)
        start = max(after_ms, int(last * 1000) - 1)
    found: list[int] = []
    times = croniter(cron, datetime.fromtimestamp(start / 1000, UTC))
    while len(found) < FIRINGS_PER_LOOK:
        moment = int(times.get_next(float) * 1000)
        if moment > now_ms:
            break
        found.append(moment)
    return found


def tick(store: Store, now_ms: int) -> int:
    """Create the instances that are due. Returns: how many firings were handled here."""
    created = 0
    cursors, published = store.commands([["HGETALL", store.keys.schedules], ["HGETALL", store.keys.manifest]])
    for schedule in schedules_of(read_manifest(published)):
        cursor = cursors.get(schedule.id.encode())
        if cursor is None:
            # First seen: fires from now on, not for the past.
            _move(store, schedule, b"", now_ms)
            continue
        after = _moment(cursor, now_ms)
        if after is None:
            why = f"the last firing of a schedule was {shown(cursor, 40)}; it goes on from now"
            note(store, store.keys.schedules, why, schedule.id.encode())
            _move(store, schedule, cursor, now_ms)
            continue
        try:
            due = firings(schedule.cron, after, now_ms)
        except (ValueError, KeyError, OverflowError) as error:
            note(store, store.keys.manifest, f"a schedule cannot be read: {error}", schedule.id.encode())
            continue
        for moment in due:
            _create(store, schedule, moment)
        if due:
            created += len(due) if _move(store, schedule, cursor, due[-1]) else 0
    return created


def _moment(cursor: bytes, now_ms: int) -> int | None:
    """What a cursor says; None when it cannot be one: it would make the schedule fire never, or too often."""
    if not cursor.isdigit() or len(cursor) > 15 or int(cursor) > now_ms + limits.DAY_MS:
        return None
    return int(cursor)


def _move(store: Store, schedule: CronLine, cursor: bytes, to_ms: int) -> bool:
    arguments = {"id": schedule.id, "from": cursor, "to": str(to_ms)}
    return bool(store.call(Call(_SCHEDULE, [store.keys.schedules], arguments)))


def _create(store: Store, schedule: CronLine, at_ms: int) -> None:
    params = codec.encode(schedule.target.validate_params(None), what="the params of a scheduled instance")
    item = new_instance(schedule.target, schedule.instance_id(at_ms), params, firing=Firing(schedule.cron, at_ms))
    store.call(create_call(store.keys, item))
    _log.info("schedule fired", extra={"workflow": item.workflow, "instance": item.id})
