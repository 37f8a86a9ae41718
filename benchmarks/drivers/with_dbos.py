"""DBOS on SQLite: one process that is client and worker, as an app on SQLite is (https://docs.dbos.dev/python).

Workflows are coroutines, which saves it a thread for each; that was the faster way here. What it polls for, it polls at
the shortest interval its configuration takes (``notification_listener_polling_interval_sec``, which is a second by
default); a result is asked for every half a millisecond.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from dbos import DBOS

from benchmarks.drivers.driver import Answer, serve

POLL_SECONDS = 0.001
config: Any = {
    "name": "steps",
    "system_database_url": f"sqlite:///{os.getcwd()}/dbos.sqlite",
    "notification_listener_polling_interval_sec": POLL_SECONDS,
    "log_level": "ERROR",
    "run_admin_server": False,
}


@DBOS.step()
async def nothing() -> None:
    """A step."""


@DBOS.workflow()
async def row(steps: int) -> None:
    """Steps one after the other."""
    for _ in range(steps):
        await nothing()


@DBOS.workflow()
async def wide(steps: int) -> None:
    """Steps at once."""
    await asyncio.gather(*[nothing() for _ in range(steps)])


@DBOS.workflow()
async def listener() -> None:
    """Ends with what it is sent."""
    await DBOS.recv_async("go", timeout_seconds=60)


@DBOS.workflow()
async def nap(seconds: float) -> float:
    """Says when it was over."""
    await DBOS.sleep_async(seconds)
    return time.time()


async def _ended(workflow: Any, *arguments: Any, count: int = 1) -> list[Any]:
    handles = [await DBOS.start_workflow_async(workflow, *arguments) for _ in range(count)]
    return [await handle.get_result(polling_interval_sec=POLL_SECONDS) for handle in handles]


async def many(instances: int, steps: int) -> Answer:
    """Workflows."""
    begun = time.perf_counter()
    await _ended(row, steps, count=instances)
    return {"seconds": time.perf_counter() - begun}


async def fan_out(steps: int) -> Answer:
    """Steps of one workflow."""
    begun = time.perf_counter()
    await _ended(wide, steps)
    return {"seconds": time.perf_counter() - begun}


async def one_step(times: int) -> Answer:
    """See ``driver``."""
    samples = []
    for _ in range(times):
        begun = time.perf_counter()
        await _ended(row, 1)
        samples.append(time.perf_counter() - begun)
    return {"samples": samples}


async def event(times: int) -> Answer:
    """``send`` and ``recv``."""
    samples = []
    for _ in range(times):
        handle = await DBOS.start_workflow_async(listener)
        await asyncio.sleep(0.1)  # Nothing says that it waits.
        begun = time.perf_counter()
        await DBOS.send_async(handle.workflow_id, "now", "go")
        await handle.get_result(polling_interval_sec=POLL_SECONDS)
        samples.append(time.perf_counter() - begun)
    return {"samples": samples}


async def sleepers(count: int, seconds: float) -> Answer:
    """Workflows."""
    begun, due, handles = time.time(), [], []
    for _ in range(count):
        due.append(time.time() + seconds)
        handles.append(await DBOS.start_workflow_async(nap, seconds))
    ran = [await handle.get_result(polling_interval_sec=POLL_SECONDS) for handle in handles]
    return {"seconds": max(ran) - begun, "samples": [at - when for at, when in zip(ran, due, strict=True)]}


def main() -> None:
    """Serve."""
    DBOS(config=config)
    DBOS.launch()
    with asyncio.Runner() as runner:
        runner.run(many(8, 10))
        serve(
            {
                one.__name__: lambda one=one, **arguments: runner.run(one(**arguments))
                for one in (many, fan_out, one_step, event, sleepers)
            },
            roles={"workers": [os.getpid()]},
        )
    DBOS.destroy()


if __name__ == "__main__":
    main()
