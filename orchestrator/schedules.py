"""Schedules create instances: one per firing, however many orchestrators there are (F38).

A look at a schedule has two halves. ``decide`` says which firings are to be created, from its line, from how far it has
come, and from whether the instance of its last firing still runs; that is put down in one compare-and-set. What stands
there is then carried out, by whoever comes first, after a death by somebody else: each part of it may be done twice,
because the id of an instance is made of schedule and moment. Nobody acts upon a decision that has lost.

A firing that is late by more than ``limits.CATCH_UP_MS`` is skipped, except for the last one missed: after an hour of
silence a schedule fires once, not sixty times (F39). A schedule may say otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import redis

from workflows import limits
from workflows.client import requests
from workflows.storage import aside
from workflows.storage.aside import note, shown
from workflows.storage.intake import create_call
from workflows.storage.manifest import read_manifest
from workflows.storage.schedules import KnownSchedule, ScheduleState, schedule_call, schedules_of
from workflows.storage.status import FINAL
from workflows.storage.store import Store
from workflows.values.cron import firings, last_firing, next_firing
from workflows.values.schedules import CronSchedule

_log = logging.getLogger("workflows.orchestrator")
_ENDED = frozenset(status.value.encode() for status in FINAL)

FIRINGS_PER_LOOK = 100


def tick(store: Store, now_ms: int) -> int:
    """Create the instances that are due. Returns: how many firings were seen to here."""
    made = 0
    states, published = store.commands([["HGETALL", store.keys.schedules], ["HGETALL", store.keys.manifest]])
    manifest = read_manifest(published)
    unreadable: list[tuple[str, str]] = []
    for known in schedules_of(manifest, unreadable):
        found = states.pop(known.id.encode(), b"")
        try:
            wanted = look(store, known, found, now_ms)
        except (ValueError, KeyError, OverflowError) as error:
            unreadable.append((known.id, str(error)))
            continue
        if wanted is not None:
            made += stand(store, known, found, wanted)
    for id, why in unreadable:
        note(store, store.keys.manifest, f"a schedule cannot be read: {why}", id.encode())
    if manifest.apps and not manifest.unreadable and not unreadable:
        # Of schedules that no app has any more.
        for id, found in states.items():
            store.call(schedule_call(store.keys, id, found, b""))
    return made


def look(store: Store, known: KnownSchedule, found: bytes, now_ms: int) -> ScheduleState | None:
    """What is to stand in place of what was found; None: nothing is to be done.

    Raises: ValueError, KeyError, OverflowError: its line cannot be read.
    """
    if not found:
        # First seen: fires from now on, not for the past.
        return ScheduleState(now_ms)
    try:
        state = ScheduleState.of(found, now_ms)
    except ValueError:
        why = f"the last firing of a schedule was {shown(found, 40)}; it goes on from now"
        note(store, store.keys.schedules, why, known.id.encode())
        return ScheduleState(now_ms)
    if state.make:
        return state  # somebody has decided, and may be dead
    last = state.last
    due, reached = due_of(known.schedule, state, now_ms)
    wanted = decide(
        known.schedule, replace(state, at=reached), due, lambda: last is not None and _runs(store, known, last)
    )
    return None if wanted == state else wanted


def due_of(schedule: CronSchedule, state: ScheduleState, now_ms: int) -> tuple[list[int], int]:
    """The firings to decide about, by what the line says, oldest first, without those too late to matter; and how far
    it has come with them, those that are too late included.

    Raises: as ``next_firing``.
    """
    line, zone, start = schedule.cron, schedule.timezone, state.at
    if state.paused is not None or next_firing(line, zone, start) > now_ms:
        return [], start
    late = now_ms - (limits.CATCH_UP_MS if schedule.catch_up_ms is None else schedule.catch_up_ms)
    # So long ago that chance cannot have put it off until now.
    long_ago = late - schedule.jitter_ms - 1
    if schedule.catch_up_ms is not None:
        start = max(start, long_ago)
    elif long_ago > start:
        # The last missed firing, found backwards, so that a year of silence costs nothing.
        start = max(start, (last_firing(line, zone, start, long_ago) or start + 1) - 1)
    found, reached = [], state.at
    for at in islice(firings(line, zone, start, now_ms), FIRINGS_PER_LOOK):
        due = schedule.due_ms(at)
        if due > now_ms:
            break  # those behind it wait for it, so that firings keep their order
        reached = at
        if due >= late or schedule.catch_up_ms is None:
            found.append(at)
    return found, reached


def decide(schedule: CronSchedule, state: ScheduleState, due: list[int], runs: Callable[[], bool]) -> ScheduleState:
    """What becomes of the firings that are due, and of the one that waits.

    Args:
        state: how far it is with them.
        runs: whether the instance of the last firing has not ended; asked only where it matters.
    """
    at = state.at
    if state.paused is not None:
        return state
    due = due if state.waits is None else [state.waits, *due]
    if not due:
        return state
    if schedule.overlap == "allow":
        return ScheduleState(at, make=tuple(due))
    if not runs():
        made, due = due[0], due[1:]
        if schedule.overlap == "cancel":
            # Those before it would end as soon as they were there.
            made = due[-1] if due else made
        waits = due[0] if schedule.overlap == "queue" and due else None
        return ScheduleState(at, last=made, waits=waits, make=(made,))
    match schedule.overlap:
        case "cancel":
            return ScheduleState(at, last=due[-1], make=(due[-1],), ends=state.last)
        case "queue":
            return ScheduleState(at, last=state.last, waits=due[0])
        case _:
            return ScheduleState(at, last=state.last)


def stand(store: Store, known: KnownSchedule, found: bytes, wanted: ScheduleState) -> int:
    """Let it stand in place of what was found, and carry it out. Returns: how many firings were seen to here."""
    stands = wanted.wire()
    if stands != found and not store.call(schedule_call(store.keys, known.id, found, stands)):
        return 0
    if not wanted.make:
        return 0
    if wanted.ends is not None:
        # Under an id of its own: whoever starts it over meanwhile has started it over.
        instance = known.instance(store.keys, wanted.ends)
        store.call(requests.terminate(store.keys, instance, command_id=f"overlap-{wanted.make[0]}").call)
    for at in wanted.make:
        _create(store, known, at)
    done = replace(wanted, make=(), ends=None).wire()
    return len(wanted.make) if store.call(schedule_call(store.keys, known.id, stands, done)) else 0


def next_due(store: Store, now_ms: int) -> list[int]:
    """When the next firing of each schedule is to be created, for whoever lets time pass. In ms."""
    states, published = store.commands([["HGETALL", store.keys.schedules], ["HGETALL", store.keys.manifest]])
    found = []
    for known in schedules_of(read_manifest(published)):
        blob = states.get(known.id.encode())
        due = None if blob is None else known.next_due(ScheduleState.of(blob, now_ms), now_ms)
        if due is not None:
            found.append(due[1])
    return found


def _runs(store: Store, known: KnownSchedule, at_ms: int) -> bool:
    """Whether the instance of a firing is there and has not ended; a paused one has not."""
    header = store.keys.header(known.instance(store.keys, at_ms))
    try:
        status = store.command("HGET", header, "st")
    except redis.ResponseError as error:
        if not aside.is_about_data(error):
            raise
        return False
    return status is not None and status not in _ENDED


def _create(store: Store, known: KnownSchedule, at_ms: int) -> None:
    item = known.item(at_ms)
    store.call(create_call(store.keys, item))
    _log.info("schedule fired", extra={"workflow": item.workflow, "instance": item.id})
