"""What orchestrators do."""

from __future__ import annotations

from collections import defaultdict

import redis as redis_py

from orchestrator import reaper, relay, slots, sweep, timers, unfinished
from tests.invariants.simulation import reading
from tests.invariants.simulation.members import short, stable
from tests.invariants.simulation.violation import demand
from tests.invariants.simulation.world import World
from workflows.storage.keys import Timer, Unfinished

# Scores of leases that are over; see pump.lua. The last is any moment that has passed.
FOUND_GONE, LAPSED = 2, 3


def ring(world: World, intents: list[str]) -> str:
    member = world.rng.choice(intents)
    world.doorbells.append(member)
    return short(member)


def due_timers(world: World, *, early: bool = False) -> list[str]:
    return sorted((m for m, due in world.state.timers.items() if early or due <= world.clock.ms), key=stable)


def peek(world: World) -> str:
    world.stale_due = due_timers(world, early=True)
    return "an orchestrator reads the timers and acts later"


def fire(world: World) -> str:
    due = world.rng.choice(sorted(world.state.timers.values()))
    # A little early, on the millisecond, or late.
    world.clock.ms = max(world.clock.ms, due + world.rng.choice((-1, 0, 0, 0, 5, 100_000)))
    return fired(world, due_timers(world, early=world.rng.random() < 0.3))


def fire_stale(world: World) -> str:
    members, world.stale_due = world.stale_due, []
    return "stale " + fired(world, members)


def fired(world: World, members: list[str]) -> str:
    by_shard: dict[int, list[str]] = defaultdict(list)
    for member in members:
        timer = Timer.parse(member)
        by_shard[world.keys.instance(timer.workflow, timer.id).shard].append(member)
    try:
        n = sum(
            timers.fire(world.client_store, shard, [*sorted(world.planted[shard, "timers"]), *some])
            for shard, some in by_shard.items()
        )
    except redis_py.RedisError as error:
        return str(error)
    return f"{n} of {' '.join(map(short, members))}"


def carry(world: World) -> str:
    try:
        return str(sum(relay.deliver(world.client_store, shard, world.limits) for shard in range(world.keys.shards)))
    except redis_py.RedisError as error:
        return str(error)


def go_on(world: World) -> str:
    """A crash between two slices is anything else that happens between two of these."""
    chosen = world.rng.sample(world.state.unfinished, world.rng.randint(1, len(world.state.unfinished)))
    by_shard: dict[int, list[bytes]] = defaultdict(list)
    for member in chosen:
        one = Unfinished.parse(member)
        by_shard[world.keys.instance(one.workflow, one.id).shard].append(member.encode())
    try:
        for shard, members in by_shard.items():
            unfinished.go_on(world.client_store, shard, members)
    except redis_py.RedisError as error:
        return str(error)
    return " ".join(chosen)


def sweep_shards(world: World) -> str:
    try:
        n = sum(sum(sweep.pages(world.client_store, shard, world.limits)) for shard in range(world.keys.shards))
        for shard in range(world.keys.shards):
            slots.grant(world.client_store, shard, world.limits)
    except redis_py.RedisError as error:
        return str(error)
    world.is_limit_new = world.garbage_done = False
    demand(n == 0 or world.spoilt, "the sweep found something to repair on a healthy shard")
    return "nothing to repair"


def expire(world: World, workers: set[str], score: int) -> None:
    for shard in range(world.keys.shards):
        key = world.keys.shard_key(shard, "workers")
        for worker in workers:
            world.client.zadd(key, {worker: score}, xx=True)


def reap(world: World) -> str:
    """Everybody whose lease is over; a crashed worker's is, by now."""
    alive = set().union(*(node.identities for node in world.nodes))
    n = 0
    for shard in range(world.keys.shards):
        key = world.keys.shard_key(shard, "workers")
        for blob, score in world.client.zrange(key, 0, -1, withscores=True):
            worker = blob.decode()
            if worker not in alive or score <= LAPSED:
                if score > LAPSED:
                    world.client.zadd(key, {worker: LAPSED}, xx=True)
                try:
                    n += reaper.reap(world.client_store, shard, worker) or 0
                except redis_py.RedisError as error:
                    return str(error)
    return f"{n} released"


def retire_all(world: World) -> None:
    """I8: the retention of all is over, and nothing is left of them."""
    world.clock.ms = max([world.clock.ms, *world.state.retire.values()])
    for shard in range(world.keys.shards):
        retiring = world.client.zrange(world.keys.shard_key(shard, "retire"), 0, -1)
        sweep.retire(world.look_store, shard, [member for member in retiring if not world.of_spoilt(member)])
    state = reading.read(world)
    places = [*state.index, *state.retire, *("|".join(names) for names in state.instances)]
    left = [one for one in places if not world.of_spoilt(one)]
    demand(not left, f"left of those whose retention is over: {left}")
