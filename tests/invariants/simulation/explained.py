"""What must hold of why: whatever has happened to an instance, there is a reason why it stands where it stands."""

from __future__ import annotations

from contextlib import suppress

from tests.invariants.simulation.seen import Seen, State
from tests.invariants.simulation.violation import demand
from tests.invariants.simulation.world import World
from workflows.errors import CorruptPayload
from workflows.insight import why as asked
from workflows.insight.standing import Standing
from workflows.insight.surroundings import Queue, Surroundings
from workflows.storage import journal
from workflows.storage.concurrency import InForce


def check_why_it_stands_where_it_stands(world: World, state: State, seen: Seen) -> None:
    """At least one reason in every state; ``stuck`` in none, for something moves it (I10)."""
    newest = None
    with suppress(CorruptPayload):
        newest = journal.decode(seen.journal[-1])
    standing = Standing(
        seen.instance, world.clock.ms, seen.header, len(seen.journal), newest, list(seen.records.values())
    )
    shard = seen.instance.shard
    around = Surroundings(
        now_ms=0,
        orchestrators={"o": float("inf")},
        queues={"default": Queue(("w",))},
        leases={(shard, worker): 1.0 for worker in state.workers[shard]},
        places={**dict.fromkeys(state.intents, 0.0), **state.timers},
        limits=InForce(world.limits, frozenset()),
    )
    for known in (around, None):
        reasons = asked.why(standing, known)
        codes = [one.code for one in reasons]
        demand(codes, "nobody can say why it stands where it stands")
        demand("stuck" not in codes, f"nothing seems to move it: {codes}")
    is_remarkable = any(one.is_remarkable for one in reasons)
    demand(not (is_remarkable and asked.is_quiet(standing)), f"it says nothing of {codes}")
    demand(not (codes[0].startswith("wait.") and seen.text("turn")), f"{codes[0]} comes before the turn")
