"""The workflows the simulator runs: the smallest ones that tell the engine's rules apart.

No callback is ever called here. The simulator makes up each result: a number of its own and the arguments the callback
was asked with, so that a result computed over another history than the journal's shows.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Sequence
from typing import Any

from workflows import WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from workflows.authoring.app import App
from workflows.authoring.retries import Sensitive
from workflows.errors import (
    EventError,
    EventTimeout,
    HeartbeatTimeout,
    PollTimeout,
    StepInterrupted,
    StreamLost,
    WorkflowCancelled,
)

app = App("sim")

HANGS = "hangs"
"""A step of this name never ends by itself."""
POLLS = "polls"
"""A step of this name is a poll, which may have to look again."""
STREAMS = "streams"
"""The result of a step of this name is a stream."""
FLAKY = "flaky"
"""A step of this name may fail."""

EVENT_TYPES = ("e", "f")
KEY = "k"
KEYED = "e=k"
"""What those listen to who wait for events that are sent to the key."""


def fault_of(event: str) -> dict[str, str] | None:
    """What an event of this id says has failed, if anything."""
    return {"message": event, "name": "Refused"} if int(event.removeprefix("ev")) % 3 == 0 else None


HIDDEN = ("w1", "lost")
"""Waits of whose events people are not shown the payload."""


def hidden(name: str) -> Sensitive | None:
    return "output" if name in HIDDEN else None


def work(*inputs: object) -> Any:
    """What every step is asked to do; only its arguments matter."""
    raise AssertionError("the simulator calls no callbacks")


def seen(event: Any) -> Any:
    return event.payload["event"]


async def wait(
    step: WorkflowStep,
    name: str,
    timeout: str = "60 s",
    type: str | Sequence[str] = EVENT_TYPES[0],
    key: str | None = None,
) -> Any:
    try:
        if not isinstance(type, str):
            received = await step.wait_for_any(name, type, timeout, sensitive=hidden(name))
            return f"{received.type} {seen(received)}"
        return seen(await step.wait_for_event(name, type=type, timeout=timeout, key=key, sensitive=hidden(name)))
    except EventTimeout:
        return "late"
    except EventError as error:
        return f"{error.name} {error.message} {seen(error)}"


@app.workflow(name="sequential")
class Sequential(WorkflowEntrypoint[Any]):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        a = await step.do("A", work)
        step.publish("last", a["x"])
        b = await step.do("B", work, a["x"])
        return b["x"]


@app.workflow(name="long")
class Long(WorkflowEntrypoint[Any]):
    """More steps in a row than one eager streak."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        last = 0
        for _ in range(6):
            last = (await step.do("A", work, last))["x"]
        return last


@app.workflow(name="parallel")
class Parallel(WorkflowEntrypoint[Any]):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        a, b = await asyncio.gather(step.do("A", work), step.do("B", work))
        c = await step.do("C", work, a["x"], b["x"])
        return c["x"]


@app.workflow(name="branches")
class Branches(WorkflowEntrypoint[Any]):
    """Which step is asked for third, and which fourth, depends on the branch whose first step ends first."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        async def branch(name: str) -> Any:
            first = await step.do(name, work)
            return await step.do(f"after {name}", work, first["x"])

        a, b = await asyncio.gather(branch("A"), branch("B"))
        return [a["x"], b["x"]]


@app.workflow(name="chance")
class Chance(WorkflowEntrypoint[Any]):
    """What steps are asked with is drawn, before and between them."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        drawn = str(step.uuid4())
        a, b = await asyncio.gather(step.do("A", work, drawn), step.do("B", work, str(step.uuid4())))
        c = await step.do("C", work, str(step.uuid4()), a["x"], b["x"], step.now().isoformat())
        d = await step.do("D", work, str(step.uuid4()), drawn, c["x"])
        return d["x"]


@app.workflow(name="race")
class Race(WorkflowEntrypoint[Any]):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        first = await step.race(step.do("A", work), step.do("B", work))
        c = await step.do("C", work, first["x"])
        return c["x"]


@app.workflow(name="race-hanging")
class RaceHanging(WorkflowEntrypoint[Any]):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        first = await step.race(step.do("A", work), step.do(HANGS, work))
        c = await step.do("C", work, first["x"])
        return c["x"]


@app.workflow(name="waits")
class Waits(WorkflowEntrypoint[Any]):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        one = await wait(step, "w1")
        two = await wait(step, "w2", "20 s")
        a = await step.do("A", work, one, two)
        return a["x"]


