"""Calls that work the same in sync and async tests.

A call that acts at once acts when it is made; awaiting what it returns is allowed and changes nothing. A call that
waits blocks in a sync test and is awaited in an async one, where it waits in a thread: the engine has threads of its
own, but a test's own server, say, may live on the test's loop.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


class Ready(Generic[T]):
    """A value that is there already, for ``await``."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, Any, T]:
        yield from ()
        return self.value

    def __repr__(self) -> str:
        return f"<await it: {self.value!r}>"


class AwaitsItself:
    """Gives itself when awaited, so that ``await`` in front of what makes it is allowed everywhere."""

    def __await__(self) -> Generator[Any, Any, Self]:
        yield from ()
        return self


def is_async() -> bool:
    """Whether the caller runs on an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def at_once(act: Callable[[], T]) -> Any:
    """Act now; in an async test the result is for ``await``."""
    value = act()
    return Ready(value) if is_async() else value


def waiting(act: Callable[[], T]) -> Any:
    """Act and block, or in an async test return what does so when awaited."""
    return asyncio.to_thread(act) if is_async() else act()


class Begun:
    """A coroutine that has run as far as it can without its loop; the rest needs ``await``.

    Attributes:
        result: what awaiting it gives.
        done: called when it has run to its end.
    """

    def __init__(self, coroutine: Any, given: Any) -> None:
        self.result: Any = None
        self.done: Callable[[], None] = lambda: None
        self._coroutine = coroutine
        self._given = given

    def __await__(self) -> Generator[Any, Any, Any]:
        given = self._given
        try:
            while True:
                try:
                    sent = yield given
                except BaseException as error:
                    given = self._coroutine.throw(error)
                else:
                    given = self._coroutine.send(sent)
        except StopIteration:
            return self.result
        finally:
            self.done()


def run_through(function: Callable[[Any], Any], argument: Any) -> Begun | None:
    """Call ``function``, plain or async.

    Returns: None when it is through, which an async function usually is at once, because the calls it awaits are; else
        what has to be awaited.
    """
    made = function(argument)
    if not inspect.isawaitable(made):
        return None
    if not is_async():
        asyncio.run(_awaited(made))
        return None
    coroutine = _awaited(made)
    try:
        given = coroutine.send(None)
    except StopIteration:
        return None
    return Begun(coroutine, given)


async def _awaited(made: Any) -> Any:
    return await made
