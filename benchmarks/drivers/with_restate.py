"""Restate: its server in one process with all roles, and two Hypercorn processes with the handlers.

The server has its default configuration (https://docs.restate.dev/references/server-config), so it syncs its log before
it goes on; Hypercorn is what https://docs.restate.dev/develop/python/serving names, with uvloop. Whoever waits for a
result keeps the request open that has begun the invocation.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from datetime import timedelta
from typing import Any

import aiohttp
import restate

from benchmarks.drivers.driver import WORKERS, Answer, serve, started

HERE = "benchmarks.drivers.with_restate"
START_SECONDS = 60

steps = restate.Service("Steps")
listener = restate.Workflow("Listener")


async def nothing() -> None:
    """A step."""


@steps.handler()
async def row(ctx: restate.Context, count: int) -> None:
    """Steps one after the other."""
    for _ in range(count):
        await ctx.run_typed("step", nothing)


@steps.handler()
async def wide(ctx: restate.Context, count: int) -> None:
    """Steps at once."""
    await restate.gather(*[ctx.run_typed("step", nothing) for _ in range(count)])


@steps.handler()
async def nap(ctx: restate.Context, seconds: float) -> float:
    """Says when it was over."""
    await ctx.sleep(timedelta(seconds=seconds))
    return time.time()


@listener.main()
async def run(ctx: restate.WorkflowContext, name: str) -> None:
    """Ends with what it is sent under this name."""
    await ctx.promise(name).value()


@listener.handler()
async def send(ctx: restate.WorkflowSharedContext, name: str) -> None:
    """Sends it."""
    await ctx.promise(name).resolve("now")


app = restate.app([steps, listener])


class Cases:
    """See ``driver``."""

    def __init__(self, ingress: str) -> None:
        self._ingress = ingress
        self._session: Any = None
        self._keys = 0

    async def open(self) -> None:
        """A client, in a running loop."""
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def close(self) -> None:
        """Of ``open``."""
        await self._session.close()

    async def _call(self, path: str, body: Any = None) -> Any:
        async with self._session.post(f"{self._ingress}/{path}", json=body) as answer:
            answer.raise_for_status()
            return await answer.json() if answer.content_type == "application/json" else None

    async def many(self, instances: int, steps: int) -> Answer:
        """Invocations."""
        begun = time.perf_counter()
        await asyncio.gather(*[self._call("Steps/row", steps) for _ in range(instances)])
        return {"seconds": time.perf_counter() - begun}

    async def fan_out(self, steps: int) -> Answer:
        """Runs of one invocation."""
        begun = time.perf_counter()
        await self._call("Steps/wide", steps)
        return {"seconds": time.perf_counter() - begun}

    async def one_step(self, times: int) -> Answer:
        """See ``driver``."""
        return {"samples": [(await self.many(1, 1))["seconds"] for _ in range(times)]}

    async def event(self, times: int) -> Answer:
        """A promise of a workflow."""
        samples = []
        for _ in range(times):
            self._keys += 1
            workflow = f"Listener/{self._keys}"
            await self._call(f"{workflow}/run/send", "go")
            ended = asyncio.create_task(self._attached(self._keys))
            await asyncio.sleep(0.1)  # Nothing says that it waits.
            begun = time.perf_counter()
            await self._call(f"{workflow}/send", "go")
            await ended
            samples.append(time.perf_counter() - begun)
        return {"samples": samples}

    async def _attached(self, key: int) -> None:
        async with self._session.get(f"{self._ingress}/restate/workflow/Listener/{key}/attach") as answer:
            answer.raise_for_status()

    async def sleepers(self, count: int, seconds: float) -> Answer:
        """Invocations."""
        begun = time.time()

        async def one() -> tuple[float, float]:
            due = time.time() + seconds
            return due, await self._call("Steps/nap", seconds)

        ran = await asyncio.gather(*[one() for _ in range(count)])
        return {"seconds": max(at for _, at in ran) - begun, "samples": [at - due for due, at in ran]}


async def _registered(admin: str, service: str) -> None:
    """Wait for both, and make them known to each other."""
    until = time.monotonic() + START_SECONDS
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.post(f"{admin}/deployments", json={"uri": service}) as answer:
                    answer.raise_for_status()
                    return
            except aiohttp.ClientError:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def main() -> None:
    """Serve."""
    ingress, admin, node, service = (f"127.0.0.1:{port}" for port in _free_ports(4))
    os.environ |= {
        "RESTATE_BASE_DIR": f"{os.getcwd()}/restate",
        "RESTATE_INGRESS__BIND_ADDRESS": ingress,
        "RESTATE_ADMIN__BIND_ADDRESS": admin,
        "RESTATE_BIND_ADDRESS": node,
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_LOG_FILTER": "warn",
    }
    hypercorn = [sys.executable, "-m", "hypercorn", "--bind", service, "--workers", str(WORKERS), "-k", "uvloop"]
    with (
        started(["restate-server"], [*hypercorn, f"{HERE}:app"]) as (server, workers),
        asyncio.Runner() as runner,
    ):
        runner.run(_registered(f"http://{admin}", f"http://{service}"))
        cases = Cases(f"http://{ingress}")
        runner.run(cases.open())
        runner.run(cases.many(8, 10))
        serve(
            {
                name: lambda name=name, **arguments: runner.run(getattr(cases, name)(**arguments))
                for name in ("many", "fan_out", "one_step", "event", "sleepers")
            },
            roles={"orchestrator": [server], "workers": [workers]},
        )
        runner.run(cases.close())


if __name__ == "__main__":
    main()