@app.workflow(name="race-wait")
class RaceWait(WorkflowEntrypoint[Any]):
    """The wait may lose, and the event it has got by then must go back."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        first = await step.race(step.do("A", work), wait(step, "w1"))
        two = await wait(step, "w2")
        b = await step.do("B", work, str(first), two)
        return b["x"]


@app.workflow(name="rivals")
class Rivals(WorkflowEntrypoint[Any]):
    """What one wait has got in vain goes to another; both were asked for before the step that makes it vain."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        async def third() -> Any:
            return await step.do("A", work)

        one, two = (asyncio.ensure_future(wait(step, name)) for name in ("w1", "w2"))
        first = await step.race(one, third())
        b = await step.do("B", work, str(first), await two)
        return b["x"]


@app.workflow(name="detached")
class Detached(WorkflowEntrypoint[Any]):
    """A wait that is left behind without being cancelled, and taken up again later."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        left = asyncio.ensure_future(wait(step, "w1"))
        a = asyncio.ensure_future(step.do("A", work))
        b = asyncio.ensure_future(step.do("B", work))
        await asyncio.wait({left, a}, return_when=asyncio.FIRST_COMPLETED)
        await b
        one = await left
        two = await wait(step, "w2", "20 s")
        c = await step.do("C", work, one, two)
        return c["x"]


@app.workflow(name="types")
class Types(WorkflowEntrypoint[Any]):
    """Busy while events of two types come, then waits for both at once."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        a = await step.do("A", work)
        waits = [wait(step, f"w{n}", type=EVENT_TYPES[n % 2]) for n in range(3)]
        first = await step.race(*waits) if a["x"] % 2 else await asyncio.gather(*waits)
        two = await wait(step, "w", "20 s", EVENT_TYPES[1])
        b = await step.do("B", work, str(first), two)
        return b["x"]


@app.workflow(name="any")
class AnyOf(WorkflowEntrypoint[Any]):
    """Takes whichever of two types came first; such a wait may lose a race, and be open beside one for one of them."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        a = await step.do("A", work)
        one = await wait(step, "w1", type=EVENT_TYPES)
        two = await step.race(wait(step, "w2", type=EVENT_TYPES), step.do("B", work, a["x"], one))
        rest = await asyncio.gather(wait(step, "w3", "20 s", EVENT_TYPES), wait(step, "w4", "20 s", EVENT_TYPES[1]))
        c = await step.do("C", work, one, str(two), *rest)
        return c["x"]


@app.workflow(name="keyed")
class KeyedWaits(WorkflowEntrypoint[Any]):
    """Waits for a key: alone, as the loser of a race, and beside others, for the same key and for its type alone."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        one = await wait(step, "w1", key=KEY)
        two = await step.race(step.do("A", work, one), wait(step, "w2", key=KEY))
        both = [wait(step, name, "20 s", key=KEY) for name in ("w3", "w4")]
        rest = await asyncio.gather(*both, wait(step, "w5", "20 s"))
        b = await step.do("B", work, str(two), *rest)
        return b["x"]


async def got(answer: Awaitable[Any]) -> Any:
    """What a wait gives that was asked for before it is awaited."""
    try:
        return seen(await answer)
    except EventTimeout:
        return "late"
    except HeartbeatTimeout:
        return "silent"
    except EventError as error:
        return f"{error.name} {error.message} {seen(error)}"


@app.workflow(name="tokens")
class Tokens(WorkflowEntrypoint[Any]):
    """Waits for answers by their tokens: one that is handed out in a step first, one that is left behind and taken up
    again, and one that may lose a race."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        one = step.wait_for_event("w1", type=EVENT_TYPES[0], timeout="60 s", token=True, sensitive="output")
        a = await step.do("A", work, one.token)
        left = asyncio.ensure_future(got(step.wait_for_event("w2", type=EVENT_TYPES[0], timeout="40 s", token=True)))
        b = asyncio.ensure_future(step.do("B", work, a["x"]))
        await asyncio.wait({left, b}, return_when=asyncio.FIRST_COMPLETED)
        said = [await got(one), str(await b), await left]
        lost = got(step.wait_for_event("w3", type=EVENT_TYPES[0], timeout="20 s", token=True))
        first = await step.race(step.do("C", work, *said), lost)
        d = await step.do("D", work, str(first))
        return d["x"]


@app.workflow(name="answers")
class Answers(WorkflowEntrypoint[Any]):
    """Waits for more answers at once than a call opens when it takes up little."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        options = {"type": EVENT_TYPES[0], "timeout": "30 s", "token": True}
        waits = [got(step.wait_for_event(f"w{n}", sensitive=hidden(f"w{n}"), **options)) for n in range(4)]
        a = await step.do("A", work, *await asyncio.gather(*waits))
        return a["x"]


