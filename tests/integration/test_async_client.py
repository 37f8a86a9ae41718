"""Does the client for asyncio say the same as the blocking one?"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import os
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pydantic_core
import pytest
import redis as redis_py

from tests.driving import HandWorker, PublishedApp, published, step, store_of, wait
from workflows.client import aio
from workflows.client import blocking as client
from workflows.client.aio import AsyncClient
from workflows.errors import (
    ConfigError,
    InstanceAlreadyExists,
    InstanceEnded,
    InstanceNotFound,
    InstanceTerminated,
    InvalidTransition,
    ResultTimeout,
    ServerUnavailable,
    UnknownWorkflow,
)
from workflows.storage.manifest import publish_manifest
from workflows.storage.store import Store

Run = Callable[[Callable[[AsyncClient], Awaitable[Any]]], Any]


@pytest.fixture
def store(redis: redis_py.Redis) -> Store:
    store = store_of(redis)
    publish_manifest(store, PublishedApp())
    return store


@pytest.fixture
def worker(store: Store) -> HandWorker:
    return HandWorker(store)


@pytest.fixture
def run(store: Store, redis_url: str) -> Run:
    """Runs an async function with a client of its own loop."""

    def run(body: Callable[[AsyncClient], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            async with AsyncClient("shop", redis_url) as client:
                return await body(client)

        return asyncio.run(main())

    return run


@pytest.mark.parametrize(
    ("blocking", "other"),
    [
        (client.Client, aio.AsyncClient),
        (client.WorkflowHandle, aio.AsyncWorkflowHandle),
        (client.WorkflowInstance, aio.AsyncWorkflowInstance),
    ],
)
def test_both_clients_have_the_same_verbs(blocking: type, other: type) -> None:
    """And their verbs the same arguments."""

    def verbs(cls: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in vars(cls).items()
            if inspect.isfunction(member) and not name.startswith("_") and name != "store"
        }

    assert verbs(blocking) == verbs(other)


def test_an_instance_from_create_to_delete(run: Run, worker: HandWorker) -> None:
    async def body(client: AsyncClient) -> None:
        handle = client.workflow("order")
        instance = await handle.create("a1", {"n": 1})
        with pytest.raises(InstanceAlreadyExists):
            await handle.create("a1")
        assert (await handle.get("a1")) == instance
        assert await instance.send_event("approved", 1) == "buffered"
        await instance.pause()
        assert (await instance.status()).status == "paused"
        await instance.resume()
        asked = [wait(1, "w", "approved"), step(2, "s")]
        worker.turn(instance._instance, opened=asked, published=published(done=1))
        assert [await instance.value(name) for name in ("done", "other")] == [1, None]
        status = await instance.status()
        assert [(one.name, one.status) for one in await status.steps.all()] == [("w", "complete"), ("s", "pending")]
        assert [one.name async for one in status.steps] == ["w", "s"]
        worker.complete(instance._instance, {"ok": True})
        assert await instance.result() == {"ok": True}
        with pytest.raises(InstanceEnded):
            await instance.send_event("approved")
        with pytest.raises(InvalidTransition):
            await instance.terminate()
        await instance.restart()
        assert (await instance.status()).params == {"n": 1}
        await instance.terminate()
        with pytest.raises(InstanceTerminated):
            await instance.result()
        await instance.delete()
        with pytest.raises(InstanceNotFound):
            await instance.status()

    run(body)


def test_a_batch_and_its_listing(run: Run) -> None:
    async def body(client: AsyncClient) -> None:
        handle = client.workflow("order")
        await handle.create("a0")
        created = await handle.create_batch([{"id": f"a{n}"} for n in range(30)])
        assert [instance.id for instance in created] == [f"a{n}" for n in range(1, 30)]
        page = await handle.list(limit=20)
        rest = await handle.list(limit=20, cursor=page.cursor)
        assert len({one.id for one in (*page, *rest)}) == 30

    run(body)


def test_a_waiting_result_is_woken_by_the_end(run: Run, worker: HandWorker, redis: redis_py.Redis) -> None:
    async def body(client: AsyncClient) -> None:
        instance = await client.workflow("order").create()
        result = asyncio.create_task(instance.result("30 seconds"))
        channel = worker.store.ended_channel(instance._instance)
        while dict(redis.pubsub_numsub(channel)).get(channel.encode()) != 1:
            await asyncio.sleep(0)
        worker.complete(instance._instance, 7)
        assert await result == 7

    run(body)


def test_result_gives_up_in_time(run: Run) -> None:
    async def body(client: AsyncClient) -> None:
        instance = await client.workflow("order").create()
        with pytest.raises(
            ResultTimeout, match=r"did not end within 20ms; it is queued\. \(a bare number is milliseconds\)"
        ):
            await instance.result(20)

    run(body)


def test_an_unknown_workflow_is_refused_at_first_use(run: Run) -> None:
    async def body(client: AsyncClient) -> None:
        assert await client.workflows() == ["order"]
        with pytest.raises(UnknownWorkflow, match="Registered: order"):
            await client.workflow("ordr").create()

    run(body)


def test_an_unreachable_redis_is_one_clear_error() -> None:
    async def body() -> None:
        async with AsyncClient("shop", "redis://127.0.0.1:1/0") as client:
            with pytest.raises(ServerUnavailable, match="Redis at 127.0.0.1:1 does not answer"):
                await client.workflow("order").create()

    asyncio.run(body())


def test_calls_beyond_the_limit_of_connections_wait_for_one(run: Run) -> None:
    async def body(client: AsyncClient) -> list[str]:
        handle = client.workflow("order")
        return [one.id for one in await asyncio.gather(*(handle.create(f"a{number}") for number in range(300)))]

    assert run(body) == [f"a{number}" for number in range(300)]


def test_those_who_wait_for_a_result_leave_connections_for_calls(run: Run, worker: HandWorker) -> None:
    async def body(client: AsyncClient) -> list[Any]:
        instance = await client.workflow("order").create("a1")
        waiting = [asyncio.create_task(instance.result("20 seconds")) for _ in range(300)]
        while (await instance._store.redis.pubsub_numsub(instance._store.ended_channel(instance._instance)))[0][1] < 50:
            await asyncio.sleep(0)
        worker.complete(instance._instance, 7)
        return await asyncio.gather(*waiting)

    assert run(body) == [7] * 300


def test_a_call_that_gets_no_connection_says_that_and_not_that_redis_is_away(store: Store, redis_url: str) -> None:
    async def body() -> None:
        async with AsyncClient("shop", f"{redis_url}&max_connections=1&timeout=0.05") as client:
            handle = client.workflow("order")
            await handle.create("a1")
            pool = client._connection.connection_pool
            taken = await pool.get_connection()
            with pytest.raises(ServerUnavailable, match="all connections of this client were in use") as caught:
                await handle.create("a2")
            assert "answer" not in str(caught.value)
            await pool.release(taken)
            await handle.create("a2")

    asyncio.run(body())


def test_another_event_loop_is_refused_until_the_client_is_closed(store: Store, redis_url: str) -> None:
    """Its connections belong to the first loop, and would fail in another with words that say nothing to anybody."""
    client = AsyncClient("shop", redis_url)

    async def create(id: str) -> str:
        return (await client.workflow("order").create(id)).id

    async def create_and_close() -> None:
        await create("a1")
        with pytest.raises(ConfigError, match="first used in another event loop.*make one for each event loop"):
            await asyncio.to_thread(asyncio.run, create("a2"))
        await client.close()

    async def create_again() -> None:
        async with client:
            assert await create("a2") == "a2"

    asyncio.run(create_and_close())
    asyncio.run(create_again())


def test_a_forked_process_is_refused_and_does_not_disturb_its_parent(run: Run) -> None:
    """It would send over its parent's connection, which then would read an answer that it never asked for."""

    async def in_the_child(client: AsyncClient) -> None:
        with pytest.raises(ConfigError, match="first used in another process.*make one for each process"):
            await client.workflow("order").create("a3")
        await client.close()

    async def body(client: AsyncClient) -> None:
        handle = client.workflow("order")
        await handle.create("a1")
        connected = (await client._connection.info("clients"))["connected_clients"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # this process may have threads
            child = os.fork()
        if child == 0:
            code = 1
            try:
                asyncio.run(in_the_child(client))
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert (await handle.create("a2")).id == "a2"
        assert (await handle.get("a1")).id == "a1"
        assert (await client._connection.info("clients"))["connected_clients"] == connected

    run(body)


def test_a_status_is_dumped_with_the_steps_that_were_read(run: Run, worker: HandWorker) -> None:
    async def body(client: AsyncClient) -> None:
        instance = await client.workflow("order").create("a1", {"n": 1})
        worker.turn(instance._instance, opened=[step(seq, f"s{seq}") for seq in range(1, 251)])
        for seq in range(1, 251):
            worker.settle(instance._instance, seq, f"s{seq}", worker.claim(instance._instance, "a", seq), value=seq)
        status = await instance.status()
        found = status.as_dict()
        assert found["params"] == {"n": 1}
        assert found["steps_complete"] is False
        assert [one["output"] for one in found["steps"]] == list(range(1, len(found["steps"]) + 1))
        await status.steps.all()
        assert pydantic_core.to_jsonable_python(status) == status.as_dict()
        assert status.as_dict()["steps_complete"] is True
        assert [one["output"] for one in dataclasses.asdict(status)["steps"]] == list(range(1, 251))

    run(body)
