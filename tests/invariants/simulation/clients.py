"""What clients do."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis as redis_py

import workflows.client
from tests.invariants import programs
from tests.invariants.programs import EVENT_TYPES, KEY, KEYED, fault_of
from tests.invariants.simulation import reading, undone
from tests.invariants.simulation.cancelled import is_asked
from tests.invariants.simulation.parting import parted_meanwhile
from tests.invariants.simulation.seen import Answer, events_of, tokens_of
from tests.invariants.simulation.violation import demand
from tests.invariants.simulation.world import World
from workflows.storage.intake import (
    CreateItem,
    create_call,
    event_batch_call,
    event_call,
    heartbeat_call,
    new_event,
    new_slot,
)
from workflows.storage.journal import Withdrawn
from workflows.storage.keys import Instance, Keyed
from workflows.storage.records import OpenUndo
from workflows.storage.removal import restart_call
from workflows.storage.store import Call, Script, call_one, script
from workflows.values import codec, failure, listening
from workflows.values.listening import AnswerToken
from workflows.values.metadata import Metadata, tag

_CLIENT = Path(workflows.client.__file__).parent
PAUSE = script(_CLIENT / "pause.lua")
RESUME = script(_CLIENT / "resume.lua")
TERMINATE = script(_CLIENT / "terminate.lua")
CANCEL = script(_CLIENT / "cancel.lua")
STOPPED = failure.make("InstanceTerminated", "stopped")


def create(world: World, program: str) -> None:
    instance = world.keys.instance(program, f"i{len(world.roots) + 1}")
    params: dict[str, Any] = {"program": programs.random_program(world.rng)} if program == "random" else {}
    if any(world.limits.values()) or world.limit_changes:
        params["tenant"] = "ab"[len(world.roots) % 2]
    blob, generation = codec.encode(params, what="params"), world.generation()
    item = CreateItem(program, instance.id, generation, blob, "default", 1000, 1000, command="create")
    limit = world.limits[program]
    if limit is not None:
        item.slot = new_slot(limit, blob)
    if world.is_timed:
        item.deadline_ms = random.Random(f"deadline {world.seed} {instance.id}").choice((5_000, 30_000, None))
    if world.rng.random() < 0.5:
        item.metadata = metadata(world).wire()
    world.roots.append(instance)
    if "program" in params:
        world.trace.append(f"      {instance.id} runs {params['program']}")
    if program not in programs.WAITING or len(world.roots) % 2:
        answer = world.look_store.call(create_call(world.keys, item))
        demand(answer == [b"created"], f"create said {answer}")
        return
    ev = f"ev{100 + len(world.roots)}"
    begin = replace(new_event(EVENT_TYPES[0], {"event": ev}, id=ev, error=fault_of(ev)), new=item)
    for _ in range(2):  # as who has not heard the answer does
        answer = world.look_store.call(event_call(world.keys, instance, begin))
        demand(answer == [b"started"], f"send_event said {answer}")
    world.answered[instance.workflow, instance.id, generation].append(ev)


def metadata(world: World) -> Metadata:
    """Texts, and by which of them it is found: by all, some or none."""
    values = {key: world.rng.choice(("a", "b")) for key in ("k1", "k2")}
    tags = [tag(key, value) for key, value in values.items() if world.rng.random() < 0.7]
    return Metadata(values, tuple(tags))


def event(world: World, instance: Instance) -> str:
    world.events_left -= 1
    ev = f"ev{world.events_left}"
    kind = world.rng.choice(EVENT_TYPES if instance.workflow in ("types", "any") else EVENT_TYPES[:1])
    call = event_call(world.keys, instance, new_event(kind, {"event": ev}, id=ev, error=fault_of(ev)))

    def answered(answer: Any) -> None:
        if not world.is_spoilt(instance.workflow, instance.id):
            note_event(world, instance, ev, answer[0])

    return f"{ev} ({kind}) to {instance.id} {send(world, 'event', call, answered)}"


def event_to_key(world: World) -> str:
    """To everybody in a shard who waits for the key or was found to, some time ago."""
    world.events_left -= 1
    ev = f"ev{world.events_left}"
    shard = world.rng.choice([shard for shard, lines in world.lines.items() if lines])
    lines = [Keyed.parse(line) for line in sorted(world.lines[shard])]
    instances = list(dict.fromkeys(world.keys.instance(line.workflow, line.id) for line in lines))
    waiting = {line.split("|")[2] for line in world.state.keyed[shard]}
    is_first = True
    event = new_event(EVENT_TYPES[0], {"event": ev}, id=ev, error=fault_of(ev))
    by_instance = {world.keys.instance(line.workflow, line.id): line.text for line in reversed(lines)}
    items = [replace(event, name=KEYED, line=by_instance[one]) for one in instances]

    def answered(answers: Any) -> None:
        for instance, answer in zip(instances, answers, strict=True):
            if not world.is_spoilt(instance.workflow, instance.id):
                note_event(world, instance, ev, answer, (b"gone",))
                is_late = is_first and instance.id not in waiting
                demand(not is_late or answer in (b"gone", b"ended", b"unknown"), f"{answer} where nobody waits")

    said = send(world, "event", event_batch_call(world.keys, instances, items), answered)
    is_first = False
    return f"{ev} to {KEY} {said}"


def answer_by_token(world: World, tokens: Collection[AnswerToken]) -> str:
    """Somebody to whom one of these was handed out, in this life or another, answers; maybe not as the first."""
    world.events_left -= 1
    ev = f"ev{world.events_left}"
    token = world.rng.choice(sorted(tokens))
    instance = world.keys.instance(token.workflow, token.id)
    event = new_event(token.type, {"event": ev}, id=ev, error=fault_of(ev))
    item = replace(event, name=listening.answered(token.type, token.seq), life=token.life)
    before = world.state.instances.get((token.workflow, token.id))
    is_open = before is not None and bool(before.queue("w", item.name)) and token in tokens_of(before)
    is_answered = before is not None and bool(before.queue("m", item.name))
    is_first = True

    def answered(answer: Any) -> None:
        if world.is_spoilt(instance.workflow, instance.id):
            return
        note_event(world, instance, ev, answer[0], (b"over",))
        if is_first:
            is_taken = answer[0] in (b"delivered", b"buffered")
            demand(is_taken == (is_open and not is_answered), f"{answer}, where an answer is wanted: {is_open}")

    said = send(world, "event", event_call(world.keys, instance, item), answered)
    is_first = False
    return f"{ev} by {token.text} {said}"


def heartbeat(world: World) -> str:
    """Somebody to whom a token was handed out is at work, wanted or not."""
    world.heartbeats_left -= 1
    token = world.rng.choice(sorted(world.tokens))
    name = listening.answered(token.type, token.seq)
    before = world.state.instances.get((token.workflow, token.id))
    is_open = before is not None and bool(before.queue("w", name)) and token in tokens_of(before)
    is_answered = before is not None and bool(before.queue("m", name))
    is_first = True

    def answered(answer: Any) -> None:
        if world.is_spoilt(token.workflow, token.id):
            return
        demand(answer in (b"heard", b"over", b"ended", b"unknown"), f"heartbeat said {answer!r}")
        if is_first:
            demand((answer == b"heard") == (is_open and not is_answered), f"{answer}, where it is open: {is_open}")
        seen = reading.look_one(world, world.keys.instance(token.workflow, token.id))
        if answer == b"heard" and seen is not None and not seen.text("want"):
            world.heard[token.workflow, token.id, seen.generation, token.seq] = world.clock.ms

    said = send(world, "heartbeat", heartbeat_call(world.keys, token), answered)
    is_first = False
    return f"{token.text} {said}"


def note_event(world: World, instance: Instance, ev: str, answer: bytes, more: tuple[bytes, ...] = ()) -> None:
    demand(answer in (b"delivered", b"buffered", b"ended", b"unknown", *more), f"send_event said {answer!r}")
    seen = reading.look_one(world, instance)
    if seen is not None and not seen.ended and answer in (b"delivered", b"buffered"):
        known = events_of(seen)
        # An event of a former life is remembered too, and gone with that life.
        if ev in known:
            world.answered[instance.workflow, instance.id, seen.generation].append(ev)


def send(world: World, kind: str, call: Call, answered: Callable[[Any], None]) -> str:
    try:
        answer = world.client_store.call(call)
    except redis_py.RedisError as error:
        world.resends.append((kind, call, answered))
        return str(error)
    answered(answer)
    return str(answer)


def resend(world: World, one: tuple[str, Call, Callable[[Any], None]]) -> str:
    world.resends.remove(one)
    return "again " + send(world, *one)


def next_control(world: World) -> str:
    kind = world.controls.pop(0)
    among = (parted_meanwhile(world) if kind == "restart" else []) or list(world.state.instances.values())
    instance = world.rng.choice(sorted(among, key=lambda seen: seen.instance.id)).instance
    if kind == "pause":
        return control(world, kind, instance, PAUSE, {})
    cid = f"{kind}{len(world.controls)}"
    if kind == "cancel":
        return cancel(world, instance, cid)
    if kind == "rollback":
        return roll_back(world, instance, cid)
    if kind == "terminate":
        return control(world, kind, instance, TERMINATE, {"cid": cid, "x": STOPPED, "cut": STOPPED})
    from_ = cut_of(world, instance) if kind == "cut" else {}
    said = f" from step {from_['seq']}" if from_ else ""
    call = restart_call(world.keys, instance, {"cid": cid, "gen": world.generation(), **from_})
    return command(world, kind, instance, call) + said


def cut_of(world: World, instance: Instance) -> dict[str, Any]:
    """The step to restart from: any that ``run`` has asked for, in the life that did; nothing if there is none."""
    seen = world.state.instances[instance.workflow, instance.id]
    answers = [entry for entry in seen.counting if isinstance(entry, Answer)]
    kinds = {entry.seq: entry.command if isinstance(entry, Withdrawn) else entry.kind for entry in answers}
    kinds |= {record.seq: record.kind for record in seen.records.values()}
    asked = sorted(seq for seq, kind in kinds.items() if kind != OpenUndo.kind)
    return {"seq": world.rng.choice(asked), "of": seen.generation} if asked else {}


def cancel(world: World, instance: Instance, cid: str) -> str:
    before = world.state.instances[instance.workflow, instance.id]
    is_first = True

    def answered(answer: Any) -> None:
        seen = None if world.is_spoilt(instance.workflow, instance.id) else reading.look_one(world, instance)
        if seen is None or seen.generation != before.generation:
            return
        demand(answer in (b"cancelling", b"terminated", b"already", b"cannot"), f"cancel said {answer!r}")
        if answer == b"cancelling":
            demand(seen.ended or is_asked(seen) or seen.is_rolling_back, "it is said to be cancelled, and is not")
            demand(not is_first or not seen.text("want"), "it is to end, and its time stands still")
        if answer in (b"terminated", b"cannot"):
            demand(seen.ended, f"cancel said {answer!r}")

    ms = world.rng.choice((0, 15_000, 60_000))
    call = call_one(world.keys, CANCEL, instance, {"cid": cid, "why": "why", "ms": ms})
    said = send(world, "cancel", call, answered)
    is_first = False
    return f"{instance.id} {said}"


def roll_back(world: World, instance: Instance, cid: str) -> str:
    before = world.state.instances[instance.workflow, instance.id]

    def answered(answer: Any) -> None:
        seen = None if world.is_spoilt(instance.workflow, instance.id) else reading.look_one(world, instance)
        if seen is not None and seen.generation == before.generation and answer == b"terminated":
            demand(seen.ended or seen.is_rolling_back, "it is to be rolled back, and is not")
            is_undone = not seen.ended or b"rb" in seen.outcome
            demand(is_undone or not undone.has_begun(seen), "it has ended, and what was begun is not undone")

    arguments = {"cid": cid, "x": STOPPED, "cut": STOPPED, "rb": 1}
    return f"{instance.id} {send(world, 'rollback', call_one(world.keys, TERMINATE, instance, arguments), answered)}"


def control(world: World, kind: str, instance: Instance, which: Script, arguments: dict[str, Any]) -> str:
    return command(world, kind, instance, call_one(world.keys, which, instance, arguments))


def command(world: World, kind: str, instance: Instance, call: Call) -> str:
    return f"{instance.id} {send(world, kind, call, lambda answer: None)}"
