"""What must hold of the keys of a shard: whatever stands there has its record or its turn."""

from __future__ import annotations

from tests.invariants.simulation.seen import Seen, State, state_of
from tests.invariants.simulation.violation import demand
from tests.invariants.simulation.world import World
from workflows.storage.keys import Held, Intent, Timer
from workflows.storage.records import OpenStep, OpenWait
from workflows.values.metadata import Metadata


def check_places(world: World, state: State) -> None:
    """Every place in a shard has its record or turn; that each record has its place is asked per instance."""
    check_i5_timers_belong_to_open_records(world, state)
    check_i9_intents_are_of_what_is_ready(world, state)
    check_i1_tokens_are_those_of_the_records(world, state)
    check_i2_the_index_says_every_status(world, state)
    check_i8_what_has_ended_will_be_removed(world, state)
    check_i8_a_line_of_a_key_is_of_an_open_wait(world, state)


def check_i8_a_line_of_a_key_is_of_an_open_wait(world: World, state: State) -> None:
    """And each open wait has its lines, so that who knows the key finds it."""
    lives = {(wf, id, seen.generation): seen.records for (wf, id), seen in state.instances.items()}
    wanted = {
        f"{name}|{'|'.join(life)}|{seq}"
        for life, records in (*lives.items(), *state.remains.items())
        for seq, record in records.items()
        if isinstance(record, OpenWait)
        for name in record.listens
        if "=" in name
    }
    found = {line for lines in state.keyed.values() for line in lines if not world.of_spoilt(line)}
    demand(found == wanted, f"{found} are found by their key, {wanted} wait for one")


def check_i5_timers_belong_to_open_records(world: World, state: State) -> None:
    for member, due in state.timers.items():
        if world.of_spoilt(member):
            continue
        timer = Timer.parse(member)
        if timer.kind == "d":
            whose = state.instances.get((timer.workflow, timer.id))
            demand(whose and whose.generation == timer.generation, f"timer without its instance: {member}")
            continue
        record = state.record(timer.workflow, timer.id, timer.generation, timer.seq)
        demand(record, f"timer without its record: {member}")
        assert record
        demand(state_of(record) in ("wait", "back"), f"timer of a record that does not wait: {member}")
        seen = state.instances[timer.workflow, timer.id]
        if seen.generation == timer.generation and not seen.ended and "walk" not in seen.rest:
            demand(seen.moment_of(record) == due, f"timer at another moment than its record: {member}")
            demand(not seen.text("want"), f"timer in paused time: {member}")


def check_i9_intents_are_of_what_is_ready(world: World, state: State) -> None:
    for member in state.intents:
        if world.of_spoilt(member):
            continue
        intent = Intent.parse(member)
        seen = state.instances.get((intent.workflow, intent.id))
        if intent.kind == "t":
            demand(seen and seen.generation == intent.generation, f"intent without its instance: {member}")
            assert seen is not None
            demand(seen.text("turn") == f"r|{intent.nonce}", f"intent without its turn: {member}")
        else:
            record = state.record(intent.workflow, intent.id, intent.generation, intent.seq)
            demand(record and state_of(record) == "ready", f"intent without its record: {member}")
            assert isinstance(record, OpenStep)
            demand(record.intent == intent.nonce, f"intent with another nonce: {member}")


def check_i1_tokens_are_those_of_the_records(world: World, state: State) -> None:
    for member in state.held:
        if world.of_spoilt(member):
            continue
        held = Held.parse(member)
        seen = state.instances.get((held.workflow, held.id))
        assert seen is not None
        if held.kind == "t":
            demand(seen.generation == held.generation, f"held without its instance: {member}")
            demand(seen.text("turn") == f"h|{held.worker}|{held.token}", f"held without its turn: {member}")
        else:
            record = state.record(held.workflow, held.id, held.generation, held.seq)
            demand(record and state_of(record) == "held", f"held without its record: {member}")
            assert isinstance(record, OpenStep)
            demand(
                (record.by, record.token) == (held.worker, held.token),
                f"held under another token: {member}",
            )
        shard = seen.instance.shard
        demand(held.worker in state.workers[shard], f"held by a worker that no reaper looks at: {member}")


def check_i2_the_index_says_every_status(world: World, state: State) -> None:
    wanted = sorted(line for seen in state.instances.values() for line in _lines_of(seen))
    listed = sorted(member for member in state.index if not world.of_spoilt(member))
    demand(listed == wanted, f"the index says {listed}, not {wanted}")


def _lines_of(seen: Seen) -> list[str]:
    """Its lines of the index: one for its status, and one for each tag."""
    metadata = Metadata.of(seen.header.get("meta"))
    mark = "|m" if metadata.values else ""
    place = f"{seen.instance.workflow}|{{}}{seen.text('created')}|{seen.instance.id}{mark}"
    return [
        f"{seen.status}|{place.format('')}",
        *(f"#|{place.format(f'{tag}|')}" for tag in metadata.tags),
    ]


def check_i8_what_has_ended_will_be_removed(world: World, state: State) -> None:
    ended = sorted(
        f"{seen.instance.workflow}|{seen.instance.id}|{seen.generation}"
        for seen in state.instances.values()
        if seen.ended
    )
    retiring = sorted(member for member in state.retire if not world.of_spoilt(member))
    demand(retiring == ended, f"to be retired are {retiring}, not {ended}")
