"""Results that are streams: how workers write them, what may happen to their chunks, and what must hold of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import redis as redis_py

import worker
from tests.invariants.programs import STREAMS
from tests.invariants.simulation.node import Node
from tests.invariants.simulation.seen import Seen, State, Written
from tests.invariants.simulation.violation import demand
from tests.invariants.simulation.world import World
from worker.attempt import Attempt
from workflows.storage import journal
from workflows.storage.store import call_one, script
from workflows.values import codec

_STREAM = script(Path(worker.__path__[0]) / "stream.lua")
CHUNKS_MAX = 3
TTL_MS = 3_600_000


def streams(attempt: Attempt) -> bool:
    """Whether its result is one."""
    return attempt.name == STREAMS and attempt.kind == "do"


def chunk(token: str, n: int) -> bytes:
    """Which attempt has written it, and as which of its chunks."""
    return f"{token} {n}".encode()


def size(token: str, chunks: int) -> int:
    return sum(len(chunk(token, n)) for n in range(chunks))


def may_write(world: World, attempt: Attempt) -> bool:
    return streams(attempt) and world.written[attempt.token] < CHUNKS_MAX and attempt.token not in world.unwanted


def write(world: World, node: Node, attempt: Attempt) -> str:
    """One chunk more. Without a reply it is sent again, as the worker does."""
    token, n = attempt.token, world.written[attempt.token]
    what = f"{node.name} {token} chunk {n} of step {attempt.seq} of {attempt.instance.id}"
    try:
        answer = _call(world, node, attempt, {"n": n, "d": chunk(token, n), "ttl": TTL_MS})
    except redis_py.RedisError as error:
        return f"{what}: {error}"
    if answer == b"taken":
        world.written[token] += 1
    else:
        world.unwanted.add(token)
    return f"{what}: {answer.decode()}"


def withdraw(world: World, node: Node, attempt: Attempt) -> None:
    """It has failed; nobody may hear of that."""
    if world.written[attempt.token] and world.rng.random() < 0.5:
        try:
            _call(world, node, attempt, {})
        except redis_py.RedisError:
            return


def evict(world: World) -> str:
    """Redis drops what may expire."""
    world.fault("evicted")
    found = sorted(
        world.keys.chunks(world.keys.instance(*who), token)
        for who, written in world.state.streams.items()
        for token in written.expiring
    )
    key = world.rng.choice(found)
    world.client.delete(key)
    return key


def _call(world: World, node: Node, attempt: Attempt, more: dict[str, Any]) -> Any:
    who = {"w": attempt.worker, "g": attempt.generation, "s": attempt.seq, "t": attempt.token}
    return node.fetcher.call(call_one(world.keys, _STREAM, attempt.instance, {**who, **more}))


def read(world: World, workflow: str, id: str, tokens: list[str]) -> Written:
    instance = world.keys.instance(workflow, id)
    index = world.client.hgetall(world.keys.streams(instance))
    keys = {token: world.keys.chunks(instance, token) for token in tokens}
    return Written(
        {int(seq): text.decode() for seq, text in index.items()},
        {token: world.client.lrange(key, 0, -1) for token, key in keys.items()},
        {token for token, key in keys.items() if world.client.pttl(key) >= 0},
    )


def check(world: World, state: State, seen: Seen) -> None:
    """A result is there whole and of one attempt, and what is none of a step that counts is going to go."""
    written = state.streams.get((seen.instance.workflow, seen.instance.id), Written({}, {}, set()))
    for token, chunks in written.chunks.items():
        demand(chunks == [chunk(token, n) for n in range(len(chunks))], f"{token} is mixed: {chunks}")
    known = {text.split("|")[0] for text in written.index.values()}
    demand(known >= written.chunks.keys(), f"chunks of {sorted(written.chunks.keys() - known)} are nowhere known")
    results = dict(_results(seen))
    for seq, (token, count) in results.items():
        demand(len(written.chunks.get(token, [])) == count, f"step {seq} lacks chunks of its result")
        demand(token not in written.expiring, f"the result of step {seq} expires")
        if count:
            demand(written.index[seq] == f"{token}|{count}|{size(token, count)}|k", f"{written.index[seq]} of {seq}")
    for token in written.chunks.keys() - written.expiring:
        demand((token, len(written.chunks[token])) in results.values(), f"{token} is no result and stays for ever")


def _results(seen: Seen) -> Any:
    for entry in seen.counting:
        if isinstance(entry, journal.Settled) and entry.name == STREAMS and entry.value is not None:
            value = codec.decode(entry.value)
            yield entry.seq, (value["by"], value["chunks"])


def possible(world: World) -> Any:
    """What may happen next, as ``run.possible`` has it."""
    for node in world.nodes:
        for attempt in node.hand.running:
            if may_write(world, attempt):
                yield 5, "chunk", partial(write, world, node, attempt)
    running = {attempt.token for node in world.nodes for attempt in node.hand.running}
    gone = [attempt for attempt in world.writers[-6:] if attempt.token not in running]
    if gone:
        # What a worker has sent that is dead by now, or has been told to stop.
        yield 2, "chunk", partial(write, world, world.nodes[0], world.rng.choice(gone))
    if world.faults_left and any(written.expiring for written in world.state.streams.values()):
        yield 0.5, "evict", partial(evict, world)