@app.workflow(name="heartbeats")
class Heartbeats(WorkflowEntrypoint[Any]):
    """Waits for answers of whoever must not be silent: one that is handed out in a step, two that end as it comes."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        options = {"type": EVENT_TYPES[0], "token": True}
        one = step.wait_for_event("w1", timeout="60 s", heartbeat_timeout="15 s", sensitive="output", **options)
        a = await step.do("A", work, one.token)
        said = await got(one)
        both = [
            got(step.wait_for_event(name, timeout=timeout, heartbeat_timeout="15 s", **options))
            for name, timeout in (("w2", "20 s"), ("w3", "10 s"))
        ]
        b = await step.do("B", work, a["x"], said, *await asyncio.gather(*both))
        return b["x"]


SHORT = False
"""Whether the code of ``shortened`` is the one that was cut short."""


@app.workflow(name="shortened")
class Shortened(WorkflowEntrypoint[Any]):
    """While its code is cut short it forgets everything but its first step."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        first = step.do("A", work)
        if SHORT:
            return (await first)["x"]
        naps = [step.sleep("s", "30 s"), step.sleep("t", "40 s"), step.sleep("u", "50 s")]
        a = await first
        b, *_ = await asyncio.gather(step.do("B", work, a["x"]), *naps)
        c = await step.do("C", work, a["x"], b["x"])
        return c["x"]


@app.workflow(name="retry")
class Retrying(WorkflowEntrypoint[Any]):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        options = {"retries": {"limit": 2, "delay": "10 s", "backoff": "linear"}}
        try:
            a = (await step.do(FLAKY, options, work))["x"]
        except RuntimeError as error:
            a = str(error)
        b = await step.do("B", work, a)
        return b["x"]


@app.workflow(name="impatient")
class Impatient(WorkflowEntrypoint[Any]):
    """Retries at once, and fails for good when they are used up."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        a = await step.do(FLAKY, {"retries": {"limit": 1, "delay": 0, "backoff": "constant"}}, work)
        return a["x"]


@app.workflow(name="poll")
class Polling(WorkflowEntrypoint[Any]):
    """Looks now and then, beside something else, and may not find it in time."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        a = step.do("A", work)
        try:
            found = (await step.poll(POLLS, work, every="10 s", timeout="25 s"))["x"]
        except PollTimeout as error:
            found = type(error).__name__
        return [found, (await step.do("B", work, (await a)["x"]))["x"]]


@app.workflow(name="once")
class Once(WorkflowEntrypoint[Any]):
    """Runs at most once what may be cut off: with no other attempt, with one more, and as a handler."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        found: list[Any] = []
        for retries in (None, {"limit": 1, "delay": "5 s"}, {"limit": 2, "delay": 0}):
            handled = {"rollback": undo, "rollback_config": {"semantics": "at_most_once"}} if found else {}
            try:
                ended = await step.do(FLAKY, work, *found, retries=retries, semantics="at_most_once", **handled)
                found.append(ended["x"])
            except (RuntimeError, StepInterrupted) as error:
                found.append(type(error).__name__)
        if "StepInterrupted" in found:
            raise RuntimeError("undo it")
        return found


def undo(output: Any, error: BaseException) -> None:
    """What undoes every step."""
    raise AssertionError("the simulator calls no handlers")


@app.workflow(name="saga")
class Saga(WorkflowEntrypoint[Any]):
    """Fails with much of it open, after steps with handlers: one whose failure was caught, one that lost a race."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        options = {"retries": {"limit": 1, "delay": "5 s"}}
        a = (await step.do("A", work, rollback=undo))["x"]
        try:
            a = (await step.do(FLAKY, options, work, a, rollback=undo, rollback_config=options))["x"]
        except RuntimeError as error:
            a = str(error)
        first = await step.race(step.do("B", work, a, rollback=undo), step.do("B", work, rollback=undo))
        rest = [step.do("C", work, first["x"], rollback=undo), step.do("D", work), step.do(HANGS, work, rollback=undo)]
        rest += [step.sleep("s", "30 s")]
        rest += [step.wait_for_event("w1", type=EVENT_TYPES[0], timeout="20 s", sensitive="output")]
        await asyncio.wait(rest, return_when=asyncio.FIRST_COMPLETED)
        raise RuntimeError("failed")


