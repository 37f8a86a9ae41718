"""The workflows of the golden set. Their instances are stored in this folder, so nothing here may ever change."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from workflows import App, Retry, StepContext, WorkflowEntrypoint, WorkflowEvent, WorkflowStep

FOLDER_VARIABLE = "ACCEPTANCE_FOLDER"
app = App("golden", queues=("default", "gpu"))


def echo(value: Any) -> Any:
    return value


def gated(gate: str, value: Any) -> Any:
    """Does not come back before the gate is open."""
    while not (Path(os.environ[FOLDER_VARIABLE]) / f"gate-{gate}").exists():
        time.sleep(0.01)
    return value


def late(ctx: StepContext) -> int:
    """Fails once."""
    if ctx.attempt == 1:
        raise OSError("not yet")
    return ctx.attempt


@app.workflow
class Order(WorkflowEntrypoint[Any]):
    """A step, a wait, a sleep, a step."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        charged = await step.do("charge card", lambda: echo({"amount": event.payload["amount"]}))
        approval = await step.wait_for_event("approval", type="approved", timeout="300 days")
        await step.sleep("cool down", "1 second")
        return await step.do("send receipt", lambda: echo([charged, approval.payload]))


@app.workflow
class Nap(WorkflowEntrypoint[Any]):
    """Sleeps for so many seconds."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        await step.sleep("nap", event.payload * 1000)
        return "rested"


@app.workflow
class Gated(WorkflowEntrypoint[Any]):
    """A step that a test lets go."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        return await step.do("stand", lambda: gated("stand", event.payload))


@app.workflow
class Elsewhere(WorkflowEntrypoint[Any]):
    """A step for a queue of its own."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        return await step.do("render", lambda: echo("rendered"), queue="gpu")


@app.workflow
class Retried(WorkflowEntrypoint[Any]):
    """A step that waits for its second attempt."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        return await step.do("try", late, retries=Retry(limit=3, delay="30 seconds", backoff="constant"))


@app.workflow
class Parent(WorkflowEntrypoint[Any]):
    """Waits for a child."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        await step.do("prepare", lambda: gated("ask", None) if event.payload["gated"] else echo(None))
        return await step.invoke(Order, {"amount": 7}, id=event.payload["child"])


@app.workflow
class Race(WorkflowEntrypoint[Any]):
    """A wait that is left behind by another, and awaited later."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        slow = asyncio.ensure_future(step.wait_for_event("slow", type="slow", timeout="300 days"))
        quick = asyncio.ensure_future(step.do("quick", lambda: echo(1)))
        await asyncio.wait({slow, quick}, return_when=asyncio.FIRST_COMPLETED)
        await step.do("in between", lambda: echo(2))
        return (await slow).payload


@app.workflow
class Crowd(WorkflowEntrypoint[Any]):
    """More waits than one call takes up."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        await asyncio.gather(*(step.wait_for_event(f"w{n}", type=f"t{n % 7}", timeout="300 days") for n in range(600)))


class Address(BaseModel):
    """Params that not everybody gives."""

    street: str


@app.workflow
class Parcel(WorkflowEntrypoint[Address]):
    """Its params have a model."""

    async def run(self, event: WorkflowEvent[Address], step: WorkflowStep) -> Any:
        return await step.do("label", lambda: echo(event.payload.street))


@app.workflow
class Fails(WorkflowEntrypoint[Any]):
    """Raises."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        raise ValueError("as ever")
