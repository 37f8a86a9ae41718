"""A run: what a seed makes happen, one thing after the other, and what must come of it in the end."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from unittest import mock

import redis as redis_py

from tests.invariants.programs import FLAKY, POLLS
from tests.invariants.simulation import accidents, bells, checks, clients, garbage, orchestrators, streamed, workers
from tests.invariants.simulation import scheduling as schedule_moves
from tests.invariants.simulation import slots as slot_moves
from tests.invariants.simulation.clients import RESUME
from tests.invariants.simulation.members import short, stable
from tests.invariants.simulation.mutant import Mutant
from tests.invariants.simulation.node import HandCallbacks, Node
from tests.invariants.simulation.parting import GUARDIAN, parted_meanwhile, says_to_end
from tests.invariants.simulation.seen import Seen, tokens_of
from tests.invariants.simulation.violation import Violation, demand
from tests.invariants.simulation.world import World
from worker import engine as engine_module
from worker import slots, suspects
from workflows import limits
from workflows.storage import nonces


def play(client: redis_py.Redis, seed: int, mutant: Mutant | None = None) -> World:
    """One run.

    Raises:
        AssertionError: with the seed, everything that happened, and what should not have.
    """
    world = World(client, seed, mutant)
    try:
        run(world)
        return world
    except Exception as error:
        told = "\n".join(world.trace)
        raise AssertionError(f"{told}\n\n{type(error).__name__}: {error}\nrepeat with SIM_SEED={seed}") from error


def run(world: World) -> None:
    """Raises: Violation."""
    log = logging.getLogger("workflows.worker")
    handler = world.complaints
    log.addHandler(handler)
    mutated = nullcontext() if world.mutant is None else world.mutant.changed()
    with mock.patch.object(engine_module, "Callbacks", HandCallbacks), determined(world), mutated:
        try:
            begin(world)
            for _ in range(world.setup.steps):
                step(world)
            finish(world)
            demand(not handler.said, f"the worker complained: {handler.said}")
        finally:
            log.removeHandler(handler)
            for node in world.nodes:
                node.close()
            for oracle in world.oracles.values():
                oracle.close()


@contextmanager
def determined(world: World) -> Iterator[None]:
    """Time and tokens are those of the seed too."""
    tokens = random.Random(world.seed)

    def monotonic() -> float:
        return world.clock.ms / 1000

    with (
        mock.patch.object(engine_module, "monotonic", monotonic),
        mock.patch.object(slots, "monotonic", monotonic),
        mock.patch.object(suspects, "monotonic", monotonic),
        mock.patch.object(nonces, "_generator", tokens),
        mock.patch.object(limits, "SCRIPT_ELEMENTS", world.setup.slice),
        mock.patch.object(limits, "TURN_ENTRIES", world.setup.slice),
        mock.patch.object(secrets, "token_hex", lambda n: f"{tokens.getrandbits(8 * n):0{2 * n}x}"),
    ):
        yield


def begin(world: World) -> None:
    world.client.flushall()
    world.trace.append(f"seed {world.seed}: {world.setup}")
    bells.begin(world)
    for _ in range(2):
        world.new_node()
    for name in world.setup.programs:
        clients.create(world, name)
    world.state = checks.look(world, "create")


def step(world: World) -> None:
    options = list(possible(world))
    if not options:
        world.clock.ms += 1000
        return
    _, kind, act = world.rng.choices(options, [option[0] for option in options])[0]
    world.faulty = True
    do(world, kind, act)


def do(world: World, kind: str, act: Callable[[], str]) -> None:
    world.trace.append(kind)
    at = len(world.trace) - 1
    try:
        said = act()
        world.trace[at] = f"{kind}: {said}"
    finally:
        world.faulty = False
    world.state = checks.look(world, kind)


def possible(world: World) -> Iterator[tuple[float, str, Callable[[], str]]]:
    """What may happen next: how likely, what kind of thing, and how it is done."""
    rng, state = world.rng, world.state
    intents = sorted(state.intents, key=stable)
    rung = [*intents, *world.doorbells]
    is_rung = bells.are_ringing(world)
    for held in world.suspects:
        yield 5, "alone", partial(workers.isolate, world, held)
    for node in world.nodes:
        if node.alone and node.is_done:
            yield 5, "drain", partial(workers.leave, world, node)
        if rung and not node.alone:
            yield 6, "claim", partial(workers.claim, world, node, rung)
        if is_rung and not node.alone:
            yield 4, "claim", partial(workers.answer, world, node)
        if node.queued():
            yield 8, "work", partial(workers.work, world, node)
        for attempt in node.hand.running:
            if not workers.hangs(attempt) or attempt.context.cancelled.is_set():
                yield 5, "end", partial(workers.end, world, node, attempt)
            if attempt.name in (FLAKY, POLLS):
                yield 2, "say", partial(workers.say, world, node, attempt)
        yield 0.4, "beat", partial(workers.beat, world, node)
    if intents:
        yield 1, "ring", lambda: orchestrators.ring(world, intents)
    if state.timers:
        yield 2, "fire", partial(orchestrators.fire, world)
        yield 0.5, "peek", partial(orchestrators.peek, world)
    if world.stale_due:
        yield 1, "fire", partial(orchestrators.fire_stale, world)
    if any(state.relayed.values()):
        yield 4, "relay", partial(orchestrators.carry, world)
    if state.unfinished:
        yield 4, "continue", partial(orchestrators.go_on, world)
    yield 0.4, "sweep", partial(orchestrators.sweep_shards, world)
    held_by = {member.partition("|")[0] for member in state.held}
    yield (
        4.0 if held_by - {name for node in world.nodes for name in node.identities} else 0.4,
        "reap",
        partial(orchestrators.reap, world),
    )
    live = [seen for seen in state.instances.values() if not seen.ended]
    if world.events_left and live:
        yield 1.5 * world.events_left, "event", lambda: clients.event(world, rng.choice(live).instance)
    if world.events_left and world.tokens:
        yield 1.5 * world.events_left, "event", partial(clients.answer_by_token, world, world.tokens)
    if world.heartbeats_left and world.tokens:
        yield 3, "heartbeat", partial(clients.heartbeat, world)
    if world.events_left and any(world.lines.values()):
        yield 1.5 * world.events_left, "event", partial(clients.event_to_key, world)
    for seen in live:
        waits = any(record.kind == "wait" for record in seen.records.values())
        if world.events_left and waits and seen.position and seen.text("turn").startswith("h|"):
            # Between a turn's claim and its commit an event may reach a wait that is being given up.
            yield 10, "event", partial(clients.event, world, seen.instance)
            if tokens_of(seen):
                yield 10, "event", partial(clients.answer_by_token, world, tokens_of(seen))
    for kind, call, answered in world.resends:
        yield 1, kind, partial(clients.resend, world, (kind, call, answered))
    for seen in live:
        if seen.text("want"):
            yield 2, "resume", partial(clients.control, world, "resume", seen.instance, RESUME, {})
    if world.controls and state.instances:
        yield (
            5.0 if world.controls[0] == "restart" and parted_meanwhile(world) else 1.5,
            world.controls[0],
            partial(clients.next_control, world),
        )
    yield from streamed.possible(world)
    yield from schedule_moves.possible(world)
    if world.faults_left:
        for node in world.nodes:
            busy = 1.0 if node.queued() or node.hand.running else 0.1
            yield (
                (3.0 if node.alone or world.setup.deadly else 0.3) * busy,
                "crash",
                partial(accidents.crash, world, node),
            )
            yield 0.6 if node.fetcher_failed else 0.6 * busy, "drain", partial(workers.drain, world, node)
            yield 0.5 * busy, "freeze", partial(accidents.freeze, world, node)
        yield 0.3, "rq lost", partial(accidents.lose_rq, world)
    shortened = [seen for seen in live if seen.instance.workflow == "shortened"]
    if shortened and all(seen.position for seen in shortened):
        yield 3, "deploy", partial(accidents.cut_short, world)
    if world.limit_changes:
        yield 1, "limit", partial(slot_moves.change_limit, world)
    if world.overheard is not None:
        yield 0.2 if parted_meanwhile(world) else 0.7, "relay", partial(slot_moves.repeat, world)
    elif any(state.relayed.values()) and (any(world.limits.values()) or GUARDIAN in world.setup.programs):
        yield 6 if says_to_end(world) else 1, "overhear", partial(slot_moves.overhear, world)
    if any(world.limits.values()) and state.intents:
        yield 2, "admit", partial(slot_moves.admit, world)
    if world.garbage_left and state.instances:
        yield 1.5, "garbage", partial(garbage.scatter, world)
    if any(world.planted.values()):
        yield 1, "tidy", partial(garbage.tidy, world)
    if world.rewind_left and world.snapshot is None:
        yield 0.7, "snapshot", partial(accidents.take_snapshot, world)
    elif world.rewind_left:
        yield 0.7, "REWIND", partial(accidents.rewind, world)


def finish(world: World) -> None:
    """No more faults and no new wishes: every instance comes to its end."""
    world.trace.append("from here on nothing fails")
    world.faults_left, world.rewind_left, world.controls, world.events_left = 0, False, [], 0
    world.limit_changes = 0
    for _ in range(2000):
        live = [seen for seen in world.state.instances.values() if not seen.ended]
        if (
            not live
            and not any(world.state.relayed.values())
            and not world.state.unfinished
            and garbage.stands_still(world)
            and not world.garbage_done
            and schedule_moves.useful(world) is None
        ):
            break
        act = next_useful(world, live)
        if act is None and (world.is_limit_new or world.garbage_done):
            act = "sweep", partial(orchestrators.sweep_shards, world)
        if act is None and not live and world.spoilt is not None and garbage.is_noted(world, world.spoilt):
            break  # resumed after a part of what it waits for was removed: nobody can know, but a note says it
        if act is None:
            raise Violation(f"stuck: {', '.join(f'{s.instance.id} is {s.status}' for s in live)} {world.spoilt}")
        do(world, *act)
    else:
        raise Violation("no end in sight")
    if any(world.planted.values()):
        do(world, "tidy", partial(garbage.tidy, world))
    garbage.check_i11_what_was_spoilt_says_why(world)
    schedule_moves.check_promises(world)
    for shard in range(world.keys.shards):
        names = ("timers", "intents", "held", "relay", "unfinished")
        for name, key in [
            *((name, world.keys.shard_key(shard, name)) for name in names),
            ("keyed", world.keys.keyed(shard)),
            *enumerate(world.keys.slots(shard) if slot_moves.are_mended(world) else ()),
        ]:
            left = world.client.hkeys(key) if name == "relay" else world.client.zrange(key, 0, -1)
            demand(all(world.of_spoilt(member) for member in left), f"{key} is left over")
    demand(not world.client.keys("*:x:*"), "records put aside are left over")
    orchestrators.retire_all(world)


def next_useful(world: World, live: list[Seen]) -> tuple[str, Callable[[], str]] | None:
    for seen in live:
        if seen.text("want"):
            return "resume", partial(clients.control, world, "resume", seen.instance, RESUME, {})
    for node in world.nodes:
        if any(store.broken for store in node.stores) or node.fetcher_failed:
            # What the first call after an outage does: it fails, and all is compared.
            return "claim", partial(reconnect, world, node)
        if node.queued():
            return "work", partial(workers.work, world, node, 100)
        for attempt in node.hand.running:
            if streamed.may_write(world, attempt) and world.rng.random() < 0.7:
                return "chunk", partial(streamed.write, world, node, attempt)
            if not workers.hangs(attempt):
                return "end", partial(workers.end, world, node, attempt, kindly=True)
    for node in world.nodes:
        if node.engine.lease._former:
            node.beat()
    for held in world.suspects:
        return "alone", partial(workers.isolate, world, held)
    for node in world.nodes:
        if node.alone and node.is_done:
            return "drain", partial(workers.leave, world, node)
        if node.engine._suspects.tokens:
            return "beat", partial(run_here, world, node)
    alive = set().union(*(node.identities for node in world.nodes))
    known = set().union(*world.state.workers.values())
    if any(held.split("|")[0] not in alive for held in world.state.held) and known - alive:
        return "reap", partial(orchestrators.reap, world)
    if world.state.unfinished:
        # Most rollbacks that are not done in one call begin here, and the sweep comes at any time.
        if any("clear" in seen.rest for seen in live) and world.rng.random() < 0.3:
            return "sweep", partial(orchestrators.sweep_shards, world)
        return "continue", partial(orchestrators.go_on, world)
    if world.state.intents:
        node = world.rng.choice([node for node in world.nodes if not node.alone])
        members = sorted(world.state.intents, key=stable)
        return "claim", lambda: f"{node.name} {' '.join(map(short, members))}: {node.claim(members)}"
    if any(world.state.relayed.values()):
        return "relay", partial(orchestrators.carry, world)
    scheduled = schedule_moves.useful(world)
    if scheduled is not None:
        return scheduled
    if world.state.timers:
        world.clock.ms = max(world.clock.ms, min(world.state.timers.values()))
        return "fire", lambda: orchestrators.fired(world, orchestrators.due_timers(world))
    return None


def run_here(world: World, node: Node) -> str:
    """Nobody has taken over what was handed over."""
    world.clock.ms += int(suspects.HAND_OVER_SECONDS * 1000)
    node.engine._ask_to_reconcile()
    return f"{node.name} {node.beat()}"


def reconnect(world: World, node: Node) -> str:
    for store in node.stores:
        store.broken = False
    node.fetcher_failed = False
    node.engine.reconnected()
    return f"{node.name} finds its connections again"
