"""A program as users write it. Type checkers read it and nothing runs it: every ``assert_type`` is an expectation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, assert_type

from pydantic import BaseModel

from workflows import (
    App,
    AsyncClient,
    BatchError,
    BulkResult,
    ByteStream,
    Client,
    CreateOptions,
    InstanceRef,
    MapResult,
    ReceivedEvent,
    Retry,
    StepContext,
    StepStatus,
    WorkflowEntrypoint,
    WorkflowEvent,
    WorkflowInstance,
    WorkflowStep,
    WorkflowTimeoutError,
    external_name,
    workflow_id,
)


class OrderParams(BaseModel):
    total: int
    email: str | None = None


class Receipt(TypedDict):
    number: str
    total: int


@dataclass
class Parcel:
    weight_g: int


class Mailer:
    def send(self, to: str, subject: str) -> str:
        return f"{to}: {subject}"


def pages(count: int) -> Iterator[bytes]:
    yield b"page" * count


async def pages_awaited() -> AsyncIterator[bytes]:
    yield b"page"


@dataclass
class Env:
    MAIL: Mailer


app = App("shop", queues=("default", "gpu"))


@app.bindings
def bindings() -> Iterator[Env]:
    yield Env(Mailer())


def charge(total: int, ctx: StepContext) -> Receipt:
    assert_type(ctx.attempt, int)
    assert_type(ctx.idempotency_key, str)
    return {"number": ctx.idempotency_key, "total": total}


async def weigh(receipt: Receipt) -> Parcel:
    await asyncio.sleep(0)
    return Parcel(receipt["total"])


@app.workflow
class PackingWorkflow(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> list[int]:
        assert_type(event.payload, Any)
        return await step.do("weights", lambda: [1, 2])


@app.workflow(schedules="0 9 * * *", retention="7 days", limits={"steps": 100}, queue="gpu")
class OrderWorkflow(WorkflowEntrypoint[Env]):
    async def run(self, event: WorkflowEvent[OrderParams], step: WorkflowStep) -> dict[str, str]:
        assert_type(event.payload, OrderParams)
        assert_type(event.params.total, int)
        assert_type(event.timestamp, datetime)
        assert_type(event.instance_id, str)
        assert_type(self.env.MAIL, Mailer)
        assert_type(self.ctx.instance_id, str)

        await self.direct(event, step)
        await self.decorated(step)
        await self.several(step)
        await self.waiting(step)
        return {"status": "shipped"}

    async def direct(self, event: WorkflowEvent[OrderParams], step: WorkflowStep) -> None:
        receipt = await step.do("charge", charge, event.payload.total)
        assert_type(receipt, Receipt)
        assert_type(await step.do("weigh", weigh, receipt), Parcel)
        assert_type(await step.do("mail", lambda: self.env.MAIL.send("a@b", "hello")), str)
        assert_type(await step.do("by method", self.env.MAIL.send, "a@b", subject="hello"), str)
        patient = Retry(limit=5, delay="10s", backoff="exponential")
        assert_type(await step.do("options", charge, 1, retries=patient, timeout="1 minute", queue="gpu"), Receipt)
        assert_type(await step.do("secret", weigh, receipt, sensitive="output"), Parcel)
        assert_type(await step.do("once", charge, 1, semantics="at_most_once"), Receipt)
        assert_type(await step.do("stream", pages, 3), ByteStream)
        assert_type(await step.do("async stream", {"timeout": "1 minute"}, pages_awaited), ByteStream)
        heavy = await step.poll("weight", weigh, receipt, until=lambda parcel: parcel.weight_g > 1, every="1 minute")
        assert_type(heavy, Parcel)
        assert_type(await step.poll("ready", lambda: "yes", every=timedelta(seconds=5), timeout="1h"), str)
        picky = Retry(on=[OSError, TimeoutError], not_on=ConnectionError, backoff_rate=1.5)
        assert_type(await step.do("picky", weigh, receipt, retries=picky), Parcel)
        config = {"retries": {"limit": 3, "delay": "5 seconds"}, "timeout": timedelta(minutes=1)}
        assert_type(await step.do("mapping", config, charge, 1), Receipt)
        assert_type(await step.do("async mapping", config, weigh, receipt), Parcel)
        assert_type(await step.do("named mapping", weigh, receipt, config=config), Parcel)

    async def decorated(self, step: WorkflowStep) -> None:
        @step.do("fetch", timeout="1 minute")
        async def fetch() -> Parcel:
            return Parcel(1)

        @step.do("count")
        def count(fetch: Parcel) -> int:
            return fetch.weight_g

        @step.do
        def bare(ctx: StepContext) -> str:
            return ctx.step.name

        @step.do("both", {"timeout": "1 minute"}, concurrent=True)
        async def both(fetch: Parcel, count: int) -> tuple[int, int]:
            return fetch.weight_g, count

        assert_type(await fetch(), Parcel)
        assert_type(await count(), int)
        assert_type(await bare(), str)
        assert_type(await both(), tuple[int, int])

    async def several(self, step: WorkflowStep) -> None:
        first, second = await asyncio.gather(step.do("a", charge, 1), step.do("b", lambda: 2))
        assert_type(first, Receipt)
        assert_type(second, int)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.parcel(step))
        assert_type(task.result(), Parcel)
        assert_type(await step.race(step.do("c", lambda: 1), step.do("d", lambda: 2)), int)
        assert_type(await step.race(step.do("e", lambda: 1), step.sleep("too long", "1 minute")), int | None)
        assert_type(await step.map("pieces", [1, 2], lambda piece: f"{piece}"), list[str])
        receipts = await step.map("receipts", [1, 2], charge)
        assert_type(receipts, list[Receipt])
        assert_type(await step.map("parcels", receipts, weigh, concurrency=2), list[Parcel])
        some = await step.map("some", [1, 2], charge, max_failures=0.5, item_name=lambda total: f"{total}")
        assert_type(some, MapResult[Receipt])
        assert_type(some.results, list[Receipt])
        assert_type(some.failed[0].error, BaseException | None)
        assert_type((await step.map("any", receipts, weigh, min_successful=1)).outcomes[0].result, Parcel | None)

    async def parcel(self, step: WorkflowStep) -> Parcel:
        return await step.do("parcel", weigh, {"number": "1", "total": 2})

    async def waiting(self, step: WorkflowStep) -> None:
        try:
            packed = await step.wait_for_event("packing", type="packed", timeout="2 days")
            answer = step.wait_for_event("answer", type="packed", token=True, heartbeat_timeout="5 minutes")
            assert_type(answer.token, str)
            assert_type(await step.wait_for_any("next", ("packed", "cancelled"), timeout="2 days"), ReceivedEvent)
        except WorkflowTimeoutError as late:
            await step.do("complain", print, f"{late}")
            return
        assert_type(packed, ReceivedEvent)
        assert_type(packed.payload, Any)
        assert_type(packed.by, Any)
        await step.sleep("a while", timedelta(hours=1))
        await step.sleep_until("tomorrow", step.now() + timedelta(days=1))
        assert_type(step.random(), float)
        # What run returns travels as plain data, whatever its annotation, so nothing is promised here or by result().
        assert_type(await step.invoke(PackingWorkflow, {"order": 1}), Any)
        child = await step.do("child", lambda: InstanceRef("packing-workflow", "packing-1"))
        assert_type(await step.wait_for_child("its end", child), Any)


@app.cron("30 2 * * *")
async def nightly(event: WorkflowEvent, env: Any) -> None:
    await env.ORDER_WORKFLOW.create(id=f"nightly-{int(event.scheduled_time)}")


def produce() -> None:
    with Client(app) as client:
        orders = client.workflow(OrderWorkflow)
        order = orders.create(id="order-1", params={"total": 30})
        assert_type(order.id, str)
        assert_type(order.send_event("packed", {"by": "Bo"}), str)
        assert_type(order.send_event("packed", error="no box left"), str)
        assert_type(client.send_event("packed", {"by": "Bo"}, key="o-1", workflow="order"), list[InstanceRef])
        assert_type(client.send_event(token="t", payload={"by": "Bo"}), str)
        client.heartbeat("t")
        assert_type(client.workflow("order").send_event("o-1", "packed", {"by": "Bo"}, create_with={"total": 1}), str)
        assert_type(order.send_event("packed", error={"message": "no box left", "name": "Empty"}), str)
        assert_type(order.result(timeout="30 seconds"), Any)
        status = order.status()
        assert_type(status.output, Any)
        assert_type(status.reason, str | None)
        assert_type(status.ended_at, datetime | None)
        for done in status.steps:
            assert_type(done, StepStatus)
        for one in orders.create_batch([CreateOptions(id="order-2"), {"id": "order-3"}]):
            one.pause()
        batch = orders.create_batch({"count": 2, "params": {"total": 1}})
        assert_type(batch.created, list[WorkflowInstance])
        assert_type(batch.errors[0].id, str | None)
        assert_type(orders.delete_batch(["order-2"]).deleted, list[str])
        assert_type(orders.terminate_all(status="waiting").done, int)
        assert_type(client.workflow("order-workflow").get("order-1"), WorkflowInstance)
        page = orders.list(status="running", limit=10)
        assert_type(page[0].created_at, datetime)
        assert_type([listed.id for listed in page], list[str])
        assert_type(page.cursor, str | None)
        some = orders.list(created_from=datetime.now(UTC), ended_before=None, metadata={"customer": "acme"})
        assert_type(dict(some[0].metadata), dict[str, str])
        assert_type(orders.pause_all(created_before=datetime.now(UTC)).skipped, int)
        orders.create(metadata={"customer": "acme"})
        assert_type(external_name(orders.create(id=workflow_id("order:7")).id), str)


async def produce_side_by_side() -> None:
    async with AsyncClient("shop", "redis://localhost") as client:
        orders = client.workflow(OrderWorkflow)
        order = await orders.create(id="order-1", params=OrderParams(total=30))
        assert_type(await order.send_event("packed"), str)
        assert_type(await order.send_event("packed", error=ValueError("no box left")), str)
        assert_type(await order.result(timeout=30_000), Any)
        status = await order.status()
        async for done in status.steps:
            assert_type(done, StepStatus)
        assert_type((await orders.create_batch({"instances": [{"id": "order-2"}]})).errors, list[BatchError])
        assert_type(await orders.delete_all("complete", progress=lambda so_far: print(so_far.done)), BulkResult)
        by_name = await client.workflow("order-workflow").create()
        assert_type(by_name.id, str)
        assert_type([listed.id for listed in await orders.list()], list[str])
