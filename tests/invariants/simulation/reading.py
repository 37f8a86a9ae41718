"""Reads everything there is in Redis."""

from __future__ import annotations

from tests.invariants.simulation import streamed
from tests.invariants.simulation.seen import Seen, State, tokens_of
from tests.invariants.simulation.violation import demand
from tests.invariants.simulation.world import World
from workflows.storage import journal
from workflows.storage.keys import Instance, Unfinished
from workflows.storage.messages import message
from workflows.storage.records import open_record
from workflows.storage.store import unpackb


def look_one(world: World, instance: Instance) -> Seen | None:
    h, j, o, m, _, q = world.keys.of_instance(instance)
    with world.client.pipeline(transaction=False) as pipe:
        pipe.hgetall(h)
        pipe.lrange(j, 0, -1)
        pipe.hgetall(o)
        pipe.hgetall(m)
        pipe.zrange(q, 0, -1)
        header, entries, records, mail, queues = pipe.execute()
    if not header:
        return None
    outcome = unpackb(entries.pop()[journal.HEADER_BYTES :]) if b"ended" in header else {}
    return Seen(
        instance,
        {name.decode(): value for name, value in header.items()},
        entries,
        {int(seq): open_record(unpackb(blob)) for seq, blob in records.items()},
        {name.decode(): value for name, value in mail.items()},
        [member.decode() for member in queues],
        outcome,
    )


def read(world: World) -> State:
    state = State()
    shards = range(world.keys.shards)
    with world.client.pipeline(transaction=False) as pipe:
        for shard in shards:
            for name in ("timers", "intents", "held", "workers", "index", "retire", "unfinished"):
                pipe.zrange(world.keys.shard_key(shard, name), 0, -1, withscores=True)
            pipe.hgetall(world.keys.shard_key(shard, "relay"))
            for key in (*world.keys.slots(shard), world.keys.keyed(shard)):
                pipe.zrange(key, 0, -1)
        pipe.keys("*:i:*")
        answers = pipe.execute()
    for shard in shards:
        found = answers[shard * 11 : shard * 11 + 11]
        for at, name in (
            (0, "timers"),
            (1, "intents"),
            (2, "held"),
            (4, "index"),
            (5, "retire"),
            (6, "unfinished"),
        ):
            planted = world.planted[shard, name]
            found[at] = [one for one in found[at] if one[0] not in planted]
        state.timers |= {member.decode(): int(score) for member, score in found[0]}
        state.intents += [member.decode() for member, _ in found[1]]
        state.held += [member.decode() for member, _ in found[2]]
        state.workers[shard] = {member.decode() for member, _ in found[3]}
        state.index += [member.decode() for member, _ in found[4]]
        state.retire |= {member.decode(): int(score) for member, score in found[5]}
        state.unfinished += [member.decode() for member, _ in found[6]]
        state.relayed[shard] = len(found[7])
        for id, blob in found[7].items():
            if id not in world.planted[shard, "relay"]:
                state.sent.append(message(blob))
        state.slots += [member.decode() for member in found[8]]
        state.slotq += [member.decode() for member in found[9]]
        state.keyed[shard] = [member.decode() for member in found[10]]
        world.lines[shard] |= {*state.keyed[shard]}
    state.unfinished.sort()
    for member in state.unfinished:
        one = Unfinished.parse(member)
        if one.kind == "x":
            key = world.keys.remains(world.keys.instance(one.workflow, one.id), one.token)
            records = {int(seq): open_record(unpackb(blob)) for seq, blob in world.client.hgetall(key).items()}
            demand(records, f"nothing is there to be cleaned: {member}")
            state.remains[one.workflow, one.id, one.generation] = records
    parts = [key.decode().split(":") for key in answers[-1]]
    names = sorted({(part[2], part[3]) for part in parts if part[4] != "x"})
    for workflow, id in names:
        if world.is_spoilt(workflow, id):
            continue
        seen = look_one(world, world.keys.instance(workflow, id))
        demand(seen is not None, f"keys without a header: {workflow} {id}")
        assert seen is not None
        state.instances[workflow, id] = seen
        world.tokens |= tokens_of(seen)
        if any(part[2:5] == [workflow, id, "b"] for part in parts):
            tokens = [part[5] for part in parts if part[2:5] == [workflow, id, "b"] and len(part) > 5]
            state.streams[workflow, id] = streamed.read(world, workflow, id, tokens)
    return state
