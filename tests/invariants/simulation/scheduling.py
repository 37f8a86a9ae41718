"""A schedule's moves: orchestrators look at different moments and act later, clients pause it and let it go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import redis as redis_py

from orchestrator import schedules
from tests.invariants.simulation.scheduled import Scheduled
from tests.invariants.simulation.seen import State
from tests.invariants.simulation.violation import demand
from tests.invariants.simulation.world import World
from workflows.client.schedules import paused_call
from workflows.storage.schedules import ScheduleState


def possible(world: World) -> Iterator[tuple[float, str, Callable[[], str]]]:
    """What may happen next to the schedule, if there is one."""
    schedule = world.schedule
    if schedule is None:
        return
    if schedule.left and len(schedule.views) < 3:
        yield 2, "look", partial(look, world, schedule)
    for view in schedule.views:
        yield 2, "stand", partial(stand, world, schedule, view)
    if schedule.holds:
        # Most of all between a decision and what it says.
        yield 5 if schedule.before and schedule.before[0].make else 0.3, "hold", partial(hold, world, schedule)


def look(world: World, schedule: Scheduled) -> str:
    """An orchestrator reads how far it has come, and decides."""
    found, state = _stored(world, schedule)
    if state is not None and world.rng.random() < 0.7:
        following = schedule.known.next_due(state, world.clock.ms)
        world.clock.ms = max(world.clock.ms, 0 if following is None else following[1])
    return _decide(world, schedule, found, world.clock.ms)


def stand(world: World, schedule: Scheduled, view: tuple[bytes, ScheduleState]) -> str:
    """An orchestrator acts upon what it has read, perhaps a while ago."""
    schedule.views.remove(view)
    try:
        return f"{view[1]}: {schedules.stand(world.client_store, schedule.known, *view)}"
    except redis_py.RedisError as error:
        return str(error)


def hold(world: World, schedule: Scheduled) -> str:
    """A client pauses it, or lets it go on."""
    _, state = _stored(world, schedule)
    wanted = state is None or state.paused is None
    schedule.holds -= 1
    try:
        world.client_store.call(paused_call(world.keys, schedule.known.id, wanted))
    except redis_py.RedisError as error:
        return str(error)
    return "paused" if wanted else "goes on"


def useful(world: World) -> tuple[str, Callable[[], str]] | None:
    """What brings it to rest, when nothing fails and nothing falls due any more; None: it is at rest."""
    schedule = world.schedule
    if schedule is None:
        return None
    if schedule.views:
        return "stand", partial(stand, world, schedule, schedule.views[0])
    found, state = _stored(world, schedule)
    if state is not None and (state.make or (state.waits is not None and state.paused is None)):
        last = None if state.last is None else schedule.known.instance(world.keys, state.last)
        seen = None if last is None else world.state.instances.get((last.workflow, last.id))
        if state.make or seen is None or seen.ended:
            return "look", lambda: _decide(world, schedule, found, state.at)
    return None


def check(world: World, state: State) -> None:
    """One instance for each decision, however many have looked (F38)."""
    schedule = world.schedule
    if schedule is None:
        return
    here = {id: seen for (_, id), seen in state.instances.items() if id.startswith("cron-")}
    running = sorted(id for id, seen in here.items() if not seen.ended)
    overlap = schedule.known.schedule.overlap
    demand(overlap == "allow" or len(running) <= 1, f"with {overlap}, these run at the same time: {running}")
    _, now = _stored(world, schedule)
    if now is None:
        demand(not here, f"nobody has decided upon {sorted(here)}")
        return
    if schedule.before is not None:
        before, there = schedule.before
        new = sorted(here.keys() - there)
        demand(before.paused is None or before.make or not new, f"while it was paused, there came {new}")
        demand(before.paused is None or now.paused is None or now.waits == before.waits, "it was decided while paused")
    schedule.promised.update(now.make)
    schedule.before = now, frozenset(here)


def check_promises(world: World) -> None:
    """In the end, all that was to be created is there."""
    if world.schedule is None:
        return
    for at in world.schedule.promised:
        instance = world.schedule.known.instance(world.keys, at)
        demand(world.client.exists(world.keys.header(instance)), f"{instance.id} was to be created")


def _decide(world: World, schedule: Scheduled, found: bytes, now_ms: int) -> str:
    try:
        wanted = schedules.look(world.client_store, schedule.known, found, now_ms)
    except redis_py.RedisError as error:
        return str(error)
    if wanted is None:
        return "nothing is due"
    schedule.left -= bool(schedule.left)
    schedule.views.append((found, wanted))
    return str(wanted)


def _stored(world: World, schedule: Scheduled) -> tuple[bytes, ScheduleState | None]:
    found = world.client.hget(world.keys.schedules, schedule.known.id) or b""
    return found, ScheduleState.of(found, world.clock.ms) if found else None
