"""Workflows for the tests of the plugin."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

from workflows import (
    App,
    ByteStream,
    Concurrency,
    NonRetryableError,
    Retry,
    WorkflowEntrypoint,
    WorkflowEvent,
    WorkflowStep,
    WorkflowTimeoutError,
)

app = App("shop")
TRIES = Retry(limit=3, delay="10 minutes", backoff="constant")


@app.bindings
def bindings() -> dict[str, Any]:
    return {"PRICE": 3}


@app.workflow
class Order(WorkflowEntrypoint):
    """Two steps of one name around a sleep; the second one always fails."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        first = await step.do("call", lambda: "first")
        await step.sleep("pause", "1 hour")
        second = await step.do("call", self.fail, retries=TRIES)
        return [first, second]

    async def fail(self) -> None:
        raise ConnectionError("unreachable")


@app.workflow
class Mail(WorkflowEntrypoint):
    """One wait for two events, one after the other."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        return [(await step.wait_for_event("letter", type="letter")).payload for _ in range(2)]


@app.workflow
class Quick(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        return await step.do("double", lambda: event.payload["n"] * 2)


@app.workflow
class Archive(WorkflowEntrypoint):
    """A stream, which another step and ``run`` read."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        pages = await step.do("download", download)
        return [await step.do("join", joined, pages), b"".join([chunk async for chunk in pages])]


def download() -> Iterator[bytes]:
    raise AssertionError("there is no line")
    yield b""


def joined(pages: ByteStream) -> bytes:
    return b"".join(pages)


class Meeting:
    """Where two of a tenant meet; counts how many were there at once."""

    def __init__(self) -> None:
        self.most = self._now = 0
        self._lock = threading.Lock()
        self._both = threading.Barrier(2, timeout=20)

    def attend(self) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        self._both.wait()
        with self._lock:
            self._now -= 1
        self._both.wait()


meetings = {"a": Meeting(), "b": Meeting()}


@app.workflow(concurrency=Concurrency(2, key="tenant"))
class Limited(WorkflowEntrypoint):
    """Sleeps for a day if asked to, and meets another one of its tenant."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        if event.payload.get("sleeps"):
            await step.sleep("nap", "1 day")
        else:
            await step.do("meet", lambda: meetings[event.payload["tenant"]].attend())


def part(number: int) -> int:
    return number


@app.workflow
class Fan(WorkflowEntrypoint):
    """Steps side by side, a child, and a race."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        parts = await asyncio.gather(*[step.do(f"part {n}", part, n) for n in range(3)])
        child = await step.invoke(Quick, {"n": sum(parts)})
        winner = await step.race(step.wait_for_event("never", type="never"), step.do("fast", lambda: "fast"))
        return [parts, child, winner]


@app.workflow
class Order7(WorkflowEntrypoint):
    """Seven days, three retries of ten minutes, 48 hours."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        await step.sleep("week", "7 days")
        tried = await step.do("flaky", self.flaky, retries=TRIES)
        reply = await step.race(step.wait_for_event("reply", type="reply", timeout="49h"), step.sleep("over", "48h"))
        return [tried, reply]

    def flaky(self, ctx: Any) -> str:
        if ctx.attempt <= 3:
            raise ConnectionError("busy")
        return "tried"


@app.workflow
class Order3(WorkflowEntrypoint):
    """Three sleeps side by side, ending in another order than they began."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        ended: list[str] = []

        async def nap(hours: int) -> None:
            await step.sleep(f"nap {hours}", f"{hours} hours")
            ended.append(f"{hours} at {(step.now() - event.timestamp).total_seconds() / 3600:g}")
            await step.do(f"after {hours}", lambda: None)
            ended.append(f"after {hours}")

        await asyncio.gather(nap(3), nap(1), nap(2))
        return ended


@app.workflow
class Hopeless(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        await step.do("refuse", self.refuse)

    def refuse(self) -> None:
        raise NonRetryableError("no")


@app.workflow
class Patient(WorkflowEntrypoint):
    """Two waits for one type of event, the second after an hour in which nobody waits."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        try:
            first = (await step.wait_for_event("first", type="letter", timeout="1 hour")).payload
        except WorkflowTimeoutError:
            first = "no letter"
        await step.sleep("pause", "1 hour")
        return [first, (await step.wait_for_event("second", type="letter", timeout="1 hour")).payload]
