"""The workflows that are measured. Their steps do nothing, so that what is left is the engine."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from workflows import App, WorkflowEntrypoint, WorkflowEvent, WorkflowStep

app = App("benchmark")


def nothing() -> None:
    """A plain function, as RQ's job is: it goes through a thread, which an async one would not."""


def moment() -> float:
    """Seconds on a clock that all processes of a machine share."""
    return time.monotonic()


@app.workflow
class Chain(WorkflowEntrypoint):
    """Params: ``steps``, how many to do one after the other. Returns when each of them ran."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> list[float]:
        return [await step.do(f"step {number}", moment) for number in range(event.params.steps)]


@app.workflow
class FanOut(WorkflowEntrypoint):
    """Params: ``steps``, how many to do at once."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> None:
        await asyncio.gather(*[step.do(f"step {number}", nothing) for number in range(event.params.steps)])


@app.workflow
class OneStep(WorkflowEntrypoint):
    """The shortest instance there is with a step."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> None:
        await step.do("step", nothing)


@app.workflow
class Listener(WorkflowEntrypoint):
    """Ends with the event it waits for."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> None:
        await step.wait_for_event("go", type="go")


@app.workflow
class Nap(WorkflowEntrypoint):
    """Params: ``ms``, how long to sleep."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> None:
        await step.sleep("nap", event.params.ms)
