"""Calls that work the same in sync and async tests.

A call that acts at once acts when it is made; awaiting what it returns is allowed and changes nothing. A call that
waits blocks in a sync test and is awaited in an async one, where it waits in a thread: the engine has threads of its
own, but a test's own server, say, may live on the test's loop.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, NoReturn, Self, TypeVar

from workflows.testing.mocks import IntrospectionError

T = TypeVar("T")

TIMEOUT_SECONDS: Final = 10.0
"""Real seconds an instance may be busy before a wait gives up on it."""

_HERE = str(Path(__file__).parent)


class _ForAwait:
    """What a call gives in an async test. Good for ``await``; whatever else is done with it says so.

    Without that, ``assert introspector.get_output()`` would be true for every output.

    Attributes:
        begun: whether it was awaited, as far as that is kept; for ``forgotten``.
    """

    __slots__ = ("_where", "begun")

    def __init__(self) -> None:
        self.begun = False
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
            frame = frame.f_back
        self._where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"

    def _refuse(self, *_: object) -> NoReturn:
        self.begun = True  # told once
        raise IntrospectionError(f"{self._where}: this call was not awaited. In an async test, put `await` before it.")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __bool__ = __len__ = __iter__ = __contains__ = __getitem__ = _refuse
    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python itself looks for
            raise AttributeError(name)
        self._refuse()


class Ready(_ForAwait, Generic[T]):
    """A value that is there already, for ``await``."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        super().__init__()
        self._value = value

    def __await__(self) -> Generator[Any, Any, T]:
        yield from ()
        return self._value

    def __repr__(self) -> str:
        return f"<to be awaited: {self._value!r:.200}>"


class Pending(_ForAwait, Coroutine[Any, Any, T]):
    """A call that waits, in a thread, once it is awaited."""

    __slots__ = ("_act", "_inner")

    def __init__(self, act: Callable[[], T]) -> None:
        super().__init__()
        self._act = act
        self._inner: Coroutine[Any, Any, T] | None = None
        _pending.append(self)

    def _coroutine(self) -> Coroutine[Any, Any, T]:
        self.begun = True
        if self._inner is None:
            self._inner = asyncio.to_thread(self._act)
        return self._inner

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coroutine().__await__()

    def send(self, value: Any) -> Any:
        """See ``Coroutine``; for tasks."""
        return self._coroutine().send(value)

    def throw(self, typ: Any, val: Any = None, tb: TracebackType | None = None) -> Any:
        """See ``Coroutine``; for tasks."""
        return self._coroutine().throw(typ if val is None else val)

    def close(self) -> None:
        """See ``Coroutine``."""
        if self._inner is not None:
            self._inner.close()

    def __repr__(self) -> str:
        return "<a call that was not awaited>" if not self.begun else "<a call that is awaited>"


_pending: list[Any] = []


def forgotten() -> list[str]:
    """Where calls were made since the last question that should have been awaited and were not."""
    found = [call._where for call in _pending if not call.begun]
    _pending.clear()
    return found


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
    return Pending(act) if is_async() else act()


class Begun(_ForAwait):
    """A coroutine that has run as far as it can without its loop; the rest needs ``await``.

    Attributes:
        result: what awaiting it gives.
        done: called when it has run to its end.
    """

    __slots__ = ("_coroutine", "_given", "done", "result")

    def __init__(self, coroutine: Any, given: Any) -> None:
        super().__init__()
        self.result: Any = None
        self.done: Callable[[], None] = lambda: None
        self._coroutine = coroutine
        self._given = given
        _pending.append(self)

    def __await__(self) -> Generator[Any, Any, Any]:
        self.begun = True
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
