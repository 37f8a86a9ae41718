"""What workers do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.invariants.programs import FLAKY, HANGS, POLLS
from tests.invariants.simulation import orchestrators, streamed
from tests.invariants.simulation.members import short, stable
from tests.invariants.simulation.node import Node, failed_with
from tests.invariants.simulation.oracle import inputs_of
from tests.invariants.simulation.world import World
from worker.attempt import Attempt, Outcome
from workflows.storage.keys import Held
from workflows.values import codec


def work(world: World, node: Node, most: int = 0) -> str:
    return f"{node.name} {node.work(most or world.rng.choice((1, 2, 100)))}"


def beat(world: World, node: Node) -> str:
    if world.rng.random() < 0.2:
        node.engine._ask_to_reconcile()
    return f"{node.name} {node.beat()}"


def claim(world: World, node: Node, rung: list[str]) -> str:
    members = world.rng.sample(rung, min(len(rung), world.rng.choice((1, 1, 2, 5))))
    for member in members:
        if member in world.doorbells:
            world.doorbells.remove(member)
    return f"{node.name} {' '.join(map(short, members))}: {node.claim(members)}"


def answer(world: World, node: Node) -> str:
    """Doorbells that scripts have hung into RQ's queue; many were for what somebody has claimed since."""
    return f"{node.name}: {node.answer(world.rng.choice((1, 1, 1, 100)))}"


def hangs(attempt: Attempt) -> bool:
    """Whether it never ends by itself."""
    return attempt.name == HANGS and attempt.kind == "do"


def end(world: World, node: Node, attempt: Attempt, *, kindly: bool = False) -> str:
    what = f"{node.name} {attempt.name} (step {attempt.seq}) of {attempt.instance.id}"
    fails = attempt.name == FLAKY and world.rng.random() < (0.2 if kindly else 0.5)
    if streamed.streams(attempt):
        fails = attempt.token in world.unwanted or world.rng.random() < (0.1 if kindly else 0.2)
    if fails or hangs(attempt):
        if streamed.streams(attempt):
            streamed.withdraw(world, node, attempt)
        node.hand.end(attempt, failed_with(attempt, RuntimeError("flaky")))
        return f"{what} fails"
    if attempt.name == POLLS and world.rng.random() < 0.7:
        node.hand.end(attempt, Outcome())
        return f"{what} looks again"
    world.results += 1
    value = {
        "x": world.results,
        "in": list(inputs_of(attempt.callback)),
        "gen": attempt.generation,
        "by": attempt.token,
    }
    stream = None
    if streamed.streams(attempt):
        value["chunks"] = chunks = world.written[attempt.token]
        stream = chunks, streamed.size(attempt.token, chunks)
    node.hand.end(attempt, Outcome(value=codec.encode(value, what="a result"), stream=stream))
    return f"{what} gives {world.results}"


def say(world: World, node: Node, attempt: Attempt) -> str:
    """A callback says something with its heartbeat, which may not be written at once, or at all."""
    world.results += 1
    attempt.context.heartbeat({"by": attempt.token, "n": world.results})
    world.told[attempt.token] = world.results
    is_written = world.rng.random() < 0.7
    if is_written:
        node.engine.beat(attempt)
    return f"{node.name} {attempt.name} (step {attempt.seq}) of {attempt.instance.id} {world.results} {is_written}"


def drain(world: World, node: Node) -> str:
    """No fault as long as nothing that has begun is given back: then no callback may run twice."""
    world.faults_left -= 1
    given_back = world.given_back

    def meanwhile() -> None:
        for attempt in list(node.hand.running):
            if not hangs(attempt) and world.rng.random() < 0.7:
                world.trace.append(f"      {end(world, node, attempt)}")

    said = node.drain(world.rng.choice((0, 1, 3, 6)), meanwhile)
    if world.given_back > given_back:
        world.faults_left += 1
        world.fault("drain")
    return f"{said}, {replaced(world, node)}"


def replaced(world: World, node: Node) -> str:
    world.nodes.remove(node)
    if node.alone:
        return f"{node.name} is no more"
    return f"{node.name} is no more, {world.new_node().name} takes its place"


def isolate(world: World, held: Held) -> str:
    world.suspects.remove(held)
    if world.rng.random() < 0.1:
        world.suspects.append(held)  # asked for twice: the second finds it gone
    node = world.new_node(alone=True)
    return f"{node.name} {held.kind}{held.seq}@{held.id} {node.take_over(held)}"


def leave(world: World, node: Node) -> str:
    world.nodes.remove(node)
    return f"{node.name} has nothing more to do {node.drain(0, lambda: None)}"


def something_of_workers(world: World) -> str:
    rung = sorted(world.state.intents, key=stable)
    options: list[Callable[[], str]] = []
    for node in world.nodes:
        if rung and not node.alone:
            options.append(partial(claim, world, node, rung))
        if node.queued():
            options.append(partial(work, world, node))
        for attempt in node.hand.running:
            if attempt.instance.workflow == "shortened":
                options.append(partial(end, world, node, attempt))
    if world.state.timers:
        options.append(partial(orchestrators.fire, world))
    return world.rng.choice(options)() if options else "nothing"