@app.workflow(name="sleeper")
class Sleeper(WorkflowEntrypoint[Any]):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        await step.sleep("s", "30 s")
        a = await step.do("A", work)
        await step.sleep_until("u", event.timestamp.timestamp() * 1000 + 45_000)
        return a["x"]


@app.workflow(name="side-sleeper")
class SideSleeper(WorkflowEntrypoint[Any]):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        a, _ = await asyncio.gather(step.do("A", work), step.sleep("s", "30 s"))
        b = await step.do("B", work, a["x"])
        return b["x"]


@app.workflow(name="crowd")
class Crowd(WorkflowEntrypoint[Any]):
    """More at once than a call takes up, when that is little; it shows how far it is."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        step.publish("stage", "asking")
        step.publish("begun", True)
        sleeps = [step.sleep(f"s{n}", f"{n} s") for n in (20, 30, 40)]
        a, b, *_ = await asyncio.gather(step.do("A", work), step.do(FLAKY, work), *sleeps, wait(step, "w1"))
        step.publish("stage", [a["x"], b["x"]])
        c = await step.do("C", work, a["x"], b["x"])
        step.publish("stage", "done")
        return c["x"]


@app.workflow(name="parent")
class Parent(WorkflowEntrypoint[Any]):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        try:
            child = await step.invoke("sequential")
        except Exception as error:
            child = type(error).__name__
        a = await step.do("A", work, child)
        return a["x"]


@app.workflow(name="guardian")
class Guardian(WorkflowEntrypoint[Any]):
    """Takes its children along: the loser of a race, and whatever it waits for when it ends."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        left = step.invoke("waits", on_parent_end="cancel")
        lost = step.invoke("sequential", on_parent_end="terminate")
        try:
            first = await step.race(lost, step.do("A", work))
        except Exception as error:
            first = type(error).__name__
        b = await step.do("B", work, str(first))
        if b["x"] % 3 == 0:
            return b["x"]
        try:
            child = await left
        except Exception as error:
            child = type(error).__name__
        return (await step.do("C", work, str(child)))["x"]


@app.workflow(name="random")
class Random(WorkflowEntrypoint[Any]):
    """Params: a program made by ``random_program``."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        return await perform(event.payload["program"], step, [])


def random_program(rng: random.Random, depth: int = 2) -> list[list[Any]]:
    """A program for ``perform``: up to four operations, each maybe with programs inside."""
    program: list[list[Any]] = []
    for _ in range(rng.randint(1, 4)):
        kinds = ["do", "do", "handled", "wait", "sleep", "flaky", "rejoin", "cancel", "publish"]
        if depth:
            kinds += ["gather", "race", "first", "spawn"]
        kind = rng.choice(kinds)
        if kind in ("gather", "race", "first"):
            program.append([kind, [random_program(rng, depth - 1) for _ in range(rng.randint(1, 3))]])
        elif kind == "spawn":
            program.append([kind, random_program(rng, depth - 1)])
        else:
            program.append([kind, rng.choice(("a", "b"))])
    return program


async def perform(program: Any, step: WorkflowStep, kept: list[asyncio.Future[Any]]) -> Any:
    """Interpret a program; the arguments of its steps are what it has seen so far."""
    found: list[Any] = []
    for kind, argument in program:
        match kind:
            case "do":
                found.append((await step.do(argument, work, *found))["x"])
            case "handled":
                found.append((await step.do(argument, work, *found, rollback=undo))["x"])
            case "flaky":
                try:
                    found.append((await step.do(FLAKY, {"retries": {"limit": 1, "delay": "5 s"}}, work, *found))["x"])
                except RuntimeError as error:
                    found.append(str(error))
            case "wait":
                found.append(await wait(step, argument, "20 s"))
            case "sleep":
                await step.sleep(argument, "10 s")
            case "gather":
                found += await asyncio.gather(*[perform(part, step, []) for part in argument])
            case "race":
                found.append(await step.race(*[perform(part, step, []) for part in argument]))
            case "first":
                tasks = [asyncio.ensure_future(perform(part, step, [])) for part in argument]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                kept += tasks
            case "spawn":
                kept.append(asyncio.ensure_future(perform(argument, step, [])))
            case "rejoin":
                if kept:
                    try:
                        found.append(await kept.pop())
                    except asyncio.CancelledError:
                        found.append("gone")
            case "cancel":
                if kept:
                    kept.pop(0).cancel()
            case "publish":
                step.publish(argument, [str(one) for one in found])
    return [str(one) for one in found]


@app.workflow(name="entity")
class Entity(WorkflowEntrypoint[Any]):
    """Goes on as other lives, each of which is told what those before it have received."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        told = list(event.payload.get("told", ()))
        other = asyncio.ensure_future(wait(step, "other"))
        told.append(await wait(step, "W"))
        if told[-1] == "late":
            await step.do("A", work, told[-1])
        if other.done():
            told.append(other.result())
        other.cancel()
        step.publish("told", told)
        if len(told) == 1:
            step.publish("first", told[0])
        if len(told) < 4:
            step.continue_as({**event.payload, "told": told})
        return told


