"""Who rings for new intents: whoever makes them, where the shard's owner permits it, else the owner, once woken."""

from __future__ import annotations

import json
import random

from orchestrator.shards import LEASE_MS
from tests.invariants.simulation.seen import State
from tests.invariants.simulation.violation import demand
from tests.invariants.simulation.world import World
from workflows.storage import doorbell, keys
from workflows.storage.keys import Intent
from workflows.storage.store import unpackb

QUEUE = "default"


def begin(world: World) -> None:
    """An owner's lease with a permit, or one that is over, or none that permits anything: one for the whole run."""
    chance = random.Random(f"permit {world.seed}")
    world.lease_ms = chance.choice((1_000 * LEASE_MS, 1_000 * LEASE_MS, -1, None))
    permit(world)


def permit(world: World) -> None:
    """What an orchestrator writes that knows the limits there are now."""
    if world.lease_ms is None:
        return
    limited = [name for name, limit in world.limits.items() if limit is not None]
    expiry = int(world.client.time()[0]) * 1000 + world.lease_ms
    for shard in range(world.keys.shards):
        owner = {"expiry": expiry, "permit": doorbell.permit(world.keys.namespace, limited)}
        world.client.hset(world.keys.shard_key(shard, "owner"), mapping=owner)


def are_ringing(world: World) -> bool:
    waiting = keys.rq_queue(world.keys.queue(QUEUE))
    return bool(world.client.type(waiting) == b"list")


def spoil(world: World) -> str:
    """RQ's keys hold what does not belong there."""
    waiting = keys.rq_queue(world.keys.queue(QUEUE))
    world.client.delete(waiting)
    world.client.set(waiting, "garbage")
    return waiting


def lose(world: World) -> str:
    for key in world.client.keys(f"{keys.RQ_KEY_PREFIX}:*"):
        world.client.delete(key)
    return ""


def check(world: World, kind: str, state: State) -> None:
    """I10: a new intent has a doorbell, or its shard's owner is woken to ring. Ringing is somebody else's only with the
    owner's permit, and not where the owner has to see to a limit before (I13).
    """
    shards = range(world.keys.shards)
    woken = {shard for shard in shards if world.client.delete(world.keys.shard_key(shard, "wake"))}
    for member in set(state.intents) - set(world.state.intents):
        if kind == "REWIND" or world.of_spoilt(member):
            continue
        intent = Intent.parse(member)
        shard = world.keys.instance(intent.workflow, intent.id).shard
        if not rings(world, shard, intent):
            demand(shard in woken, f"nobody hears of {member}")
            continue
        permitted, expiry = world.client.hmget(world.keys.shard_key(shard, "owner"), "permit", "expiry")
        demand(permitted and int(expiry) > int(world.client.time()[0]) * 1000, f"rung without a permit: {member}")
        limited = unpackb(permitted)[b"limited"]
        demand(intent.workflow.encode() not in limited, f"rung before its limit was looked at: {member}")


def rings(world: World, shard: int, intent: Intent) -> bool:
    """Whether there is a doorbell that a worker would take for this intent's."""
    id = doorbell.job_id(shard, intent)
    waiting = keys.rq_queue(world.keys.queue(intent.queue))
    if world.client.type(waiting) != b"list" or id.encode() not in world.client.lrange(waiting, 0, -1):
        return False
    job = world.client.hgetall(keys.rq_job_prefix() + id)
    entry_point, _, (namespace, member), _ = json.loads(job[b"data"])
    demand((entry_point, namespace) == (doorbell.ENTRY_POINT, world.keys.namespace), f"not an RQ job: {job}")
    # A call that is executed twice may make another intent the second time, with the nonce of the first and so with its
    # job: whichever is not named there is rung for when its owner looks again, as if that doorbell had been lost (F7).
    demand(member == intent.member or Intent.parse(member).nonce == intent.nonce, f"a forged job: {job}")
    return True
