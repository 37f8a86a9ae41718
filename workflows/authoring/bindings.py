"""The bindings while they are open: made by the app's function, and cleaned up by it at the end."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from workflows.errors import ConfigError


@asynccontextmanager
async def opened(function: Callable[[], Any]) -> AsyncIterator[Any]:
    """Call the function that makes the bindings; at the end of the block it goes on after its ``yield``.

    Raises: whatever the function raises; ConfigError if it is a generator that does not yield exactly once.
    """
    made = function()
    if inspect.isasyncgen(made):
        try:
            bindings = await anext(made)
        except StopAsyncIteration:
            raise ConfigError("The function under @app.bindings ended without yielding the bindings.") from None
        try:
            yield bindings
        finally:
            await _finish_async(made)
    elif inspect.isgenerator(made):
        try:
            bindings = next(made)
        except StopIteration:
            raise ConfigError("The function under @app.bindings ended without yielding the bindings.") from None
        try:
            yield bindings
        finally:
            _finish(made)
    else:
        yield await made if inspect.isawaitable(made) else made


async def _finish_async(made: Any) -> None:
    try:
        await anext(made)
    except StopAsyncIteration:
        return
    await made.aclose()
    raise ConfigError("The function under @app.bindings yields more than once. Yield the bindings, then clean up.")


def _finish(made: Any) -> None:
    try:
        next(made)
    except StopIteration:
        return
    made.close()
    raise ConfigError("The function under @app.bindings yields more than once. Yield the bindings, then clean up.")
