"""What must hold of children that are to end with their parents: none is left behind."""

from __future__ import annotations

from tests.invariants.simulation.cancelled import is_asked
from tests.invariants.simulation.seen import Seen, State
from tests.invariants.simulation.violation import demand
from tests.invariants.simulation.world import World
from workflows.storage import journal
from workflows.storage.messages import InvokeChild, StopChild, message
from workflows.storage.records import ParentStep
from workflows.storage.store import unpackb

GUARDIAN = "guardian"


def check_no_child_is_left_behind(world: World, state: State) -> None:
    """A child is waited for, or a message about it is on its way, or it has ended or is to end."""
    if world.setup.garbage:
        return
    about = {_child_of(one) for one in state.sent}
    for (workflow, id), seen in state.instances.items():
        parent = _guardian_of(seen)
        # One that somebody has started over since lives again.
        if parent is None or seen.ended or seen.generation.startswith("g") or is_asked(seen) or seen.is_rolling_back:
            continue
        is_waited_for = state.record(parent.workflow, parent.id, parent.generation, parent.seq) is not None
        demand(is_waited_for or (workflow, id) in about, f"{workflow} {id} is a child that nobody waits for or ends")


def check_a_child_is_ended_once(world: World, kind: str, before: Seen, seen: Seen) -> None:
    """Whoever starts it over afterwards has it for as long as it lasts, however often its parent's message comes."""
    ends = (seen.ended and not before.ended) or (is_asked(seen) and not is_asked(before))
    if kind not in ("relay", "tidy") or not ends or world.is_rewound or world.setup.garbage:
        return
    if _guardian_of(seen) is None:
        return
    key = seen.instance.workflow, seen.instance.id
    demand(key not in world.parted, "a child is ended twice by the end of its parent")
    world.parted.add(key)


def says_to_end(world: World) -> bool:
    """Whether a message is on its way that ends a child."""
    return any(isinstance(one, (InvokeChild, StopChild)) and one.stop for one in world.state.sent)


def parted_meanwhile(world: World) -> list[Seen]:
    """Children that have ended since somebody read the message which says that, and who may deliver it once more."""
    if world.overheard is None:
        return []
    read = map(message, world.overheard[1].values())
    about = {_child_of(one) for one in read if isinstance(one, (InvokeChild, StopChild)) and one.stop}
    return [seen for key, seen in world.state.instances.items() if key in about & world.parted and seen.ended]


def _guardian_of(seen: Seen) -> ParentStep | None:
    found = unpackb(seen.journal[0][journal.HEADER_BYTES :]).get(b"pa")
    parent = None if found is None else ParentStep.of(found)
    return parent if parent is not None and parent.workflow == GUARDIAN else None


def _child_of(sent: object) -> tuple[str, str] | None:
    match sent:
        case InvokeChild():
            return sent.item.workflow, sent.item.id
        case StopChild():
            return sent.workflow, sent.id
    return None
