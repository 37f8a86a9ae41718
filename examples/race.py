"""Race: ask twice, go on with whoever answers first.

Shows two ways. Plain ``asyncio.wait(..., FIRST_COMPLETED)`` works, because the order in which results were kept
decides and a replay keeps that order: the winner stays the winner. ``step.race`` says the same in one line. The
losing step is called off: it is not tried again, and when it runs already, ``ctx.cancelled`` tells it to stop early.
Try it with ``python -m examples.race``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from examples.environment import app
from examples.scene import Place, Promise
from workflows import StepContext, WorkflowEntrypoint, WorkflowEvent, WorkflowStep


@app.workflow
class RaceWorkflow(WorkflowEntrypoint):
    """Params: ``slowSeconds``, optionally: how long the slow option takes when nobody stops it (30)."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> dict[str, str]:
        slow_seconds = event.params.get("slowSeconds", 30)

        racers = {
            asyncio.ensure_future(step.do("option A", slow_operation, slow_seconds)),
            asyncio.ensure_future(step.do("option B", fast_operation)),
        }
        done, pending = await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
        for loser in pending:
            loser.cancel()
        first = done.pop().result()

        second = await step.race(
            step.do("option C", slow_operation, slow_seconds),
            step.do("option D", fast_operation),
        )
        return {"with asyncio.wait": first, "with step.race": second}


def slow_operation(seconds: float, *, ctx: StepContext) -> str:
    """Takes its time, and stops early when its result is no longer wanted."""
    ctx.cancelled.wait(seconds)
    return "slow"


async def fast_operation() -> str:
    """Answers after a moment."""
    await asyncio.sleep(0.05)
    return "fast"


def demonstrate(place: Place) -> list[Promise]:
    """The fast option wins twice."""
    instance = place.client.workflow("race-workflow").create(params={})
    return [Promise(instance, output={"with asyncio.wait": "fast", "with step.race": "fast"})]


if __name__ == "__main__":
    from examples.demo import play

    raise SystemExit(play(app, [demonstrate]))
