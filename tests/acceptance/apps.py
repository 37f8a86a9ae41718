"""The workflows of the acceptance tests. Workers load this module; tests use it to create instances.

Every callback that matters writes to the ledger, a plain file outside of Redis. A gate is a file as well: a callback
stands before it until a test makes it.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from workflows import (
    App,
    ByteStream,
    Concurrency,
    EventTimeout,
    NonRetryableError,
    PoisonError,
    Retry,
    StepInterrupted,
    StepTimeout,
    WorkflowEntrypoint,
    WorkflowEvent,
    WorkflowStep,
)
from workflows.authoring.context import StepContext, running

FOLDER_VARIABLE = "ACCEPTANCE_FOLDER"
LOOK_SECONDS = 0.005
GATE_SECONDS = 50.0
HALF_BYTES = 600_000  # two stored chunks, and a part of a third
NO_RETRY = Retry(limit=0)

app = App("acceptance", queues=("default", "gpu"))
partial = App("acceptance", queues=("default", "gpu"))
ticking = App("ticking")


class Broken(Exception):
    """What a step raises here."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code


# Callbacks


def note(key: str, what: str) -> None:
    """Append one line to the ledger, for the attempt that is running."""
    context = running.get()
    attempt = context.attempt if context else 0
    line = json.dumps({"key": key, "what": what, "attempt": attempt, "pid": os.getpid(), "at": time.time()})
    file = os.open(Path(os.environ[FOLDER_VARIABLE]) / "ledger", os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


def is_open(gate: str) -> bool:
    return (Path(os.environ[FOLDER_VARIABLE]) / f"gate-{gate}").exists()


def quick(key: str, value: Any = None) -> Any:
    """A plain step that takes no time."""
    note(key, "start")
    return value


async def brief(key: str, value: Any = None, seconds: float = 0.0) -> Any:
    """An async step that takes a moment."""
    note(key, "start")
    await asyncio.sleep(seconds)
    note(key, "end")
    return value


def gated(key: str, gate: str, ctx: StepContext) -> int:
    """A plain step that stands before a gate and does not care whether it is cancelled, though it notices.

    ``{attempt}`` in the gate's name is the attempt.
    """
    note(key, "start")
    gate = gate.replace("{attempt}", str(ctx.attempt))
    until = time.monotonic() + GATE_SECONDS
    noticed = False
    while not is_open(gate) and time.monotonic() < until:
        if ctx.cancelled.is_set() and not noticed:
            noticed = True
            note(key, "cancelled")
        time.sleep(LOOK_SECONDS)
    note(key, "end")
    return os.getpid()


async def halves(key: str, gate: str, ctx: StepContext) -> AsyncIterator[bytes]:
    """A stream whose second half stands before the gate of its attempt; which attempt it is of is in every byte."""
    note(key, "start")
    yield bytes([ctx.attempt]) * HALF_BYTES
    note(key, "half")
    until = time.monotonic() + GATE_SECONDS
    while not is_open(gate.replace("{attempt}", str(ctx.attempt))) and time.monotonic() < until:
        await asyncio.sleep(LOOK_SECONDS)
    yield bytes([ctx.attempt]) * HALF_BYTES


def bytes_of(stream: ByteStream) -> dict[str, Any]:
    """How many there are, and which."""
    chunks = list(stream)
    return {"size": sum(map(len, chunks)), "values": sorted(set().union(*chunks))}


async def gated_politely(key: str, gate: str, value: Any = None) -> Any:
    """An async step that stands before a gate."""
    note(key, "start")
    try:
        while not is_open(gate):
            await asyncio.sleep(LOOK_SECONDS)
    except asyncio.CancelledError:
        note(key, "cancelled")
        raise
    note(key, "end")
    return value


def once(key: str, ctx: StepContext) -> str:
    """A plain step that kills its worker in the first attempt, after what it does has happened."""
    note(key, "start")
    if ctx.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def failing(key: str, times: int, ctx: StepContext) -> int:
    """Fails the first so many attempts. Returns: the attempt that did not."""
    note(key, "start")
    if ctx.attempt <= times:
        raise Broken(ctx.attempt, f"attempt {ctx.attempt}")
    return ctx.attempt


async def gated_then_brief(key: str, gate: str) -> None:
    """An async step that stands before a gate, and takes a moment behind it."""
    note(key, "start")
    while not is_open(gate):
        await asyncio.sleep(LOOK_SECONDS)
    await asyncio.sleep(0.03)
    note(key, "end")


# Plain work


@app.workflow(name="at-most-once")
class AtMostOnce(WorkflowEntrypoint[Any]):
    """Each step kills its worker; the second may be tried once more."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> list[Any]:
        id, found = event.instance_id, []
        for name, retries in (("never again", None), ("once more", {"limit": 1, "delay": "100 ms"})):
            try:
                found.append(await step.do(name, once, f"{id}/{name}", retries=retries, semantics="at_most_once"))
            except StepInterrupted as error:
                found.append([str(error), error.attempts])
        return found


@app.workflow(concurrency=Concurrency(3, key="customer.tenant"))
class Limited(WorkflowEntrypoint[Any]):
    """Params: ``customer``, whose ``tenant`` it is counted by; ``gate``; ``nap``, how long it sleeps first."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> None:
        if "nap" in event.params:
            await step.sleep("nap", event.params["nap"])
        tenant = event.params["customer"]["tenant"]
        await step.do("work", gated_then_brief, f"{tenant}/{event.instance_id}", event.params.get("gate", "go"))


@app.workflow
class Unlimited(WorkflowEntrypoint[Any]):
    """The same without a limit of its own."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> None:
        await step.do("work", gated_then_brief, f"all/{event.instance_id}", event.params.get("gate", "go"))


@app.workflow
@partial.workflow
class Chain(WorkflowEntrypoint[Any]):
    """Params: ``steps``, how many plain and async steps in turn; ``seconds`` that each async one takes."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> int:
        total = 0
        for number in range(event.params.get("steps", 3)):
            key = f"{event.instance_id}/{number}"
            if number % 2:
                total += await step.do("brief", brief, key, number, event.params.get("seconds", 0.0))
            else:
                total += await step.do("quick", quick, key, number)
        return total


@app.workflow
class Spread(WorkflowEntrypoint[Any]):
    """Ten steps: two in a row, six side by side, two in a row."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> int:
        id = event.instance_id
        first = await step.do("first", quick, f"{id}/first", 1)
        second = await step.do("second", brief, f"{id}/second", first + 1)
        middle = await asyncio.gather(
            *(step.do("middle", brief if n % 2 else quick, f"{id}/middle-{n}", n) for n in range(6))
        )
        total = await step.do("sum", quick, f"{id}/sum", sum(middle) + second)
        return int(await step.do("last", brief, f"{id}/last", total))


@app.workflow
class Gated(WorkflowEntrypoint[Any]):
    """One step that stands before the gate ``params["gate"]``, then a quick one."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        id = event.instance_id
        pid = await step.do("work", gated, f"{id}/work", event.params.gate, retries=NO_RETRY)
        await step.do("after", quick, f"{id}/after")
        return pid


@app.workflow
class Streamed(WorkflowEntrypoint[Any]):
    """A stream, and what a step and ``run`` read of it."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        stream = await step.do("work", halves, f"{event.instance_id}/work", event.params.gate, retries=NO_RETRY)
        found = await step.do("read", bytes_of, stream)
        return [found, bytes_of(stream)]


@app.workflow
class Politely(WorkflowEntrypoint[Any]):
    """One async step before a gate."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        return await step.do("work", gated_politely, f"{event.instance_id}/work", event.params.gate, "done")


@app.workflow
class OnTheGpu(WorkflowEntrypoint[Any]):
    """One step on the default queue, one on the queue ``gpu``, and one more."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> list[int]:
        before = await step.do("before", os.getpid)
        there = await step.do("there", os.getpid, queue="gpu")
        return [before, there, await step.do("behind", os.getpid)]


# Time


@app.workflow
class Sleeper(WorkflowEntrypoint[Any]):
    """Sleeps ``params["pause"]`` between two steps."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        await step.do("before", quick, f"{event.instance_id}/before")
        await step.sleep("nap", event.params.pause)
        await step.do("after", quick, f"{event.instance_id}/after")
        return "rested"


@app.workflow
class UntilThen(WorkflowEntrypoint[Any]):
    """``sleep_until`` a moment made of ``step.now()``, then waits for ``go``."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        then = step.now() + timedelta(milliseconds=event.params.ms)
        await step.sleep_until("then", then)
        await step.do("between", quick, f"{event.instance_id}/between")
        await step.wait_for_event("go", type="go")
        await step.do("after", quick, f"{event.instance_id}/after")
        return then.isoformat()


@app.workflow
class Patient(WorkflowEntrypoint[Any]):
    """Waits for ``reply`` and says what came, or that nothing did."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        await step.do("before", quick, f"{event.instance_id}/before")
        try:
            reply = await step.wait_for_event("reply", type="reply", timeout=event.params.get("timeout", "1 hour"))
        except EventTimeout as error:
            await step.do("after", quick, f"{event.instance_id}/after")
            return str(error)
        await step.do("after", quick, f"{event.instance_id}/after")
        return reply.payload


@app.workflow
class Retrying(WorkflowEntrypoint[Any]):
    """A step that fails ``params["times"]`` times."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> int:
        p = event.params
        retry = Retry(limit=p.get("limit", 5), delay=p.get("delay", 100), backoff=p.get("backoff", "constant"))
        return await step.do("work", failing, f"{event.instance_id}/work", p.times, retries=retry)


# Events


@app.workflow
class TwoWaiters(WorkflowEntrypoint[Any]):
    """Two waits for the same type side by side."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> list[Any]:
        one, two = await asyncio.gather(
            step.wait_for_event("one", type="reply"), step.wait_for_event("two", type="reply")
        )
        return [one.payload, two.payload]


@app.workflow
class LeftWaiter(WorkflowEntrypoint[Any]):
    """A wait loses a race against a sleep and is left behind, or cancelled; a second wait gets the next event."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        first: asyncio.Future[Any] = asyncio.ensure_future(step.wait_for_event("first", type="reply"))
        nap: asyncio.Future[Any] = asyncio.ensure_future(step.sleep("nap", 100))
        done, pending = await asyncio.wait({first, nap}, return_when=asyncio.FIRST_COMPLETED)
        if event.params.get("cancel"):
            for loser in pending:
                loser.cancel()
        second = await step.wait_for_event("second", type="reply")
        return [len(done), second.payload]


@app.workflow
class Collector(WorkflowEntrypoint[Any]):
    """Stands before a gate, then takes ``params["events"]`` events one after the other."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> list[Any]:
        await step.do("gate", gated_politely, f"{event.instance_id}/gate", event.params.gate)
        found = []
        for _ in range(event.params.events):
            found.append((await step.wait_for_event("next", type="reply")).payload)
        return found


@app.workflow
class Race(WorkflowEntrypoint[Any]):
    """Two gated steps; the winner is told after ``go``, when both may have ended."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> list[Any]:
        id = event.instance_id
        left = asyncio.ensure_future(step.do("left", gated_politely, f"{id}/left", f"{id}-left", "left"))
        right = asyncio.ensure_future(step.do("right", gated_politely, f"{id}/right", f"{id}-right", "right"))
        done, _ = await asyncio.wait({left, right}, return_when=asyncio.FIRST_COMPLETED)
        winners = sorted(task.result() for task in done)
        await step.wait_for_event("go", type="go")
        told = await step.do("tell", quick, f"{id}/tell", winners)
        await asyncio.wait({left, right})
        return [told, left.result(), right.result()]


@app.workflow
class DropLoser(WorkflowEntrypoint[Any]):
    """Two gated steps, of which the loser is cancelled."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        id = event.instance_id
        return await step.race(
            step.do("left", gated_politely, f"{id}/left", f"{id}-left", "left"),
            step.do("right", gated_politely, f"{id}/right", f"{id}-right", "right"),
        )


# Failures


@app.workflow
class Strict(WorkflowEntrypoint[Any]):
    """What a step raises arrives in ``run`` as what it is."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> list[Any]:
        caught: list[Any] = []
        try:
            await step.do("broken", failing, f"{event.instance_id}/broken", 9, retries=NO_RETRY)
        except Broken as error:
            caught.append([type(error).__name__, error.code, error.args])
        try:
            await step.do("built in", os.environ.__getitem__, "MISSING HERE", retries=NO_RETRY)
        except KeyError as error:
            caught.append([type(error).__name__, error.args])
        try:
            await step.do("final", refuse, f"{event.instance_id}/final")
        except NonRetryableError as error:
            caught.append([type(error).__name__, str(error)])
        return caught


def refuse(key: str) -> None:
    """A failure that no retry can mend."""
    note(key, "start")
    raise NonRetryableError("never")


@app.workflow
class Poison(WorkflowEntrypoint[Any]):
    """A step that ends its process."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        try:
            await step.do("poison", die, f"{event.instance_id}/poison")
        except PoisonError as error:
            return type(error).__name__
        return "alive"


def die(key: str) -> None:
    """As a segmentation fault would."""
    note(key, "start")
    os.kill(os.getpid(), signal.SIGKILL)


@app.workflow
class Deadly(WorkflowEntrypoint[Any]):
    """Params: ``thread``, the name of a thread of its worker, which its step ends at the first attempt."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        return await step.do("end a thread", end_thread, event.params["thread"])


def end_thread(name: str, ctx: StepContext) -> int:
    """Raise what nobody expects in another thread, as a bug would."""
    if ctx.attempt == 1:
        (thread,) = [one for one in threading.enumerate() if one.name == name]
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(MemoryError))
    return ctx.attempt


@app.workflow
class Slow(WorkflowEntrypoint[Any]):
    """A step that is slower than its timeout, at the first attempt or always; ``sync`` or not."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        p = event.params
        callback = slow_plain if p.sync else slow_async
        retry = Retry(limit=p.limit, delay=50, backoff="constant")
        try:
            return await step.do("slow", callback, f"{event.instance_id}/slow", p.slow, retries=retry, timeout=300)
        except StepTimeout as error:
            return str(error)


def slow_plain(key: str, attempts: int, ctx: StepContext) -> str:
    """Too slow in its first attempts; ends as soon as it is cancelled."""
    note(key, "start")
    if ctx.attempt <= attempts:
        ctx.cancelled.wait(GATE_SECONDS)
        note(key, "cancelled")
    return "in time"


async def slow_async(key: str, attempts: int, ctx: StepContext) -> str:
    """The same on the loop."""
    note(key, "start")
    if ctx.attempt <= attempts:
        try:
            await asyncio.sleep(GATE_SECONDS)
        except asyncio.CancelledError:
            note(key, "cancelled")
            raise
    return "in time"


@app.workflow
class Blocking(WorkflowEntrypoint[Any]):
    """A ``run`` that blocks its worker: in Python, in C where nothing can interrupt it, or holding the interpreter."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> None:
        if event.params.get("in_c"):
            ctypes.CDLL(None).sleep(600)
        elif event.params.get("with_the_interpreter"):
            if not is_open(event.instance_id):
                ctypes.PyDLL(None).sleep(600)
        else:
            while True:
                pass


@app.workflow
class Undone(WorkflowEntrypoint[Any]):
    """Steps a, b and c, each undone by a handler before a gate of its own (``undo-a``). Then it breaks, and before that
    stands at ``params["gate"]`` in c."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> None:
        id = event.instance_id

        async def undo(ctx: StepContext) -> None:
            await gated_politely(f"{id}/undo {ctx.step.name}", f"undo-{ctx.step.name}")

        for name in "ab":
            await step.do(name, quick, f"{id}/{name}", rollback=undo)
        await step.do("c", gated_politely, f"{id}/c", event.params.gate, rollback=undo)
        raise Broken(7, "after c")


# Other instances


@app.workflow
class Parent(WorkflowEntrypoint[Any]):
    """Invokes one child and waits for another that a step has created."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> list[Any]:
        id = event.instance_id
        invoked = await step.invoke(Child, {"number": 1})
        created = await step.do("create", lambda: self.env.CHILD.create(f"{id}-child", {"number": 2}))
        joined = await step.wait_for_child("join", created)
        try:
            await step.invoke(Child, {"number": -1}, name="bad child")
        except Broken as error:
            return [invoked, joined, error.code]
        return [invoked, joined]


@app.workflow
class Child(WorkflowEntrypoint[Any]):
    """Doubles a number; a negative one breaks it."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        number = event.params.number
        if number < 0:
            raise Broken(number, "negative")
        return await step.do("double", quick, f"{event.instance_id}/double", number * 2)


@ticking.workflow(schedules="* * * * * *")
class EverySecond(WorkflowEntrypoint[Any]):
    """One instance for every second."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> int:
        assert event.schedule is not None
        at = int(event.schedule.scheduled_time)
        await step.do("tick", quick, f"tick/{at}")
        return at


def one_in_a_hundred_fails(number: int) -> int:
    note("items", "start")
    if number % 100 == 7:
        raise Broken(number, "does not go")
    return number


@app.workflow(name="many-items")
class ManyItems(WorkflowEntrypoint[Any]):
    """Params: ``items``; ``may_fail``, how many. Returns why it was over, the failed ones, the sum of others."""

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        numbers = range(event.params["items"])
        may_fail = event.params["may_fail"]
        mapped = await step.map("item", numbers, one_in_a_hundred_fails, max_failures=may_fail, retries=NO_RETRY)
        return [mapped.reason, [one.index for one in mapped.failed], sum(mapped.results)]


@app.workflow(name="counter")
class Counter(WorkflowEntrypoint[Any]):
    """Params: ``next``, the number that is to come; ``upto``. Returns where it ended: one that is missing, twice or too
    early ends it before.
    """

    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        following, upto = event.params["next"], event.params["upto"]
        for _ in range(100):
            number = (await step.wait_for_event("number", type="number")).payload
            if number != following:
                return [number, following]
            following += 1
            if following == upto:
                return following
        return step.continue_as({"next": following, "upto": upto})
