"""The workflows of the storm. Workers load this module; the storm uses it to create instances.

What a step does has a name of ``run``'s own making, ``work``, which the ledger keeps beside the idempotency key. It
holds ``params["life"]``, which every creation has its own of.

Steps of one name and one instance follow each other: what runs side by side has names of its own (checks.py).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from typing import Any

from tests.torture.ledger import note
from workflows import App, PoisonError, WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from workflows.authoring.context import StepContext

RETENTION = "90 seconds"

app = App("storm")


def quick(work: str, value: Any, ctx: StepContext) -> Any:
    """A plain step that takes no time."""
    note(ctx, work, "start")
    note(ctx, work, "end")
    return value


async def brief(work: str, value: Any, seconds: float, ctx: StepContext) -> Any:
    """An async step of up to so many seconds: another run of it is faster or slower."""
    note(ctx, work, "start")
    await asyncio.sleep(random.uniform(0, seconds))
    note(ctx, work, "end")
    return value


async def long_async(work: str, seconds: float, ctx: StepContext) -> str:
    note(ctx, work, "start")
    await asyncio.sleep(seconds)
    note(ctx, work, "end")
    return "well"


def long_plain(work: str, seconds: float, ctx: StepContext) -> str:
    note(ctx, work, "start")
    time.sleep(seconds)
    note(ctx, work, "end")
    return "well"


def die(work: str, how: str, ctx: StepContext) -> None:
    """As a segmentation fault would, or a library that calls ``exit``."""
    note(ctx, work, "start")
    note(ctx, work, "die")
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)


@app.workflow(retention=RETENTION)
class Branches(WorkflowEntrypoint[Any]):
    """Three branches side by side, each of several steps of one name; which one is ahead is a matter of luck.

    Params: ``steps`` of each branch, ``seconds`` that one takes at most, ``event``: wait for ``go`` in the end.
    """

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> int:
        p, here = event.params, f"{event.params.life}/{event.instance_id}"

        async def branch(number: int) -> int:
            total = 0
            for n in range(p.steps):
                work = f"{here}/branch {number}/{n}"
                if (n + number) % 3:
                    total += await step.do(f"branch {number}", quick, work, n)
                else:
                    total += await step.do(f"branch {number}", brief, work, n, p.seconds)
                if n == 1 and number == 1:
                    await step.sleep("nap", 50)
            return total

        total = sum(await asyncio.gather(*(branch(number) for number in range(3))))
        if p.event:
            total += (await step.wait_for_event("go", type="go")).payload
        return int(await step.do("sum", quick, f"{here}/sum", total))


@app.workflow(retention=RETENTION)
class Racing(WorkflowEntrypoint[Any]):
    """A race, and a step whose name depends on who won."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        here = f"{event.params.life}/{event.instance_id}"
        winner: str = await step.race(
            step.do("left", brief, f"{here}/left", "left", 0.2),
            step.do("right", brief, f"{here}/right", "right", 0.2),
        )
        await step.do(f"tell {winner}", quick, f"{here}/tell {winner}", None)
        await step.do(f"tell {winner}", quick, f"{here}/tell {winner} again", None)
        return "raced"


@app.workflow(retention=RETENTION)
class Long(WorkflowEntrypoint[Any]):
    """One healthy step of ``seconds``, on the loop or in a thread (``plain``)."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        p, work = event.params, f"{event.params.life}/{event.instance_id}/long"
        return await step.do("long", long_plain if p.plain else long_async, work, p.seconds)


@app.workflow(retention=RETENTION)
class Killer(WorkflowEntrypoint[Any]):
    """A step that ends its process, ``how``: ``exit`` or ``signal``."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        try:
            await step.do("die", die, f"{event.params.life}/{event.instance_id}/die", event.params.how)
        except PoisonError as error:
            return type(error).__name__
        return "alive"


@app.workflow(retention=RETENTION)
class Large(WorkflowEntrypoint[Any]):
    """As much of one thing (``of``: waits, steps, bytes or mail) as ``count`` says."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> int:
        p, here = event.params, f"{event.params.life}/{event.instance_id}"
        match p.of:
            case "waits":
                waits = [step.wait_for_event(f"wait {n}", type=f"type-{n % 50}") for n in range(p.count)]
                return len(await asyncio.gather(*waits))
            case "steps":
                steps = [step.do(f"one {n}", brief, f"{here}/one {n}", n, 0.05) for n in range(p.count)]
                return len(await asyncio.gather(*steps))
            case "bytes":
                return len(await step.do("text", quick, f"{here}/text", "x" * p.count))
            case _:
                await step.wait_for_event("read", type="read")
                return sum([(await step.wait_for_event("mail", type="mail")).payload for _ in range(p.count)])