@app.workflow(name="reborn")
class Reborn(WorkflowEntrypoint[Any]):
    """The same with waits for a key and for an answer, which may come when its life is over."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        told = list(event.payload.get("told", ()))
        options = {"type": EVENT_TYPES[0], "timeout": "60 s", "token": True}
        asked = step.wait_for_event("answer", **options)
        answer = asyncio.ensure_future(got(asked))
        lost = got(step.wait_for_event("lost", sensitive="output", **options))
        first = await step.race(step.do("A", work, asked.token), lost)
        told += [first] if isinstance(first, str) else []
        told.append(await wait(step, "W", "20 s", key=KEY))
        if answer.done():
            told.append(answer.result())
        answer.cancel()
        step.publish("told", told)
        if len(told) < 4:
            step.continue_as({**event.payload, "told": told})
        return told


ENTITIES = ("entity", "reborn", "streaming")
"""Those that go on as other lives."""
PUBLISHES = "entity"
"""The one of them that shows values."""


@app.workflow(name="cleanup")
class CleansUp(WorkflowEntrypoint[Any]):
    """Asked to end it cleans up and ends by that, waits for what does not come, or goes on as if nothing were."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        a = await step.do("A", work, rollback=undo)
        paid = step.do("B", work, a["x"])
        try:
            await asyncio.gather(wait(step, "w1", "20 s"), asyncio.shield(paid), step.do("C", work))
        except WorkflowCancelled as cancelled:
            b = await paid
            if b["x"] % 3 == 0:
                await asyncio.gather(step.do("D", work, b["x"], cancelled.reason), step.do("E", work))
                raise
            if b["x"] % 3 == 1:
                await step.do(HANGS, work)
            two = await wait(step, "w2", "40 s")
            return (await step.do("D", work, two))["x"]
        return a["x"]


@app.workflow(name="streaming")
class Streaming(WorkflowEntrypoint[Any]):
    """Has streams one after the other and beside others, gives one up, and does so again in another life."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        options = {"retries": {"limit": 2, "delay": 0}}
        try:
            a, b = await asyncio.gather(step.do(STREAMS, options, work), step.do(STREAMS, options, work))
            c = await step.race(step.do(STREAMS, options, work, a["x"], b["x"]), step.do("C", work))
        except (RuntimeError, StreamLost) as error:
            c = {"x": type(error).__name__}
        if "lives" not in event.payload:
            step.continue_as({**event.payload, "lives": 2})
        return c["x"]


NAMES = (
    "sequential",
    "long",
    "parallel",
    "branches",
    "chance",
    "race",
    "race-hanging",
    "waits",
    "race-wait",
    "rivals",
    "detached",
    "types",
    "any",
    "keyed",
    "tokens",
    "answers",
    "entity",
    "reborn",
    "heartbeats",
    "shortened",
    "retry",
    "impatient",
    "poll",
    "once",
    "saga",
    "sleeper",
    "side-sleeper",
    "crowd",
    "parent",
    "guardian",
    "random",
    "cleanup",
    "streaming",
)

WAITING = (
    *("waits", "race-wait", "race-wait", "rivals", "detached", "detached", "types", "types"),
    *("any", "any", "keyed", "keyed", "tokens", "tokens", "answers", "heartbeats"),
    *("random", "entity", "entity", "reborn", "reborn"),
)
"""Those that events can go wrong in."""
