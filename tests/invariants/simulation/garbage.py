"""Anybody writes anything into any key."""

from __future__ import annotations

import redis as redis_py

from orchestrator import dispatch, reaper, relay, shards, sweep, timers, unfinished
from tests.invariants.simulation import checks
from tests.invariants.simulation.clients import PAUSE, RESUME
from tests.invariants.simulation.orchestrators import LAPSED
from tests.invariants.simulation.violation import demand
from tests.invariants.simulation.world import World
from workflows.storage import aside
from workflows.storage.keys import INSTANCE_KEY_NAMES, Instance
from workflows.storage.status import FINAL
from workflows.storage.store import call_on, call_one, script

_OWN = script(dispatch.HERE / "own.lua")
_DISPATCH = script(dispatch.HERE / "dispatch.lua")
UNREADABLE = (b"", b"\xff\xfe", b"\xc1", b"text", b"\x91" * 10_000, b"\x92\x01\x02", b"\x81\xa1s\x01")
# Where the members that stand in a shard's key begin, so that whoever reads it by prefix meets what is planted there.
PREFIXES = {
    "timers": b"s|",
    "intents": b"a|",
    "held": b"ghost|",
    "relay": b"c|",
    "index": b"running|",
    "retire": b"",
    "unfinished": b"i|",
}
# What can be derived from the headers when one of these keys is lost.
DERIVED = ("timers", "intents", "index", "retire", "relay")


def scatter(world: World) -> str:
    world.garbage_left -= 1
    world.garbage_done = True
    world.faults_done += 1
    return world.rng.choice((spoil, spoil, plant, mistype))(world)


def spoil(world: World) -> str:
    """What stands in one instance. Nobody waits for it: a parent of one that is parked waits as long as it."""
    roots = [seen for seen in world.state.instances.values() if seen.instance in world.roots and not seen.ended]
    if world.spoilt is not None or not roots:
        return plant(world)
    seen = world.rng.choice(roots)
    world.spoilt = seen.instance
    keys = dict(zip(INSTANCE_KEY_NAMES, world.keys.of_instance(seen.instance), strict=True))
    how = world.rng.choice(("record", "record", "record", "header", "type"))
    if how == "record" and seen.records:
        seq, blob = world.rng.choice(sorted(seen.records)), world.rng.choice(UNREADABLE)
        world.client.hset(keys["o"], seq, blob)
        return f"record {seq} of {seen.instance.id} is {blob[:8]!r}"
    if how == "header":
        name = world.rng.choice(("st", "gen", "pos", "turn", "act", "queue", "created", "rest", "meta", "stop"))
        world.client.hset(keys["h"], name, b"\xff|")
        return f"{name} of {seen.instance.id}"
    name = world.rng.choice(("h", "j", "o", "m", "q"))
    world.client.delete(keys[name])
    world.client.set(keys[name], "garbage")
    return f"{name} of {seen.instance.id} is a string"


def plant(world: World) -> str:
    """A member that is none, in a key of a shard."""
    shard, name = world.rng.randrange(world.keys.shards), world.rng.choice(sorted(PREFIXES))
    member = PREFIXES[name] + world.rng.choice((b"\xff\xfe", b"", b"|||||", b"a|b|c|" + b"9" * 400 + b"|n|default"))
    key = world.keys.shard_key(shard, name)
    world.planted[shard, name].add(member)
    if name == "relay":
        world.client.hset(key, member, b"\xc1")
    else:
        world.client.zadd(key, {member: 0})
    if name == "held":
        world.client.zadd(world.keys.shard_key(shard, "workers"), {"ghost": LAPSED})
    return f"{name} {shard}: {member[:30]!r}"


def mistype(world: World) -> str:
    """A shard's key of another type: who owns the shard meets it, and derives what is lost."""
    shard, name = world.rng.randrange(world.keys.shards), world.rng.choice(DERIVED)
    world.client.delete(world.keys.shard_key(shard, name))
    world.client.set(world.keys.shard_key(shard, name), "garbage")
    world.planted[shard, name].clear()
    world.look_store.call(call_on(world.keys, _OWN, shard, [], {"t": "one", "ttl": shards.LEASE_MS}))
    arguments = {"t": "one", "n": dispatch.BATCH, "u": unfinished.BATCH}
    demand(world.look_store.call(call_on(world.keys, _DISPATCH, shard, [], arguments))[8], "nothing is to be mended")
    mended = sum(sweep.pages(world.look_store, shard, world.limits, everything=True))
    return f"{name} {shard} was a string, {mended} mended"


def tidy(world: World) -> str:
    """What an orchestrator does with the keys of its shards, where something is planted."""
    try:
        for (shard, name), members in world.planted.items():
            store, found = world.client_store, sorted(members)
            match name:
                case "timers":
                    timers.fire(store, shard, found)
                case "intents":
                    dispatch.ring(store, shard, found)
                case "held":
                    reaper.reap(store, shard, "ghost")
                case "relay":
                    relay.deliver(store, shard, world.limits)
                case "index":
                    list(sweep.pages(store, shard, world.limits))
                case "retire":
                    sweep.retire(store, shard, found)
                case "unfinished":
                    unfinished.go_on(store, shard, found)
    except redis_py.RedisError as error:
        return str(error)
    for (shard, name), members in world.planted.items():
        key = world.keys.shard_key(shard, name)
        left = world.client.hkeys(key) if name == "relay" else world.client.zrange(key, 0, -1)
        demand(not members & set(left), f"still in {key}: {members}")
        noted = {note.key for note in aside.notes(world.look_store, shard, 1000)[1]}
        demand(not members or key in noted, f"nobody says what was in {key}: {members}")
    world.planted.clear()
    return "set aside"


def stands_still(world: World) -> bool:
    """Whether the one that somebody has written to has ended, is parked, or is as good as absent."""
    if world.spoilt is None:
        return True
    # No effect on one that is not paused.
    for again in (True, False):
        try:
            status, want = world.client.hmget(world.keys.header(world.spoilt), "st", "want")
        except redis_py.ResponseError:
            return True
        if want == b"park" or status in [one.value.encode() for one in FINAL]:
            return True
        if again:
            answer = world.look_store.call(call_one(world.keys, RESUME, world.spoilt, {}))
            if answer in (b"unreadable", b"unknown"):
                return True
    world.state = checks.look(world, "resume")
    return False


def is_noted(world: World, instance: Instance) -> bool:
    about = f":i:{instance.workflow}:{instance.id}:"
    return any(about in note.key for note in aside.notes(world.look_store, instance.shard, 1000)[1])


def check_i11_what_was_spoilt_says_why(world: World) -> None:
    """It has come to its end, or it stands still and says why."""
    if world.spoilt is None:
        return
    if world.client.type(world.keys.header(world.spoilt)) == b"hash":
        status, want, reason = world.client.hmget(world.keys.header(world.spoilt), "st", "want", "reason")
        if status in [one.value.encode() for one in FINAL]:
            return
        demand(want != b"park" or reason, f"{world.spoilt} is parked, and does not say why")
    else:
        world.look_store.call(call_one(world.keys, PAUSE, world.spoilt, {}))
    demand(is_noted(world, world.spoilt), f"nobody says what is wrong with {world.spoilt}")
