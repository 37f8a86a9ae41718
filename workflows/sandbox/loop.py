"""The event loop on which ``run`` is executed: a FIFO of ready callbacks and nothing else.

There is no clock, no selector and no thread, so that the order of everything is a function of the order in which the
journal resolves futures. ``asyncio.gather``, ``TaskGroup``, ``wait``, ``as_completed``, ``Event``, ``Lock``, ``Queue``
work unchanged; what needs a clock or the outside world raises and names the way out.

Two things surprised the author. ``asyncio.wait`` and ``TaskGroup`` keep futures in sets, whose order follows the hash,
and the default hash is an address: futures and tasks here hash to their ordinal, salted per instance and equal in every
replay, because a global registry of tasks would degrade if all instances used the same small numbers. And
``as_completed`` puts *coroutines* through a set before it starts them, so that is refused.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from functools import partial
from itertools import count
from types import FrameType, FunctionType
from typing import Any, Final, NoReturn, TypeVar

from workflows.errors import ForbiddenInRun, Suspended, WorkflowCancelled

T = TypeVar("T")

_PROBLEMS_KEPT: Final = 20
_CLOSE_TRIES: Final = 8  # a coroutine may answer GeneratorExit by awaiting again, in nested finally blocks


class RunStalled(KeyboardInterrupt):
    """Injected by a watchdog into ``run`` that does not come back.

    Derives from ``KeyboardInterrupt`` because that is what a task lets out of its step instead of keeping it as its
    outcome: the exception reaches the caller of ``feed`` whichever task it hits.
    """


class ReplayFuture(asyncio.Future[T]):
    """A future that knows who listens to it."""

    def __init__(self, *, loop: ReplayLoop) -> None:
        self.ordinal = next(loop.ordinals)
        self.listeners: list[Any] = []
        self.heard = False
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.ordinal

    def __eq__(self, other: object) -> bool:
        return self is other

    def add_done_callback(self, fn: Callable[..., object], /, *, context: contextvars.Context | None = None) -> None:
        self.heard = True
        if not self.done():
            self.listeners.append(fn)
        super().add_done_callback(fn, context=context)

    def remove_done_callback(self, fn: Callable[..., object], /) -> int:
        removed = super().remove_done_callback(fn)
        if removed:
            _forget_listener(self, fn)
        return removed

    def cancel(self, msg: Any | None = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled and isinstance(msg, WorkflowCancelled):
            # What whoever awaits it is to see. Both are asked for by their name: by a task, and by gather().
            self.result = partial(_raise, msg)  # type: ignore[method-assign]
            self._make_cancelled_error = lambda: msg
        return cancelled


class ReplayTask(asyncio.Task[T]):
    """A task that knows who listens to it, and which awaitable it was made from when that was not a coroutine."""

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        loop: ReplayLoop,
        name: str | None,
        context: contextvars.Context | None,
        wraps: asyncio.Future[Any] | None = None,
    ) -> None:
        self.ordinal = next(loop.ordinals)
        self.listeners: list[Any] = []
        self.heard = False
        self.wraps = wraps
        super().__init__(coroutine, loop=loop, name=name or f"Task-{loop.task_number}", context=context)

    def __hash__(self) -> int:
        return self.ordinal

    def __eq__(self, other: object) -> bool:
        return self is other

    def add_done_callback(self, fn: Callable[..., object], /, *, context: contextvars.Context | None = None) -> None:
        self.heard = True
        if not self.done():
            self.listeners.append(fn)
        super().add_done_callback(fn, context=context)

    def remove_done_callback(self, fn: Callable[..., object], /) -> int:
        removed = super().remove_done_callback(fn)
        if removed:
            _forget_listener(self, fn)
        return removed

    def cancel(self, msg: Any | None = None) -> bool:
        # A task cancelled before its first step never awaits what it wraps, which would stay open for ever.
        if isinstance(self.wraps, ReplayFuture) and not self.wraps.heard and not self.done():
            self.wraps.cancel()
        return super().cancel(msg)


def _raise(error: BaseException) -> NoReturn:
    raise error


def _forget_listener(future: ReplayFuture[Any] | ReplayTask[Any], fn: object) -> None:
    future.listeners = [listener for listener in future.listeners if listener != fn]
    if not future.done():
        loop = future.get_loop()
        assert isinstance(loop, ReplayLoop)
        loop.removals += 1


def is_attended(future: ReplayFuture[Any] | ReplayTask[Any], seen: frozenset[int] = frozenset()) -> bool:
    """Whether anybody may still learn how ``future`` ends: nobody has listened yet, or somebody who is attended does.

    False for a future left over from ``asyncio.wait`` and for what only such a left-over task awaits. Tasks that wait
    for each other in a circle (``seen`` holds the way there) do not count as listeners: none of them will ever hear.
    """
    if not future.heard:
        return True
    if id(future) in seen:
        return False
    seen |= {id(future)}
    return any(_is_attended_listener(listener, seen) for listener in future.listeners)


def _is_attended_listener(listener: object, seen: frozenset[int]) -> bool:
    owner = getattr(listener, "__self__", None)
    if isinstance(owner, ReplayTask):
        return is_attended(owner, seen)
    if isinstance(listener, FunctionType) and listener.__module__ == "asyncio.tasks" and listener.__closure__:
        # asyncio.wait and asyncio.shield listen on behalf of a future of their own, found in their closure.
        for name, cell in zip(listener.__code__.co_freevars, listener.__closure__, strict=True):
            if name in ("waiter", "outer"):
                try:
                    waiter = cell.cell_contents
                except ValueError:
                    return True
                return not isinstance(waiter, ReplayFuture) or is_attended(waiter, seen)
    return True


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _forbidden(what: str, way_out: str) -> Any:
    def method(self: ReplayLoop, *arguments: object, **options: object) -> Any:
        raise ForbiddenInRun(f"{what} cannot be used in run() outside a step. {way_out}")

    return method


_CLOCK: Final = (
    'Use timeout= of the step or of wait_for_event for a limit, await step.sleep("name", "10 seconds") to wait, '
    "and step.race(...) to take what comes first."
)
_OUTSIDE: Final = "Move it into a callback given to step.do(...), which may use any of asyncio."
_THREAD: Final = "Plain functions given to step.do run in threads: pass the function to step.do(...)."


class ReplayLoop(asyncio.AbstractEventLoop):
    """One instance's loop. Not thread-safe: one thread at a time, which marks itself by ``running()``."""

    def __init__(self, salt: int) -> None:
        self._ready: deque[asyncio.Handle] = deque()
        self.ordinals = count(salt + 1)
        self._tasks: list[ReplayTask[Any]] = []
        self._prune_at = 64
        self._generators: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()
        self._closed = False
        self.task_number = 0
        self.removals = 0
        self.problems: list[str] = []

    # What the replay uses

    def running(self) -> _Running:
        """Make this the running loop of the current thread for the length of the block."""
        return _Running(self, self._generators.add)

    def drain(self, until: asyncio.Future[Any]) -> None:
        """Run what is ready, in order, until nothing is or ``until`` is done."""
        ready = self._ready
        while ready and not until.done():
            handle = ready.popleft()
            if handle._cancelled:
                continue
            try:
                handle._run()  # keeps its exceptions, except the three that leave a task's step too
            except RunStalled:
                raise
            except (SystemExit, KeyboardInterrupt) as error:
                # The task it left has it as its outcome; that is where the replay reads it.
                self.problems.append(f"{type(error).__name__} left a task")

    def drop(self) -> None:
        """Give up everything that is still suspended, quietly and without letting it ask for anything more.

        ``finally`` blocks of user code do run (the interpreter offers no other way to end a coroutine); whatever they
        ask for raises ``Suspended``.
        """
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            if task.done() and not task.cancelled() and task._log_traceback:
                # Said now, because the moment of garbage collection is nobody's to choose.
                self.call_exception_handler(
                    {"message": "Task exception was never retrieved", "exception": task.exception()}
                )
        self._closed = True
        for task in tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # else its end is logged as a bug
                _close(task.get_coro())
        self._ready.clear()

    # What asyncio and user code use

    def call_soon(  # type: ignore[override]  # the stub ties the arguments to the callback by a TypeVarTuple
        self, callback: Callable[..., object], *arguments: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, arguments, self, context)
        self._ready.append(handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return ReplayFuture(loop=self)

    def create_task(  # takes any awaitable, on purpose
        self,
        coro: Awaitable[T] | Generator[Any, None, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **options: object,
    ) -> ReplayTask[T]:
        if self._closed:
            if inspect.iscoroutine(coro):
                coro.close()
            raise Suspended
        wraps = None
        if inspect.iscoroutine(coro):
            _refuse_as_completed(sys._getframe(1))
            coroutine: Coroutine[Any, Any, T] = coro
        elif inspect.isawaitable(coro):
            wraps = coro if isinstance(coro, asyncio.Future) else None
            coroutine = _await(coro)
        else:
            raise TypeError(f"a coroutine or awaitable was expected, got {coro!r}")
        self.task_number += 1
        task = ReplayTask(coroutine, loop=self, name=name, context=context, wraps=wraps)
        self._tasks.append(task)
        if len(self._tasks) >= self._prune_at:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._prune_at = max(64, 2 * len(self._tasks))
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._closed or len(self.problems) >= _PROBLEMS_KEPT:
            return
        error = context.get("exception")
        detail = f": {type(error).__name__}: {error}" if error is not None else ""
        self.problems.append(f"{context.get('message', 'Unhandled error in run()')}{detail}")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def get_exception_handler(self) -> None:
        return None

    def get_task_factory(self) -> None:
        return None

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        raise ForbiddenInRun("The loop of run() belongs to the engine. Return from run() instead.")

    # Annotated as Any, so that one line per method is enough: what they take does not matter, they only refuse.

    time: Any = _forbidden("A timeout of asyncio", _CLOCK)
    call_later: Any = _forbidden("A timer of asyncio (asyncio.sleep, wait_for, timeout, call_later)", _CLOCK)
    call_at: Any = _forbidden("A timer of asyncio (asyncio.sleep, wait_for, timeout, call_at)", _CLOCK)
    run_in_executor: Any = _forbidden("A thread (asyncio.to_thread, run_in_executor)", _THREAD)
    set_default_executor: Any = _forbidden("A thread pool", _THREAD)
    call_soon_threadsafe: Any = _forbidden("Another thread (call_soon_threadsafe, run_coroutine_threadsafe)", _THREAD)
    run_forever: Any = _forbidden("Starting the loop again", "Use await.")
    run_until_complete: Any = _forbidden("Starting the loop again", "Use await.")
    stop: Any = _forbidden("Stopping the loop", "Return from run() instead.")
    shutdown_asyncgens: Any = _forbidden("Shutting the loop down", "Return from run() instead.")
    shutdown_default_executor: Any = _forbidden("Shutting the loop down", "Return from run() instead.")
    set_task_factory: Any = _forbidden("A task factory", "Use asyncio.create_task.")
    set_exception_handler: Any = _forbidden("An exception handler", "Use try and except around the await.")
    set_debug: Any = _forbidden("Debug mode", "Debug the callbacks of steps instead.")
    getaddrinfo: Any = _forbidden("Looking up a host name", _OUTSIDE)
    getnameinfo: Any = _forbidden("Looking up a host name", _OUTSIDE)
    create_connection: Any = _forbidden("A network connection", _OUTSIDE)
    create_server: Any = _forbidden("A network server", _OUTSIDE)
    create_unix_connection: Any = _forbidden("A network connection", _OUTSIDE)
    create_unix_server: Any = _forbidden("A network server", _OUTSIDE)
    create_datagram_endpoint: Any = _forbidden("A network connection", _OUTSIDE)
    connect_accepted_socket: Any = _forbidden("A network connection", _OUTSIDE)
    start_tls: Any = _forbidden("A network connection", _OUTSIDE)
    sendfile: Any = _forbidden("A network connection", _OUTSIDE)
    connect_read_pipe: Any = _forbidden("A pipe", _OUTSIDE)
    connect_write_pipe: Any = _forbidden("A pipe", _OUTSIDE)
    subprocess_shell: Any = _forbidden("A process", _OUTSIDE)
    subprocess_exec: Any = _forbidden("A process", _OUTSIDE)
    add_reader: Any = _forbidden("A socket", _OUTSIDE)
    remove_reader: Any = _forbidden("A socket", _OUTSIDE)
    add_writer: Any = _forbidden("A socket", _OUTSIDE)
    remove_writer: Any = _forbidden("A socket", _OUTSIDE)
    sock_recv: Any = _forbidden("A socket", _OUTSIDE)
    sock_recv_into: Any = _forbidden("A socket", _OUTSIDE)
    sock_recvfrom: Any = _forbidden("A socket", _OUTSIDE)
    sock_recvfrom_into: Any = _forbidden("A socket", _OUTSIDE)
    sock_sendall: Any = _forbidden("A socket", _OUTSIDE)
    sock_sendto: Any = _forbidden("A socket", _OUTSIDE)
    sock_connect: Any = _forbidden("A socket", _OUTSIDE)
    sock_accept: Any = _forbidden("A socket", _OUTSIDE)
    sock_sendfile: Any = _forbidden("A socket", _OUTSIDE)
    add_signal_handler: Any = _forbidden("A signal", "Send the instance an event instead.")
    remove_signal_handler: Any = _forbidden("A signal", "Send the instance an event instead.")


class _Running:
    """A class, because contextlib's way costs three times as much, and this is done for each entry."""

    __slots__ = ("_before", "_hooks", "_loop", "_made")

    def __init__(self, loop: ReplayLoop, made: Callable[[AsyncGenerator[Any, Any]], None]) -> None:
        self._loop = loop
        self._made = made

    def __enter__(self) -> None:
        before = asyncio._get_running_loop()
        self._before = before if before is not self._loop else None  # as in guard.inside
        self._hooks = sys.get_asyncgen_hooks()
        asyncio._set_running_loop(self._loop)
        sys.set_asyncgen_hooks(firstiter=self._made, finalizer=_drop_generator)

    def __exit__(self, *_: object) -> None:
        sys.set_asyncgen_hooks(*self._hooks)
        asyncio._set_running_loop(self._before)


def _refuse_as_completed(frame: FrameType) -> None:
    # create_task <- asyncio.ensure_future (one or two frames) <- a set comprehension <- as_completed
    if frame.f_globals.get("__name__") != "asyncio.tasks" or "ensure_future" not in frame.f_code.co_name:
        return
    above: FrameType | None = frame
    for _ in range(4):
        above = above.f_back if above is not None else None
        if above is None:
            return
        if above.f_code.co_name == "as_completed":
            raise ForbiddenInRun(
                "asyncio.as_completed starts coroutines in an order that changes from replay to replay. "
                "Give it tasks: [asyncio.create_task(c) for c in coroutines], or use step.race(...)."
            )


def _close(coroutine: Any) -> None:
    for _ in range(_CLOSE_TRIES):
        try:
            coroutine.close()
            return
        except RuntimeError:
            continue  # it awaited something while being closed, as TaskGroup does
        except RunStalled:
            raise
        except BaseException:
            return  # whatever its finally blocks raised, mostly Suspended


def _drop_generator(generator: AsyncGenerator[Any, Any]) -> None:
    # Closing it in a task would let the moment of garbage collection decide what is asked next.
    _close(generator.aclose())
