"""Streams that tell browsers of changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from workflows.client import Client
from workflows.clock import monotonic
from workflows.ui import live as module
from workflows.ui.bulk import Job, Jobs
from workflows.ui.bulk_orders import Filter, Order
from workflows.ui.live import STREAMS_MAX, Live
from workflows.ui.refusals import RequestRefused


@pytest.fixture
def jobs(shop: Client) -> Jobs:
    return Jobs(lambda: shop)


@pytest.fixture
def live(shop: Client, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> Live:
    """Looks often, so that tests need not wait."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(module, "CALLS_PER_SECOND", 10_000)
    return Live(lambda: shop.store, jobs)


def begun(live: Live, watched: str, every: float = 0.02) -> AsyncIterator[Any]:
    return live.stream(watched, every).body_iterator  # type: ignore[return-value]


async def has_looked(live: Live) -> None:
    """Everything that is watched has been looked at."""
    while not all(watch.seen is not None for watch in live._watches.values()):
        await asyncio.sleep(0.005)


async def told(stream: AsyncIterator[Any]) -> list[str]:
    """What the next event says has changed."""
    async for text in stream:
        if text.startswith("event: changed"):
            found: list[str] = json.loads(text.split("data: ")[1])
            return found
    raise AssertionError("the stream has ended")


def test_who_watches_is_told_what_has_changed_and_nothing_before(shop: Client, live: Live) -> None:
    async def watch() -> None:
        stream = begun(live, "overview")
        assert await anext(stream) == "retry: 3000\n\n"
        waiting = asyncio.ensure_future(told(stream))
        await has_looked(live)
        assert not waiting.done()
        await asyncio.to_thread(shop.workflow("order").create)
        assert await waiting == ["instances", "queues"]

    asyncio.run(watch())


@pytest.mark.parametrize("watched", ["list:order", "failed", "instance:order:watched"])
def test_each_thing_can_be_watched(shop: Client, live: Live, watched: str) -> None:
    order = shop.workflow("order").create("watched", command_id="watched")
    order.restart()

    async def watch() -> None:
        stream = begun(live, watched)
        await anext(stream)
        await has_looked(live)
        await asyncio.to_thread(order.pause)
        assert "instances" in await told(stream)

    asyncio.run(watch())


def test_a_job_can_be_watched(shop: Client, live: Live, jobs: Jobs) -> None:
    shop.workflow("order").create()
    job = jobs._jobs["j"] = Job(Order("delete", Filter("order")), "ann")

    async def watch() -> None:
        stream = begun(live, "job:j")
        await anext(stream)
        await has_looked(live)
        await asyncio.to_thread(job.run, shop)
        assert await told(stream) == ["job"]

    asyncio.run(watch())


def test_what_several_watch_is_looked_at_once_and_not_at_all_when_they_have_gone(live: Live) -> None:
    async def watch() -> None:
        streams = [begun(live, "overview") for _ in range(3)]
        for stream in streams:
            await anext(stream)
        (watch,) = live._watches.values()
        assert (len(watch.viewers), live.streams) == (3, 3)
        for stream in streams:
            await stream.aclose()  # type: ignore[attr-defined]
        assert (live.streams, live._watches) == (0, {})
        assert watch.task is not None
        with pytest.raises(asyncio.CancelledError):
            await watch.task

    asyncio.run(watch())


def test_it_is_looked_as_often_as_the_most_eager_wants_and_the_shards_allow(live: Live) -> None:
    async def watch() -> None:
        slow, eager = begun(live, "overview", 10), begun(live, "overview")
        await anext(slow)
        (watch,) = live._watches.values()
        assert watch.every == 10
        await anext(eager)
        assert watch.every == 0.02
        await eager.aclose()  # type: ignore[attr-defined]
        assert watch.every == 10
        await slow.aclose()  # type: ignore[attr-defined]

    asyncio.run(watch())


def test_a_stream_says_now_and_then_that_it_lives_and_ends_so_that_the_browser_comes_back(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMENT_SECONDS", 0.02)
    monkeypatch.setattr(module, "STREAM_SECONDS", 0.1)

    async def watch() -> list[str]:
        return [text async for text in begun(live, "overview")]

    first, *comments = asyncio.run(watch())
    assert first.startswith("retry")
    assert comments and {*comments} == {": still here\n\n"}


def test_a_page_that_is_open_while_nothing_happens_costs_few_calls(shop: Client) -> None:
    live = Live(lambda: shop.store, Jobs(lambda: shop))

    def calls() -> int:
        return sum(one["calls"] for name, one in shop.store.redis.info("commandstats").items() if "eval" in name)

    async def watch() -> None:
        stream = begun(live, "overview", 1)
        await anext(stream)
        await has_looked(live)
        (watch,) = live._watches.values()
        began, before, seen = monotonic(), calls(), watch.seen
        while watch.seen is seen or watch.seen is None:
            await asyncio.sleep(0.01)
        assert (calls() - before) / (monotonic() - began) <= 20
        await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(watch())


def test_there_are_so_many_streams_and_no_more(live: Live) -> None:
    async def watch() -> None:
        streams = [begun(live, "overview") for _ in range(STREAMS_MAX)]
        for stream in streams:
            await anext(stream)
        with pytest.raises(RequestRefused, match="50 pages"):
            live.stream("overview")
        for stream in streams:
            await stream.aclose()  # type: ignore[attr-defined]
        live.stream("overview")

    asyncio.run(watch())


def test_a_redis_that_goes_away_and_comes_back_is_a_change(
    shop: Client, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workflows.errors import ServerUnavailable

    async def watch() -> None:
        stream = begun(live, "overview")
        await anext(stream)
        await has_looked(live)
        with monkeypatch.context() as away:

            def refuse(*_: Any, **__: Any) -> Any:
                raise ServerUnavailable("away")

            away.setattr(module, "glance", refuse)
            assert "error" in await told(stream)
        assert "error" in await told(stream)

    asyncio.run(watch())


@pytest.mark.parametrize("watched", ["", "everything", "list:", "list:or der", "instance:order", "job:none", "job:"])
def test_what_is_not_there_cannot_be_watched(browser: TestClient, watched: str) -> None:
    answer = browser.get("/api/stream", params={"watch": watched})
    assert answer.status_code in (404, 422)
    assert answer.json()["success"] is False
