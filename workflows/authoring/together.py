"""Several steps at once: the first to end, or all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from workflows.authoring.asking import StepFuture

T = TypeVar("T")


async def first_ended(contenders: Sequence[asyncio.Future[T]]) -> T:
    """The outcome of what ends first; the rest is cancelled."""
    first: asyncio.Future[asyncio.Future[T]] = asyncio.get_running_loop().create_future()

    def ended(contender: asyncio.Future[T]) -> None:
        if not first.done():
            first.set_result(contender)
        elif not contender.cancelled():
            contender.exception()  # looked at, so that it is not reported as forgotten

    for contender in contenders:
        contender.add_done_callback(ended)
    try:
        winner = await first
    finally:
        for contender in contenders:
            contender.cancel()
    return winner.result()


async def all_ended(start: Callable[[int], StepFuture[Any]], length: int, concurrency: int | None) -> list[Any]:
    """The results in order, ``concurrency`` at a time (None: all); when one fails, the rest is cancelled."""
    results: list[Any] = [None] * length
    indexes = iter(range(length))

    async def work() -> None:
        for index in indexes:
            results[index] = await start(index)

    started: list[asyncio.Future[Any]]
    if concurrency is None or concurrency >= length:
        started = [start(index) for index in range(length)]
    else:
        started = [asyncio.ensure_future(work()) for _ in range(concurrency)]
    try:
        ended = await asyncio.gather(*started)
    except BaseException:
        for future in started:
            future.cancel()
        raise
    return ended if len(started) == length else results
