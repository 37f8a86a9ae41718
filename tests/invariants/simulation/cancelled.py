"""What must hold of instances that are to end: a request is never lost, and their time is kept."""

from __future__ import annotations

from tests.invariants.simulation.oracle import Oracle
from tests.invariants.simulation.seen import Seen, State
from tests.invariants.simulation.undone import has_begun
from tests.invariants.simulation.violation import demand
from tests.invariants.simulation.world import World
from workflows.storage import journal
from workflows.storage.journal import CancelRequested
from workflows.storage.keys import Timer
from workflows.storage.records import Deadline
from workflows.storage.status import Status
from workflows.storage.store import unpackb
from workflows.values import failure


def stop_of(seen: Seen) -> Deadline | None:
    return Deadline.parse(seen.text("stop"))


def is_asked(seen: Seen) -> bool:
    stop = stop_of(seen)
    return stop is not None and stop.is_asked


def timer_of(seen: Seen) -> str:
    return Timer("d", seen.instance.workflow, seen.instance.id, seen.generation, 0).member


def deadline_of(seen: Seen) -> int | None:
    """How long it may take."""
    found: int | None = unpackb(seen.journal[0][journal.HEADER_BYTES :]).get(b"dl")
    return found


def moment_of(seen: Seen) -> int | None:
    """When its timer is due; None: it has none."""
    stop = stop_of(seen)
    return None if stop is None or seen.text("want") else stop.moment_ms(int(float(seen.text("stood") or 0)))


def check_i5_a_timer_says_when_it_is_to_end(state: State, seen: Seen) -> None:
    moment, armed = moment_of(seen), state.timers.get(timer_of(seen))
    demand(not seen.ended or not seen.text("stop"), "an ended instance is still to end")
    demand(armed == moment, f"it is to end at {moment}, the timer says {armed}")


def check_a_request_stands_in_the_journal(seen: Seen) -> None:
    requests = [
        at
        for at, blob in enumerate(seen.journal)
        if at >= seen.begin and isinstance(journal.decode(blob), CancelRequested)
    ]
    demand(len(requests) <= 1, f"it was asked to end {len(requests)} times")
    if seen.ended:
        return
    demand(is_asked(seen) == bool(requests), f"the header says {seen.text('stop')}, the journal has {requests}")
    if requests:
        place = seen.text("stop").rpartition("|")[2]
        demand(place == str(requests[0]), f"the request is said to be entry {place}, and is entry {requests[0]}")
    if has_gone_over(seen):
        demand(seen.is_rolling_back, "its time is over, and nothing comes of it")


def has_gone_over(seen: Seen) -> bool:
    return seen.text("stop")[:1] in ("C", "X")


def check_it_is_ended_in_its_time(world: World, kind: str, before: Seen, seen: Seen) -> None:
    """Of two moments of one life, or of one that goes on as another."""
    if before.ended:
        return
    if before.generation != seen.generation:
        if kind not in ("restart", "cut"):
            demand(is_asked(before) == is_asked(seen), "a request is lost or made up between two lives")
            demand(bool(before.text("stop")) == bool(seen.text("stop")), "a deadline is lost between two lives")
        elif not seen.ended:
            demand((stop_of(seen) is not None) == (deadline_of(seen) is not None), "a new life has another deadline")
        return
    due = moment_of(before)
    has_begun_to_end = is_asked(seen) and not is_asked(before)
    # By somebody, or by its parent's end.
    if has_begun_to_end and kind not in ("cancel", "relay", "tidy"):
        demand(due is not None and world.clock.ms >= due, f"it was asked to end by {kind}, before its deadline {due}")
    if has_gone_over(seen) and not has_gone_over(before):
        demand(due is not None and world.clock.ms >= due, f"it was ended by {kind}, before its time {due}")
    if not seen.ended and not seen.is_rolling_back:
        demand(is_asked(seen) or not is_asked(before), "a request is forgotten")
        demand(bool(before.text("stop")) <= bool(seen.text("stop")), "a deadline is forgotten")


def check_the_end_of_one_that_was_asked(seen: Seen, oracle: Oracle) -> None:
    """It says that; and what was begun is undone as after a failure."""
    blob = seen.outcome.get(b"x") if seen.ended else None
    name = None if blob is None else failure.Failure.from_blob(blob).name
    if name not in ("InstanceCancelled", "InstanceTimeout"):
        return
    demand(name != "InstanceTimeout" or deadline_of(seen) is not None, "it is late, and has no deadline")
    wanted = Status.TERMINATED if name == "InstanceCancelled" else Status.ERRORED
    demand(seen.status is wanted, f"{seen.status} by {name}")
    if has_begun(seen):
        demand(b"rb" in seen.outcome, f"{name}, and what was begun is not undone")
