"""Accidents: processes die, freeze and are replaced, code is cut short, Redis forgets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import redis as redis_py

from tests.invariants import programs
from tests.invariants.simulation import bells, checks, orchestrators, reading, workers
from tests.invariants.simulation.clients import RESUME
from tests.invariants.simulation.node import Node, items_of
from tests.invariants.simulation.orchestrators import FOUND_GONE, LAPSED
from tests.invariants.simulation.world import Snapshot, World
from worker.arrivals import Compare, Contradicted
from workflows.storage import processes
from workflows.storage.keys import Held
from workflows.storage.store import call_one


def crash(world: World, node: Node) -> str:
    """A process dies. Its parent has seen it, or somebody finds out, or nobody does until its lease is over."""
    world.fault("crash")
    node.close()
    said = workers.replaced(world, node)
    how = "seen" if world.setup.deadly else world.rng.choice((None, "gone", "seen", "seen"))
    if how is None:
        return said
    if how == "seen" and node.alone:
        for held in (Held.parse(member) for member in world.state.held):
            if held.worker in node.identities:
                world.blamed[held.workflow, held.id, held.generation, held.seq if held.kind == "a" else 0] += 1
    try:
        processes.bury(world.client_store, sorted(node.identities), how)
    except redis_py.RedisError as error:
        return f"{said}; {how}, but {error}"
    return f"{said}; {how}"


def freeze(world: World, node: Node) -> str:
    """The worker misses its lease, or is taken for dead, and may find out late."""
    world.fault("freeze")
    orchestrators.expire(world, {node.engine.lease.worker}, world.rng.choice((FOUND_GONE, LAPSED)))
    said = orchestrators.reap(world) if world.rng.random() < 0.7 else "not yet reaped"
    return f"{node.name} {said}"


def cut_short(world: World) -> str:
    """Code that has lost the greater part of ``run`` is deployed, works for a while, and is mended: no instance may
    end by it, because all of them have asked for more."""
    said = []
    with short_code(world):
        for _ in range(world.rng.randint(2, 8)):
            with mock.patch.object(programs, "SHORT", True):
                said.append(workers.something_of_workers(world))
            world.state = checks.look(world, "deploy")
        with mock.patch.object(programs, "SHORT", True):
            for node in world.nodes:
                while any(isinstance(item, Contradicted | Compare) for item in items_of(node.engine.arrivals)):
                    said.append(workers.work(world, node, 100))
        for seen in reading.read(world).instances.values():
            if seen.text("want") == "park":
                world.look_store.call(call_one(world.keys, RESUME, seen.instance, {}))
    return "; ".join(said)


@contextmanager
def short_code(world: World) -> Iterator[None]:
    complained = list(world.complaints.said)
    world.is_short = True
    for node in world.nodes:
        node.engine._replays.warm.clear()
    yield
    for node in world.nodes:
        node.engine._replays.warm.clear()
    world.is_short = False
    new = world.complaints.said[len(complained) :]
    world.complaints.said[:] = complained + [one for one in new if not one.startswith("parked: ")]


def lose_rq(world: World) -> str:
    world.fault("rq")
    world.doorbells.clear()
    return bells.spoil(world) if world.rng.random() < 0.3 else bells.lose(world)


def take_snapshot(world: World) -> str:
    keys = world.client.keys("*")
    blobs = [(world.client.dump(key), max(0, world.client.pttl(key))) for key in keys]
    answered = {key: list(found) for key, found in world.answered.items()}
    world.snapshot = Snapshot(dict(zip(keys, blobs, strict=True)), answered, dict(world.heard), dict(world.before))
    return ""


def rewind(world: World) -> str:
    assert world.snapshot is not None
    world.faults_done += 1
    world.rewind_left, world.is_rewound = False, True
    world.client.flushdb()
    for key, (blob, ttl) in world.snapshot.keys.items():
        world.client.restore(key, ttl, blob)
    world.answered = defaultdict(list, {key: list(found) for key, found in world.snapshot.answered.items()})
    world.heard = dict(world.snapshot.heard)
    world.before = dict(world.snapshot.moments)
    world.overheard = None
    world.is_limit_new = True  # what was done about a limit since is forgotten, the limit is not
    if world.schedule is not None:
        world.schedule.forget()
    # Every connection ends with the server; each finds out for itself, at its next use.
    for node in world.nodes:
        for store in node.stores:
            store.broken = True
    return ""
