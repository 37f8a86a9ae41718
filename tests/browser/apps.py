"""What the tests in a browser look at: orders that wait for a person, and payments that fail until they are mended."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from tests.acceptance.apps import FOLDER_VARIABLE
from workflows import App, NonRetryableError, WorkflowEntrypoint, WorkflowEvent

app = App("shop")


class OrderParams(BaseModel):
    total: int
    express: bool = False
    delivery: Literal["van", "bike"] = "van"


@app.workflow
class OrderWorkflow(WorkflowEntrypoint):
    """Charges, waits until somebody has packed, and ships."""

    async def run(self, event: WorkflowEvent[OrderParams], step):  # type: ignore[no-untyped-def]
        params = event.payload
        await step.do("charge card", charge, params.total)
        packed = await step.wait_for_event("wait for packing", type="packed", timeout="2 days")
        await step.do("ship", ship)
        return {"packed by": packed.payload["by"], "delivery": params.delivery}


async def charge(total, ctx):  # type: ignore[no-untyped-def]
    return f"receipt for {total}"


async def ship(ctx):  # type: ignore[no-untyped-def]
    return "shipped"


@app.workflow
class SlowWorkflow(WorkflowEntrypoint):
    """Goes through three steps, one after the other, each as soon as the test lets it."""

    async def run(self, event, step):  # type: ignore[no-untyped-def]
        for number in range(3):
            await step.do(f"part {number + 1}", pass_gate, event.instance_id, number)
        return "all parts"


async def pass_gate(instance, number, ctx):  # type: ignore[no-untyped-def]
    gate = Path(os.environ[FOLDER_VARIABLE]) / f"gate-{instance}-{number}"
    while not gate.exists():
        await asyncio.sleep(0.02)
    return number


@app.workflow
class PaymentWorkflow(WorkflowEntrypoint):
    """Fails for as long as the bank is closed."""

    async def run(self, event, step):  # type: ignore[no-untyped-def]
        await step.do("reserve", reserve)
        return await step.do("pay", pay)


async def reserve(ctx):  # type: ignore[no-untyped-def]
    return "reserved"


async def pay(ctx):  # type: ignore[no-untyped-def]
    if not (Path(os.environ[FOLDER_VARIABLE]) / "gate-bank").exists():
        raise NonRetryableError("the bank is closed", "BankClosed")
    return "paid"
