"""What must hold of limits on running instances (I13), and what orchestrators do for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from unittest import mock

import redis as redis_py

from orchestrator import relay, slots
from tests.invariants.simulation import bells
from tests.invariants.simulation.parting import GUARDIAN
from tests.invariants.simulation.seen import Seen, State, state_of
from tests.invariants.simulation.violation import demand
from tests.invariants.simulation.world import World
from workflows.storage.keys import Holder, Intent
from workflows.storage.messages import SlotGranted, SlotMessage, message
from workflows.storage.status import Status
from workflows.values.concurrency import Concurrency


def change_limit(world: World) -> str:
    """A person sets, raises, lowers or lifts a limit, or counts by something else."""
    world.limit_changes -= 1
    world.is_limit_new = True
    name = world.rng.choice(sorted({seen.instance.workflow for seen in world.state.instances.values()}))
    limit = world.rng.choice((None, 1, 1, 2, 3))
    new = None if limit is None else Concurrency(limit, world.rng.choice((None, "tenant")))
    world.limits = {**world.limits, name: new}
    bells.permit(world)
    return f"{name} has {new}"


def admit(world: World) -> str:
    """Intents are about to be handed out."""
    by_shard: dict[int, list[bytes]] = defaultdict(list)
    for member in world.state.intents:
        intent = Intent.parse(member)
        by_shard[world.keys.instance(intent.workflow, intent.id).shard].append(member.encode())
    kept = 0
    try:
        for shard, members in sorted(by_shard.items()):
            kept += len(members) - len(slots.admitted(world.client_store, shard, members, world.limits))
    except redis_py.RedisError as error:
        return str(error)
    return f"{kept} are not"


def overhear(world: World) -> str:
    """An orchestrator reads what is said of slots and asked of the children of guardians, and acts later."""
    shard = world.rng.choice([shard for shard, count in sorted(world.state.relayed.items()) if count])
    relayed = world.client.hgetall(world.keys.shard_key(shard, "relay"))
    kinds = (b"s|", b"g|", b"c|") if GUARDIAN in world.setup.programs else (b"s|", b"g|")
    true = relayed.keys() - world.planted[shard, "relay"]
    world.overheard = shard, {id: relayed[id] for id in sorted(true) if id[:2] in kinds}
    return b" ".join(world.overheard[1]).decode()


def repeat(world: World) -> str:
    """What was read a while ago is delivered now, most likely once more."""
    assert world.overheard is not None
    shard, messages = world.overheard
    world.overheard = None
    said = map(message, messages.values())
    world.said_again |= {one.holder for one in said if isinstance(one, SlotMessage) and one.state == "h"}
    try:
        with mock.patch.object(relay, "_some", lambda store, key: messages):
            return str(relay.deliver(world.client_store, shard, world.limits))
    except redis_py.RedisError as error:
        return str(error)


def check_i13_slots(world: World, kind: str, state: State) -> None:
    for seen in state.instances.values():
        check_i13_who_runs_has_a_slot_and_nobody_else(seen)
        if not world.garbage_done:
            check_i13_the_home_knows(world, state, seen)
    if are_mended(world):
        check_i13_every_slot_is_somebodys(world, state)
    if kind != "REWIND":
        check_i13_no_more_than_the_limit(world, state)
        check_i13_who_has_waited_longest_is_next(world, state)
    if not world.is_limit_new and not world.garbage_done:
        check_i13_what_is_free_is_given(world, state)


def are_mended(world: World) -> bool:
    """Whether nothing is lost that was said of slots. The sweep looks at them only where a limit is in force; elsewhere
    a slot means nothing."""
    return not world.garbage_done and (any(world.limits.values()) or not world.setup.garbage)


def check_i13_who_runs_has_a_slot_and_nobody_else(seen: Seen) -> None:
    slot = seen.slot
    if slot is None:
        return
    active = sum(state_of(record) in ("ready", "held") for record in seen.records.values())
    rests = seen.ended or seen.status in (Status.WAITING, Status.PAUSED)
    demand(not rests or slot.state in "-u", f"{seen.status} {seen.instance.id} has or wants a slot: {slot}")
    runs = not seen.ended and (seen.text("turn") or active)
    demand(not runs or slot.state in "hu", f"{seen.instance.id} runs without a slot: {slot}")
    is_new = slot.order.startswith("1")
    demand(slot.state != "a" or is_new != bool(seen.text("started")), f"{seen.instance.id} waits as {slot}")


def check_i13_the_home_knows(world: World, state: State, seen: Seen) -> None:
    slot = seen.slot
    if slot is None or slot.state in "-u" or seen.ended:
        return
    holder = Holder(seen.instance.workflow, slot.key, seen.instance.id, seen.generation, slot.n)
    says = any(isinstance(one, SlotMessage) and one.holder == holder for one in state.sent)
    gets = any(isinstance(one, SlotGranted) and one.holder == holder for one in state.sent)
    has = member_of(holder) in state.slots
    waits = f"{holder.workflow}|{slot.key}|{slot.order}|{tail_of(holder)}" in state.slotq
    known = (says or has) if slot.state == "h" else (says or waits or (has and gets))
    demand(known, f"{seen.instance.id} is {slot}, and nobody will tell it or know of it")


def check_i13_every_slot_is_somebodys(world: World, state: State) -> None:
    sent = {one.holder for one in state.sent if isinstance(one, SlotMessage | SlotGranted)}
    for member in state.slots:
        holder = Holder.parse(member)
        if world.is_spoilt(holder.workflow, holder.id) or holder in sent:
            continue
        seen = state.instances.get((holder.workflow, holder.id))
        slot = seen.slot if seen is not None and seen.generation == holder.generation else None
        is_its = slot is not None and slot.state == "h" and (slot.n, slot.key) == (holder.n, holder.key)
        demand(is_its, f"a slot of nobody: {member}, {slot}")


def check_i13_no_more_than_the_limit(world: World, state: State) -> None:
    for group, members in grouped(state.slots).items():
        limit = world.limits.get(group[0])
        new = set(members) - set(world.state.slots)
        # One that ran before it was counted is counted at once, perhaps after others were given the last slots; so is
        # one that says so again after it has given its slot back, until it is told that it has one.
        holders = {member: Holder.parse(member) for member in new}
        given = {one for one in new if not was_adopted(state, holders[one]) and holders[one] not in world.said_again}
        counted = len(members) - len(new) + len(given)
        demand(
            limit is None or not given or counted <= limit.limit,
            f"{counted} run at a time of {group}, the limit is {limit}: {members}",
        )


def was_adopted(state: State, holder: Holder) -> bool:
    seen = state.instances.get((holder.workflow, holder.id))
    return seen is not None and seen.slot is not None and seen.slot.n == holder.n and not seen.slot.order


def check_i13_who_has_waited_longest_is_next(world: World, state: State) -> None:
    before = grouped(world.state.slotq)
    for group, members in before.items():
        has = {tuple(member.split("|")[2:]) for member in state.slots if tuple(member.split("|")[:2]) == group}
        given = [member for member in members if tuple(member.split("|")[3:]) in has]
        left = [member for member in members if member in state.slotq]
        demand(not given or not left or max(given) < min(left), f"{given} went before {left}")


def check_i13_what_is_free_is_given(world: World, state: State) -> None:
    has = grouped(state.slots)
    for group, members in grouped(state.slotq).items():
        limit = world.limits.get(group[0])
        demand(limit is not None and len(has.get(group, ())) >= limit.limit, f"{members} wait for what is free")


def grouped(members: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for member in members:
        workflow, key, *_ = member.split("|")
        found[workflow, key].append(member)
    return found


def tail_of(holder: Holder) -> str:
    return f"{holder.id}|{holder.generation}|{holder.n}"


def member_of(holder: Holder) -> str:
    return f"{holder.workflow}|{holder.key}|{tail_of(holder)}"
